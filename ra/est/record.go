// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
)

// What a record says where the authority wasn't asked.
const (
	outcomeServed  = "served" // /cacerts or /csrattrs
	outcomeRefused = audit.Text(ra.StatusRefused)
	outcomeFailed  = audit.Text(ra.StatusFailed)
)

// A kept is the record of an exchange, or of one part of it.
type kept struct {
	x      *exchange
	fail   *ra.Error
	record *audit.Record
	err    error
}

// keepAll writes one record for each request: of several in one message, each
// has its own.
func (x *exchange) keepAll(status int, fail *ra.Error) []kept {
	all := []kept{{x: x, fail: fail}}
	if len(x.parts) > 0 {
		all = nil
		for _, y := range x.parts {
			k := kept{x: y, fail: y.failed}
			if k.fail == nil && status >= http.StatusInternalServerError {
				k.fail = fail // what was done couldn't be answered
			}
			all = append(all, k)
		}
	}
	for i := range all {
		all[i].record, all[i].err = all[i].x.keep(status, all[i].fail)
	}
	return all
}

// keeper is the Sink where nothing is issued without its record.
func (x *exchange) keeper() (audit.Keeper, bool) {
	keeper, must := audit.Required(x.s.Sink)
	return keeper, must && x.target.enrolls()
}

const noRecord = "no audit record can be kept, and without one nothing is issued"

// keepable refuses before anybody is asked, where no record could be kept.
func (x *exchange) keepable() *ra.Error {
	keeper, is := x.keeper()
	if !is {
		return nil
	}
	if err := keeper.Ready(x.r.Context()); err != nil {
		return ra.Fail(ra.Busy, noRecord, err)
	}
	return nil
}

// unkept holds back an answer whose record isn't kept. A certificate that the CA
// has issued is withheld, and its serial number logged.
func (x *exchange) unkept(all []kept) *ra.Error {
	if _, is := x.keeper(); !is {
		return nil
	}
	for _, k := range all {
		if k.err != nil {
			return ra.Fail(ra.Busy, noRecord, k.err)
		}
	}
	return nil
}

// keep writes the record, before the answer is sent. The client may be gone;
// the record is kept all the same. Failing at it, by a panic too, is for the
// Report: the answer doesn't depend on it.
func (x *exchange) keep(status int, fail *ra.Error) (r *audit.Record, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = panicked(v)
		}
	}()
	r = x.record(status, fail)
	if x.s.Sink == nil {
		return r, nil
	}
	return r, x.s.Sink.Write(context.WithoutCancel(x.r.Context()), r)
}

// record is the only place where a record is made. It has the identity as far
// as proven: a user name that didn't verify may be a password typed into the
// wrong field.
func (x *exchange) record(status int, fail *ra.Error) *audit.Record {
	op := x.op()
	if x.cmc != nil && x.cmc.data != nil && len(x.cmc.data.Requests) == 0 && x.waits == "" && op != policy.CMCRevoke {
		op = x.target.op // it asks for no certificate
	}
	r := audit.New(x.id, op, x.now)
	r.Node, r.Label, r.Remote = audit.Text(x.s.Node), audit.Text(x.target.label), x.in.Remote
	r.Policy = &audit.Policy{Name: audit.Text(x.s.Policy.Name()), SHA256: x.s.Policy.SHA256()}
	if x.profile != nil {
		r.Profile = audit.Text(x.profile.Name())
	}
	r.Who = audit.OfIdentity(x.who)
	if r.Who != nil {
		for _, name := range slices.Sorted(maps.Keys(x.unanswered)) {
			r.Who.RevocationUnknown = append(r.Who.RevocationUnknown, audit.Text(name+": "+x.unanswered[name].Error()))
		}
	}
	if x.onBehalf {
		r.Who.Role = policy.RoleRA
	}
	if x.r.TLS != nil {
		r.TLS = audit.OfTLS(x.r.TLS.Version, x.linking)
	}
	r.CSR = audit.OfCSR(x.csr)
	x.recordOutcome(r, fail)
	if r.Decision == nil && fail != nil && len(fail.Findings) > 0 { // of the gate
		r.Decision = audit.OfDecision(policy.Decision{Verdict: policy.Deny, Findings: fail.Findings})
	}
	r.Shadow = x.shadow(fail)
	r.Outcome = x.outcomeText(fail)
	r.Status, r.MS = status, x.s.now().Sub(x.now).Milliseconds()
	if fail != nil {
		r.Kind, r.FailInfo, r.Reason = audit.Text(fail.Kind.String()), audit.Text(fail.FailInfo()), audit.Text(fail.Text())
	}
	return r
}

