// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/diff"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/replay"
	"github.com/caddy-est/estra/ra/store"
)

// Errors of Judge, beside those of store.Pending.
var (
	// ErrSelfApproval: the approver is who asks.
	ErrSelfApproval = errors.New("nobody approves a request of his own")
	// ErrUndecidable: the policy in force can't decide about it, or grants it no
	// more.
	ErrUndecidable = errors.New("the policy in force doesn't grant it")
	// ErrUnrecorded: the decision can't be recorded.
	ErrUnrecorded = errors.New("no record can be kept of the decision, and without one nothing is decided")
)

// A Review is a request that waits, as an approver is to see it.
type Review struct {
	store.Waiting
	// Record is the request as it came: who asks, what was asked for, what the
	// policy said of it then, and the plan.
	Record *audit.Record
	// Plan and Findings are what the policy in force says of it; Verdict is its
	// word.
	Verdict  policy.Verdict
	Plan     *audit.Plan
	Findings []policy.Finding
	// Changed says that the policy is another one than that by which the request
	// waits. Differences are what it decides otherwise, in words.
	Changed     bool
	Differences []string
	// Problem is why the policy in force can't decide; "": it can.
	Problem string

	arrival  policy.Arrival
	decision policy.Decision
	asking   store.Asking
}

// certifies tells whether an approval now would be of the certificate that the
// store has.
func (r *Review) certifies() bool {
	return r.asking.Wanted == r.Wanted && r.asking.Validity.Truncate(time.Second) <= r.Validity
}

// Review decides a request that waits anew, by the policy in force and with what
// was stored of it.
func (a *Authority) Review(w store.Waiting, now time.Time) (*Review, error) {
	r := &Review{Waiting: w}
	var err error
	if r.Record, err = replay.Record(w.Record); err != nil {
		return nil, fmt.Errorf("what is stored of %s can't be read: %w", w.ID, err)
	}
	if r.arrival, err = replay.Request(r.Record); err != nil {
		return nil, fmt.Errorf("what is stored of %s can't be read: %w", w.ID, err)
	}
	r.arrival.Now = now
	r.Changed = a.policySHA256() != w.PolicySHA256
	p, ok := a.Policy.Profile(w.Label)
	if !ok {
		r.Problem = fmt.Sprintf("the policy in force has no label %q", w.Label)
		return r, nil
	}
	if replay.Lacks(r.Record, r.arrival, p) {
		r.Problem = "the policy in force reads attributes of the request that weren't stored; the next repeat brings them"
		return r, nil
	}
	r.decision = r.arrival.Decide(p)
	r.Verdict, r.Plan, r.Findings = r.decision.Verdict, audit.OfPlan(r.decision.Plan), r.decision.Findings
	if !r.decision.Grants() {
		r.Problem = "the policy in force refuses it: " + strings.Join(diff.Reasons(r.decision), ", ")
		return r, nil
	}
	if err := a.askAgain(r, p, now); err != nil {
		return nil, err
	}
	if w.State != store.PendingOrdered { // nobody here decides about it
		r.Differences = r.differences()
	}
	return r, nil
}

// askAgain is what the store would be told if the request came now.
func (a *Authority) askAgain(r *Review, p *policy.Profile, now time.Time) (err error) {
	t := task{csr: r.arrival.Asked(), who: r.arrival.Who, now: now, arrived: func() policy.Arrival { return r.arrival }}
	t.evidence.RequestID = r.Record.ID.String()
	if _, is := r.arrival.OnBehalf(p); is {
		t.role = policy.RoleRA
	}
	if r.arrival.Keyless != nil {
		t.making = &making{profile: p}
	}
	d := r.decision
	if d.Approval == nil { // the policy in force wants none any more
		d.Approval = &policy.Approval{Needs: r.Needs}
	}
	r.asking, err = a.asking(p, r.Op, r.Label, t, &Outcome{Decision: d})
	// What it is doesn't hang on how it was stored.
	r.asking.Request = r.Request
	return err
}

func (r *Review) differences() (texts []string) {
	if r.Verdict == policy.Allow {
		texts = append(texts, "it would wait for nobody")
	} else if n := r.decision.Approval.Needs; n != r.Needs {
		texts = append(texts, fmt.Sprintf("approvals: %d, and %d now", r.Needs, n))
	}
	was, is := r.Record.Plan, r.Plan
	if was == nil {
		return texts
	}
	add := func(name, from, to string) {
		if from != to {
			texts = append(texts, fmt.Sprintf("%s: %q, and %q now", name, from, to))
		}
	}
	add("subject", was.Subject.String(), is.Subject.String())
	add("san", audit.List(was.SAN), audit.List(is.SAN))
	add("key_usage", strings.Join(was.KeyUsage, ", "), strings.Join(is.KeyUsage, ", "))
	add("ext_key_usage", audit.List(was.ExtKeyUsage), audit.List(is.ExtKeyUsage))
	add("extensions", extensionsText(was.Extensions), extensionsText(is.Extensions))
	if r.Changed { // else a bound that comes nearer
		add("validity", policy.DurationText(time.Duration(was.Validity)*time.Second), policy.DurationText(time.Duration(is.Validity)*time.Second))
	}
	add("upstream", was.Upstream.String(), is.Upstream.String())
	if len(texts) == 0 && !r.certifies() {
		texts = append(texts, "the certificate is another one in a part that isn't shown here, such as how its key goes out")
	}
	return texts
}

