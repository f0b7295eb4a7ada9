// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/store"
)

// DefaultPendingFor is how long a request waits for approval.
const DefaultPendingFor = 7 * 24 * time.Hour

// How long a client waits before it asks again: an eighth of the time that it
// has waited already, within these bounds.
const (
	leastPendingRetry = 30 * time.Second
	mostPendingRetry  = 10 * time.Minute
)

// A Pended is what is known of a request that waits, or has waited, for
// approval.
type Pended struct {
	store.Waiting
	// Begun says that this request is the first of its kind, or that the
	// certificate planned for it has become another one: somebody is to look.
	Begun bool
}

// approved lets go on what needs no approval or has it: nil where it needs none.
// Any other is taken into the store, where it waits; repeated, it is found there
// again (RFC 7030 section 4.2.3). What was decided of it by the policy is decided
// anew with each repeat: an approval counts for one certificate, as it was shown
// to who approved it.
func (a *Authority) approved(ctx context.Context, p *policy.Profile, op policy.Op, label string, t task, out *Outcome) *Error {
	if e := a.asksAbout(ctx, op, label, t); e != nil {
		return e
	}
	if out.Decision.Verdict != policy.Defer {
		return nil
	}
	if a.Pending == nil {
		return Fail(Fault, "nothing keeps requests that wait for approval", nil)
	}
	asking, err := a.asking(p, op, label, t, out)
	if err != nil {
		return Fail(Fault, "the request can't be kept until it is approved", err)
	}
	w, begun, err := a.Pending.Ask(ctx, asking)
	switch {
	case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrUnknown):
		return Fail(Forbidden, "what is good once can't be used", err)
	case errors.Is(err, store.ErrFull):
		return Fail(Busy, "the request can't wait for approval", err).After(mostPendingRetry)
	case err != nil:
		return Fail(Busy, "the request can't be kept until it is approved", err)
	}
	out.Pended = &Pended{w, begun}
	switch w.State {
	case store.PendingApproved, store.PendingIssued:
		return nil
	case store.PendingDenied:
		return denied(w, out.Decision)
	case store.PendingWaiting, store.PendingOrdered:
	}
	return Fail(Pending, fmt.Sprintf("it waits for approval as %s, until %s; %s missing", w.ID, w.Expires.Format(time.RFC3339), peopleText(w.Missing())), nil).
		After(min(max(t.now.Sub(w.Asked)/8, leastPendingRetry), mostPendingRetry).Truncate(time.Second))
}

func peopleText(n int) string {
	if n == 1 {
		return "one person is"
	}
	return fmt.Sprintf("%d people are", n)
}

// denied tells the client what the approver lets it know.
func denied(w store.Waiting, d policy.Decision) *Error {
	for _, said := range w.Decisions {
		if said.Approves {
			continue
		}
		e := Fail(Refused, fmt.Sprintf("%s has denied it (%s): %s", said.Name, w.ID, said.Note), nil)
		e.Findings = d.Findings
		if said.Disclose && said.Note != "" {
			return e.Telling(said.Note)
		}
		return e
	}
	return Fail(Refused, "it was denied ("+w.ID+")", nil)
}

// fetched ends the approval, which is good for one certificate: for the time that
// its answer may be lost, the client may ask for that again.
func (a *Authority) fetched(ctx context.Context, t task, out *Outcome) {
	if out.Pended == nil || out.Certificate == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	out.Unsettled = errors.Join(out.Unsettled, a.Pending.Issued(ctx, out.Pended.ID, t.now.Add(a.repeat())))
}

func (a *Authority) pendingFor() time.Duration {
	if a.PendingFor > 0 {
		return a.PendingFor
	}
	return DefaultPendingFor
}