// recordOutcome adds what the authority did, when it was asked.
func (x *exchange) recordOutcome(r *audit.Record, fail *ra.Error) {
	out := x.outcome
	if x.part == policy.CMCRevoke && out.Replaces != nil {
		r.RevokesSerial = audit.Serial(out.Replaces.SerialNumber)
	}
	if !x.asked {
		return
	}
	r.Input = audit.OfInput(x.decided(), x.needsValue)
	if out.Replaces != nil {
		r.ReplacesSerial = audit.Serial(out.Replaces.SerialNumber)
	}
	if out.Decision.Profile != "" {
		r.Decision, r.Plan = audit.OfDecision(out.Decision), audit.OfPlan(out.Decision.Plan)
	}
	if r.Plan != nil {
		r.Plan.NotBefore, r.Plan.NotAfter = out.NotBefore, out.NotAfter
	}
	r.Pending = pendingOf(out.Pended)
	r.Serial, r.Conforms = audit.Serial(out.Serial), out.Conforms
	leaf := out.Certificate
	if leaf == nil {
		leaf = out.Withheld
	}
	r.Cert, r.Made = audit.OfCert(leaf), madeOf(out.Made)
	r.Replays = audit.Text(out.Replays)
	for _, d := range out.Doubts {
		told := audit.Doubt{ID: audit.Text(d.ID), Serial: d.Serial, Revoked: d.Revoked}
		if d.Err != nil {
			told.Error = audit.Text(d.Err.Error())
		}
		r.Doubts = append(r.Doubts, told)
	}
	if out.Serial == nil {
		return // no order was made, so the CA wasn't asked
	}
	r.Upstream = &audit.Upstream{Name: audit.Text(out.Upstream), Ref: audit.Text(out.Ref), MS: out.Took.Milliseconds()}
	if leaf == nil && fail != nil {
		r.Upstream.Error = audit.Text(fail.Text())
	}
}

// pendingOf is what a record keeps of a request that waits, or has waited.
func pendingOf(p *ra.Pended) *audit.Pending {
	if p == nil {
		return nil
	}
	return &audit.Pending{ID: audit.Text(p.ID), Needs: p.Needs, Approvers: ra.ApproversOf(p.Waiting)}
}

func (x *exchange) outcomeText(fail *ra.Error) audit.Text {
	switch {
	case x.outcome.Status != "":
		return audit.Text(x.outcome.Status)
	case fail == nil:
		return outcomeServed
	case fail.Kind.HTTPStatus() >= http.StatusInternalServerError:
		return outcomeFailed
	default:
		return outcomeRefused
	}
}

// report is made after the record, which is nil where making it failed.
func (x *exchange) report(status int, fail *ra.Error, record *audit.Record, kept error, took time.Duration) Report {
	rep := Report{
		Op: x.target.op, Label: "other", Status: status, Kind: "ok", RequestID: x.id,
		Took: took, UpstreamTook: x.outcome.Took, Outcome: x.outcome, Err: fail, Audit: kept,
		PEMArmoured: x.armoured, RevocationUnknown: slices.Sorted(maps.Keys(x.unanswered)),
	}
	if x.profile != nil {
		rep.Label, rep.Profile, rep.Upstream = x.target.label, x.profile.Name(), x.profile.Upstream()
	}
	if fail != nil {
		rep.Kind = fail.Kind.String()
	}
	if x.outcome.Decision.Profile != "" {
		rep.Verdict = x.outcome.Decision.Verdict.String()
	}
	rep.ShadowDiffers = record != nil && record.Shadow != nil
	if record != nil && record.Who != nil {
		who := record.Who
		rep.Identity = who.Method.String() + ":" + who.ID.String()
	}
	return rep
}
