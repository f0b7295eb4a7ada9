// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/store"
)

// A PendingRequest is a request that waits, or has waited, for approval, in the
// admin API.
type PendingRequest struct {
	ID string `json:"id"`
	// State is waiting, approved, denied or issued; ordered where the CA decides.
	State   string `json:"state"`
	Needs   int    `json:"needs"`
	Missing int    `json:"missing"`
	Op      string `json:"op"`
	Label   string `json:"label"`
	Profile string `json:"profile"`
	Who     string `json:"who"`
	// Names are those of the certificate.
	Names   string    `json:"names"`
	Asked   time.Time `json:"asked"`
	Changed time.Time `json:"changed,omitzero"`
	Expires time.Time `json:"expires"`
	// Next is when the CA is asked again, where it decides.
	Next      time.Time         `json:"next,omitzero"`
	Decisions []PendingDecision `json:"decisions,omitempty"`
	// Record is the request as it came, as in an audit record. Of one request
	// alone, as what follows.
	Record *audit.Record `json:"record,omitempty"`
	// Now is what the policy in force says of it.
	Now *PendingNow `json:"now,omitempty"`
}

// A PendingDecision is what somebody has said.
type PendingDecision struct {
	Name string `json:"name"`
	// Method is client_cert, or stated where nobody has verified the name.
	Method   string    `json:"method"`
	Approves bool      `json:"approves"`
	Note     string    `json:"note,omitempty"`
	Disclose bool      `json:"disclose,omitempty"`
	At       time.Time `json:"at"`
}

// PendingNow is what the policy in force says of a request.
type PendingNow struct {
	Verdict  string      `json:"verdict"`
	Plan     *audit.Plan `json:"plan,omitempty"`
	Findings []string    `json:"findings,omitempty"`
	// PolicyChanged says that it is another policy than that by which the request
	// waits.
	PolicyChanged bool     `json:"policy_changed,omitempty"`
	Differences   []string `json:"differences,omitempty"`
	// Problem is why it can't be approved now.
	Problem string `json:"problem,omitempty"`
}

// A PendingJudgement is what somebody says of a request.
type PendingJudgement struct {
	// As is who says it, on a socket of this machine. Over the remote admin API it
	// is the client certificate, and As is left out.
	As       string `json:"as,omitempty"`
	Note     string `json:"note,omitempty"`
	Disclose bool   `json:"disclose,omitempty"`
}

func pendingRequest(w store.Waiting) PendingRequest {
	p := PendingRequest{
		ID: w.ID, State: string(w.State), Needs: w.Needs, Missing: w.Missing(), Op: string(w.Op), Label: w.Label, Profile: w.Profile,
		Who: w.Who, Names: w.Names, Asked: w.Asked, Changed: w.Changed, Expires: w.Expires,
	}
	if w.State == store.PendingOrdered {
		p.Changed, p.Next = time.Time{}, w.Changed
	}
	for _, d := range w.Decisions {
		p.Decisions = append(p.Decisions, PendingDecision{d.Name, d.Method, d.Approves, d.Note, d.Disclose, d.At})
	}
	return p
}

func reviewed(r *ra.Review) PendingRequest {
	p := pendingRequest(r.Waiting)
	p.Record = r.Record
	p.Now = &PendingNow{Verdict: r.Verdict.String(), Plan: r.Plan, PolicyChanged: r.Changed, Differences: r.Differences, Problem: r.Problem}
	for _, f := range r.Findings {
		p.Now.Findings = append(p.Now.Findings, f.String())
	}
	return p
}

// shownCertificate tells whether Caddy's remote admin API has the request, which
// verifies client certificates.
func shownCertificate(r *http.Request) bool { return r.TLS != nil && len(r.TLS.PeerCertificates) > 0 }

// approver is who calls.
func approver(r *http.Request, stated string) (by ra.Approver, err error) {
	switch {
	case shownCertificate(r) && stated != "":
		return by, errors.New("`as` is for the local socket: over the remote admin API the approver is who the client certificate says")
	case shownCertificate(r):
		by, err = ra.CertifiedApprover(r.TLS.PeerCertificates[0])
	case stated == "":
		return by, errors.New("nobody says who decides: the local admin API wants a name (`--as NAME`), the remote one a client certificate")
	default:
		by, err = ra.StatedApprover(stated)
	}
	return by, err
}

// pending is GET /est/pending, GET /est/pending/ID, and POST
// /est/pending/ID/approve and deny.
func (a *Admin) pending(w http.ResponseWriter, r *http.Request) error {
	if !shownCertificate(r) {
		if err := local(r); err != nil {
			return err
		}
	}
	app, err := a.app()
	if err != nil {
		return err
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/est/pending"), "/")
	id, verb, _ := strings.Cut(rest, "/")
	var answer any
	switch {
	case r.Method == http.MethodGet && id == "":
		answer, err = app.pendingList(r)
	case r.Method == http.MethodGet && verb == "":
		var found *ra.Review
		if found, _, err = app.review(r.Context(), id); err == nil {
			answer = reviewed(found)
		}
	case r.Method == http.MethodPost && (verb == "approve" || verb == "deny"):
		answer, err = app.judge(r, id, verb == "approve")
	default:
		return wrongMethod(r)
	}
	if err != nil {
		return pendingError(err)
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(append(text, '\n'))
	return err
}

func (a *App) pendingList(r *http.Request) ([]PendingRequest, error) {
	list := []PendingRequest{}
	if a.store == nil {
		return list, nil
	}
	all, err := latePending{a.store}.List(r.Context(), time.Now())
	for _, w := range all {
		list = append(list, pendingRequest(w))
	}
	return list, err
}

func (a *App) judge(r *http.Request, id string, approves bool) (PendingRequest, error) {
	said, err := readJSON[PendingJudgement](r)
	if err != nil {
		return PendingRequest{}, err
	}
	by, err := approver(r, said.As)
	if err != nil {
		return PendingRequest{}, err
	}
	_, h, err := a.review(r.Context(), id)
	if err != nil {
		return PendingRequest{}, err
	}
	record := ra.NewID(time.Now())
	done, err := h.server.Authority.Judge(r.Context(), id, ra.Judgement{
		By: by, Approves: approves, Note: said.Note, Disclose: said.Disclose, ID: record, Write: h.keepJudgement,
	})
	if err != nil {
		return PendingRequest{}, err
	}
	a.pendingChanged()
	return reviewed(done), nil
}

// pendingError gives an error its status.
func pendingError(err error) error {
	status := http.StatusBadRequest
	switch {
	case errors.Is(err, store.ErrUnknown):
		status, err = http.StatusNotFound, errors.New("no such request waits: `caddy est pending list` has those that do")
	case errors.Is(err, ra.ErrSelfApproval):
		status = http.StatusForbidden
	case errors.Is(err, store.ErrTaken), errors.Is(err, store.ErrChanged), errors.Is(err, ra.ErrUndecidable):
		status = http.StatusConflict
	case errors.Is(err, ra.ErrUnrecorded):
		status = http.StatusServiceUnavailable
	}
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf("pending: %w", err)}
}