// asking is what the store is told of a request.
func (a *Authority) asking(p *policy.Profile, op policy.Op, label string, t task, out *Outcome) (store.Asking, error) {
	arrival := t.arrived()
	until := t.now.Add(a.pendingFor())
	asking := store.Asking{
		PolicySHA256: a.policySHA256(), Needs: out.Decision.Approval.Needs,
		Op: op, Label: label, Profile: p.Name(), Who: whoText(arrival.Who), Names: namesOf(out.Decision.Plan.Names), Now: t.now, Expires: until,
	}
	pr := pendingRequest{t: t, op: op, label: label, arrival: arrival}
	var err error
	if asking.Request, err = pr.request(); err != nil {
		return asking, err
	}
	if asking.Wanted, err = pr.wanted(out.Decision); err != nil {
		return asking, err
	}
	asking.Validity = out.Decision.Plan.Validity
	if uses := out.Decision.Uses; len(uses) > 0 {
		id, err := requestHash(label, t, out.Decision.Plan.Names)
		if err != nil {
			return asking, err
		}
		asking.Reserve = store.Reservation{Uses: uses, For: id, SPKI: sha256.Sum256(t.csr.RawSPKI), Now: t.now, Until: until}
	}
	record := a.pendingRecord(t.evidence.RequestID, p, arrival, out.Decision, t.now)
	record.Who.Role = audit.Text(t.role)
	asking.Record, err = storedRequest(record, t.csr)
	return asking, err
}

func (a *Authority) policySHA256() string {
	if a.Policy == nil {
		return ""
	}
	return a.Policy.SHA256()
}

// pendingRecord has what is shown to who approves, and what a decision under
// another policy needs. It is no record of the audit chain, which has its own.
func (a *Authority) pendingRecord(id string, p *policy.Profile, arrival policy.Arrival, d policy.Decision, now time.Time) *audit.Record {
	r := audit.New(id, arrival.Op, now)
	r.Label, r.Profile = audit.Text(arrival.Label), audit.Text(p.Name())
	if a.Policy != nil {
		r.Policy = &audit.Policy{Name: audit.Text(a.Policy.Name()), SHA256: a.Policy.SHA256()}
	}
	if r.Who = audit.OfIdentity(arrival.Who); r.Who == nil {
		r.Who = &audit.Who{}
	}
	r.CSR = audit.OfCSR(arrival.Asked())
	r.Decision, r.Plan, r.Input = audit.OfDecision(d), audit.OfPlan(d.Plan), audit.OfInput(arrival, p.NeedsValue)
	r.Outcome = audit.Text(StatusPending)
	return r
}

// A pendingRequest is a request by which its hashes are made.
type pendingRequest struct {
	t       task
	op      policy.Op
	label   string
	arrival policy.Arrival
}

// request is the same for a request that is repeated: over who asks, label,
// operation, key, and the names and extensions that are asked for. Nothing of it
// is the policy's.
func (r pendingRequest) request() (sum [sha256.Size]byte, err error) {
	asked := r.arrival.Asked()
	parts := [][]byte{[]byte("pending 1"), []byte(retryIdentity(r.t.who, r.t.role, asked)), []byte(r.label), []byte(r.op)}
	if r.arrival.Keyless == nil {
		parts = append(parts, asked.RawSPKI)
	}
	parts = append(parts, asked.RawSubject)
	var extensions []string
	for _, e := range asked.Extensions {
		extensions = append(extensions, fmt.Sprintf("%s %t %x", e.ID, e.Critical, e.Value))
	}
	slices.Sort(extensions)
	for _, e := range extensions {
		parts = append(parts, []byte(e))
	}
	if replaced := r.arrival.Renews; replaced != nil {
		parts = append(parts, replaced.Raw)
	}
	return framed(parts...), nil
}

// wanted is the certificate that is planned, and how its key goes out.
func (r pendingRequest) wanted(d policy.Decision) ([sha256.Size]byte, error) {
	key, err := r.t.retryKey(r.op, r.label, d.Plan, r.arrival.Renews)
	if err != nil {
		return key, err
	}
	keygen := ""
	if d.Keygen != nil {
		keygen = d.Keygen.String()
	}
	return framed([]byte("wanted 1"), key[:], []byte(keygen)), nil
}

func whoText(who policy.Identity) string {
	w := audit.OfIdentity(who)
	if w == nil {
		return ""
	}
	return strings.ToValidUTF8(strings.ReplaceAll(w.Method.String()+":"+w.ID.String(), "\x00", ""), "")
}

func namesOf(names csr.Names) string {
	parts := []string{}
	if len(names.Subject) > 0 {
		parts = append(parts, names.Subject.String())
	}
	for _, n := range names.SAN {
		parts = append(parts, n.String())
	}
	return strings.ToValidUTF8(strings.ReplaceAll(strings.Join(parts, " "), "\x00", ""), "")
}