func extensionsText(all []audit.Extension) string {
	texts := make([]string, len(all))
	for i, e := range all {
		texts[i] = fmt.Sprintf("%s critical=%t %x", e.OID, e.Critical, e.Value)
	}
	return strings.Join(texts, ", ")
}

// A Judgement is what somebody says of a request that waits.
type Judgement struct {
	By       Approver
	Approves bool
	// Note is recorded; the client reads it where Disclose says so.
	Note     string
	Disclose bool
	// ID is the id of the record, and Write keeps it: without it nothing is
	// decided.
	ID    string
	Write func(context.Context, *audit.Record) error
}

// MostNote bounds a note, in bytes.
const MostNote = 1000

// Judge takes what somebody says of the request with an id. The policy in force
// decides it anew: where that plans another certificate than the one that was
// shown, an approval doesn't count, and the request waits with the new one
// (store.ErrChanged).
func (a *Authority) Judge(ctx context.Context, id string, j Judgement) (*Review, error) {
	now := a.now()
	if a.Pending == nil {
		return nil, errors.New("there is no store")
	}
	if !j.By.Known() {
		return nil, errors.New("nobody says who decides")
	}
	if len(j.Note) > MostNote {
		return nil, fmt.Errorf("the note has %d bytes, and %d is the most", len(j.Note), MostNote)
	}
	w, err := a.Pending.Find(ctx, id, now)
	if err != nil {
		return nil, err
	}
	r, err := a.Review(w, now)
	if err != nil {
		return nil, err
	}
	if j.Approves {
		if err := a.mayApprove(ctx, r, j.By); err != nil {
			return r, err
		}
	}
	decision := store.PendingDecision{
		ID: id, Wanted: w.Wanted, Validity: w.Validity, Approver: j.By.key(), Name: j.By.Name(), Method: j.By.Method(), Approves: j.Approves,
		Note: j.Note, Disclose: j.Disclose, At: now, Expires: later(w.Expires, now.Add(a.pendingFor())),
	}
	if err := decidable(w, decision); err != nil {
		return r, err
	}
	if err := j.Write(ctx, a.judgementRecord(r, j, now)); err != nil {
		return r, fmt.Errorf("%w: %w", ErrUnrecorded, err)
	}
	r.Waiting, err = a.Pending.Decide(ctx, decision)
	return r, err
}

func later(x, y time.Time) time.Time {
	if x.After(y) {
		return x
	}
	return y
}

// decidable looks before the record is written; the store looks again.
func decidable(w store.Waiting, d store.PendingDecision) error {
	switch {
	case w.State == store.PendingOrdered && d.Approves:
		return fmt.Errorf("%w: the CA decides about it", store.ErrTaken)
	case w.State == store.PendingDenied, w.State == store.PendingIssued, w.State == store.PendingApproved && d.Approves:
		return fmt.Errorf("%w: the request is %s", store.ErrTaken, w.State)
	}
	for _, said := range w.Decisions {
		if d.Approves && said.Approver == d.Approver {
			return fmt.Errorf("%w: %s has approved it already, and another one is wanted", store.ErrTaken, d.Name)
		}
	}
	return nil
}

// mayApprove refuses who asks, and what the policy in force grants no more. A
// certificate that is another one now takes the place of that in the store.
func (a *Authority) mayApprove(ctx context.Context, r *Review, by Approver) error {
	if why := by.asks(r.arrival); why != "" {
		return fmt.Errorf("%w: %s %s", ErrSelfApproval, by.Name(), why)
	}
	if r.Problem != "" {
		return fmt.Errorf("%w: %s", ErrUndecidable, r.Problem)
	}
	if r.certifies() {
		return nil
	}
	if _, _, err := a.Pending.Ask(ctx, r.asking); err != nil {
		return err
	}
	return fmt.Errorf("%w, by the policy in force (%s): nothing is approved; look at it, and approve that", store.ErrChanged, strings.Join(r.Differences, "; "))
}

// judgementRecord is the record of what somebody says.
func (a *Authority) judgementRecord(r *Review, j Judgement, now time.Time) *audit.Record {
	rec := audit.New(j.ID, audit.OpApproval, now)
	rec.Label, rec.Profile = audit.Text(r.Label), audit.Text(r.Profile)
	rec.Policy = &audit.Policy{Name: audit.Text(a.Policy.Name()), SHA256: a.Policy.SHA256()}
	rec.Who, rec.CSR = j.By.Audit(), r.Record.CSR
	rec.Plan = r.Record.Plan
	rec.Pending = &audit.Pending{ID: audit.Text(r.ID), Needs: r.Needs, Note: audit.Text(j.Note), Disclosed: j.Disclose, Requester: audit.Text(r.Who)}
	rec.Pending.Approvers = ApproversOf(r.Waiting)
	for _, text := range r.Differences {
		rec.Pending.Differences = append(rec.Pending.Differences, audit.Text(text))
	}
	rec.Outcome = audit.Text(store.PendingDenied)
	if j.Approves {
		rec.Outcome = audit.Text(store.PendingApproved)
		rec.Pending.Approvers = append(rec.Pending.Approvers, audit.Approver{Name: audit.Text(j.By.Name()), Method: j.By.Method(), At: now.UTC(), Note: audit.Text(j.Note)})
	}
	return rec
}

// ApproversOf are those who have approved a request, for its records.
func ApproversOf(w store.Waiting) (all []audit.Approver) {
	for _, d := range w.Decisions {
		if d.Approves {
			all = append(all, audit.Approver{Name: audit.Text(d.Name), Method: d.Method, At: d.At.UTC(), Note: audit.Text(d.Note)})
		}
	}
	return all
}
