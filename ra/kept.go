// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/store"
)

// stored is what the store has of a request that waits: the record, as a line of an
// audit log has it, and the request as it was sent.
type stored struct {
	Record  json.RawMessage `json:"record"`
	Request []byte          `json:"request,omitempty"`
	CRMF    bool            `json:"crmf,omitempty"`
}

func storedRequest(record *audit.Record, request *csr.Request) ([]byte, error) {
	text, err := record.JSON()
	if err != nil {
		return nil, err
	}
	return json.Marshal(stored{Record: text, Request: request.Raw, CRMF: request.Form() == csr.CRMF})
}

// A Kept is a request that waits, for who asks about it without sending it again
// (RFC 5272 section 6.13).
type Kept struct {
	// Raw is a CertificationRequest, or a CertReqMsg where CRMF says so. Its proof
	// of possession was verified, and Linking found, when it came.
	Raw     []byte
	CRMF    bool
	Linking policy.Linking
	// Asked is what was decided: the request as a registration authority has changed
	// it, if one has. It has the names and extensions, and no signature.
	Asked *csr.Request
	Until time.Time // as of policy.Request
}

// Kept gives a request that waits at a label. The error is *Error, NoCertificate
// where there is none. Whose it is, Enroll says (Request.Waits).
func (a *Authority) Kept(ctx context.Context, id, label string) (Kept, error) {
	var none Kept
	if a.Pending == nil {
		return none, Fail(NoCertificate, "nothing is pending: there is no store", nil)
	}
	w, err := a.Pending.Find(ctx, id, a.now())
	switch {
	case errors.Is(err, store.ErrUnknown):
		return none, Fail(NoCertificate, fmt.Sprintf("no request waits as %.40q", id), nil)
	case err != nil:
		return none, Fail(Busy, "what waits can't be found", err)
	case w.Label != label:
		return none, Fail(NoCertificate, fmt.Sprintf("the request %s waits at another label", id), nil)
	}
	r, err := a.Review(w, a.now())
	var s stored
	if err == nil {
		err = json.Unmarshal(w.Record, &s)
	}
	if err != nil {
		return none, Fail(Fault, "what waits can't be read", err)
	}
	return Kept{Raw: s.Request, CRMF: s.CRMF, Linking: r.arrival.Linking, Asked: r.arrival.Asked(), Until: r.arrival.Until}, nil
}

// asksAbout refuses a request that asks about another one than its own.
func (a *Authority) asksAbout(ctx context.Context, op policy.Op, label string, t task) *Error {
	if t.waits == "" {
		return nil
	}
	if a.Pending == nil {
		return Fail(NoCertificate, "nothing is pending: there is no store", nil)
	}
	own, err := pendingRequest{t: t, op: op, label: label, arrival: t.arrived()}.request()
	if err != nil {
		return Fail(Fault, "the request can't be told from others", err)
	}
	w, err := a.Pending.Find(ctx, t.waits, t.now)
	switch {
	case err != nil && !errors.Is(err, store.ErrUnknown):
		return Fail(Busy, "what waits can't be found", err)
	case err != nil || w.Request != own:
		return Fail(NoCertificate, fmt.Sprintf("the request that waits as %s is another's", t.waits), nil)
	}
	return nil
}
