// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/replay"
	"github.com/caddy-est/estra/ra/store"
)

// DefaultPollEvery is how often a CA that has yet to decide is asked at most.
const DefaultPollEvery = time.Minute

// MostPollEvery is how long a CA may have us wait.
const MostPollEvery = 24 * time.Hour

// byCA is the method of a decision that the CA has taken, in place of a person's.
const byCA = "ca"

// A polling is a task that no client brings: the CA is asked again for an order that
// it has. Nothing else is ordered by it.
type polling struct {
	// refused is the CA's word. The entry stays as it is until the client was told.
	refused *Error
	// open says that the CA has yet to decide.
	open bool
}

// errOver is why a polling ends without the CA: the ledger has no such order.
var errOver = errors.New("the order is over")

// keepOrder has an order asked for in the background that the CA has yet to decide,
// and forgets it once it is over. Where that fails, the repeats of the device do it.
func (a *Authority) keepOrder(ctx context.Context, p *policy.Profile, op policy.Op, label string, t task, l *entry, out *Outcome, e *Error) {
	if a.Orders == nil || l == nil || !l.once || t.polling != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	waits := e != nil && l.stillWaits(e)
	switch {
	case !waits && l.resumed():
		out.Unsettled = errors.Join(out.Unsettled, a.Orders.Drop(ctx, l.row.ID))
	case waits && !l.resumed():
		out.Unsettled = errors.Join(out.Unsettled, a.keep(ctx, p, op, label, t, l, out, e))
	}
}

// keep writes what asking again needs. A request in CRMF stays with the device:
// what an RA has changed of it can't be told from the stored one.
func (a *Authority) keep(ctx context.Context, p *policy.Profile, op policy.Op, label string, t task, l *entry, out *Outcome, e *Error) error {
	if _, is := t.csr.PKCS10(); !is {
		return nil
	}
	decided := *out
	decided.Decision.Approval, decided.Decision.Uses = &policy.Approval{}, nil
	asking, err := a.asking(p, op, label, t, &decided)
	if err != nil {
		return err
	}
	asking.Request = framed([]byte("order 1"), l.row.Request[:])
	return a.Orders.Keep(ctx, asking, l.row.ID, t.now.Add(a.pollAfter(e)))
}

// pollAfter is when the CA is asked again: when it says so, and not too often. It is
// spread, so that what came together doesn't go together.
func (a *Authority) pollAfter(e *Error) time.Duration {
	every := a.PollEvery
	if every <= 0 {
		every = DefaultPollEvery
	}
	// What isn't more than a client is told anyhow may not be the CA's word.
	if e != nil && e.RetryAfter > leastPendingRetry {
		every = max(every, min(e.RetryAfter, MostPollEvery))
	}
	return every + rand.N(every/4+1) //nolint:gosec // nobody gains by guessing it
}

// decidedMeanwhile is what became of an order that waits while nobody asked for it.
func (a *Authority) decidedMeanwhile(ctx context.Context, t task, l *entry) *Error {
	if !l.resumed() || t.polling != nil || a.Orders == nil || a.Pending == nil {
		return nil
	}
	w, err := a.Pending.Find(ctx, l.row.ID, t.now)
	switch {
	case errors.Is(err, store.ErrUnknown): // nobody asks in the background
		return nil
	case err != nil:
		return Fail(Busy, "what became of the order can't be found", err)
	case w.State != store.PendingDenied:
		return nil
	}
	for _, said := range w.Decisions {
		if said.Method == byCA {
			return Fail(UpstreamRefused, said.Note, nil)
		}
	}
	return denied(w, policy.Decision{})
}

// heard takes the CA's word in the background: a refusal is kept until the client
// was told.
func (p *polling) heard(l *entry, m made, out *Outcome, e *Error) *Error {
	if p == nil || e == nil {
		return e
	}
	if e.Kind == UpstreamRefused && m.leaf == nil && out.Status != StatusUnknown {
		p.refused = e
		if errors.Is(e, ErrCredential) { // it is no word about the order
			p.refused = nil
		}
		e = Fail(Pending, e.Text(), nil)
	}
	p.open = m.leaf == nil && l.stillWaits(e)
	return e
}

// Polled is what came of asking a CA again.
type Polled struct {
	Op      policy.Op
	Label   string
	Profile string
	Outcome Outcome
	// Err is nil where the CA has issued; Pending: it has yet to decide, or can't be
	// asked now.
	Err *Error
	// Record is of what was decided; nil: nothing was, or another one has it.
	Record *audit.Record
	// Unsettled is why the store couldn't be told.
	Unsettled error
}

// Poll asks the CA again for an order of Orders. id is that of its record.
func (a *Authority) Poll(ctx context.Context, w store.Waiting, id string) (Polled, error) {
	done := Polled{Op: w.Op, Label: w.Label, Profile: w.Profile}
	p, ok := a.Policy.Profile(w.Label)
	t, err := a.polled(p, w)
	if err == nil && !ok {
		err = fmt.Errorf("the policy in force has no label %q", w.Label)
	}
	if err != nil {
		return done, errors.Join(err, a.Orders.Drop(ctx, w.ID))
	}
	asked := t.arrived()
	out, err := a.run(ctx, p, w.Op, w.Label, t)
	done.Outcome = out
	errors.As(err, &done.Err)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	switch {
	case t.polling.refused != nil:
		done.Err = t.polling.refused
		done.Unsettled = a.refusedBy(ctx, w, done.Err)
	case done.Err != nil && (t.polling.open || out.Serial == nil && !errors.Is(err, errOver)):
		// What ends before the CA was asked, such as by a revocation that can't be
		// checked now, says nothing of the order.
		done.Unsettled = a.Orders.Next(ctx, w.ID, a.now().Add(a.pollAfter(done.Err)))
		return done, nil
	default:
		done.Unsettled = a.Orders.Drop(ctx, w.ID)
	}
	if errors.Is(done.Unsettled, store.ErrUnknown) { // the device was faster
		done.Unsettled = nil
	}
	if !errors.Is(err, errOver) && out.Replays == "" {
		done.Record = a.polledRecord(id, p, asked, w, &done)
	}
	return done, nil
}

// polled makes the task anew of what is stored of it.
func (a *Authority) polled(p *policy.Profile, w store.Waiting) (task, error) {
	r, err := replay.Record(w.Record)
	if err != nil {
		return task{}, err
	}
	arrival, err := replay.Request(r)
	if err != nil {
		return task{}, err
	}
	var kept stored
	if err := json.Unmarshal(w.Record, &kept); err != nil {
		return task{}, err
	}
	request, err := csr.Parse(kept.Request)
	if err != nil {
		return task{}, err
	}
	asked := arrival.Asked()
	if asked == nil || !bytes.Equal(asked.RawSubject, request.RawSubject) || !bytes.Equal(asked.RawSPKI, request.RawSPKI) {
		return task{}, errors.New("a registration authority has changed the request")
	}
	now := a.now()
	arrival.Now, arrival.CSR = now, request
	t := task{csr: request, who: arrival.Who, now: now, polling: new(polling), identity: identityOf(arrival.Who, request)}
	t.evidence = Evidence{RequestID: w.ID, Linking: arrival.Linking}
	if p == nil {
		return t, nil
	}
	if _, is := arrival.OnBehalf(p); is {
		t.role = policy.RoleRA
		t.identity += " " + namesText(request)
		t.evidence.Registrar = arrival.Who.Cert.Subject.String()
	}
	t.arrived = func() policy.Arrival { return arrival }
	t.decide = func(f found) policy.Decision {
		arrival.Renews, arrival.KeyHolder, arrival.Chain = f.renews, f.holder, f.chain
		return arrival.Decide(p)
	}
	if w.Op.Renews() {
		renews := arrival.Renews
		t.renews = func(ctx context.Context, ca *CA) (*x509.Certificate, *Error) {
			return renews, a.renewable(ctx, ca, renews)
		}
	}
	return t, nil
}

// refusedBy keeps the CA's refusal for the device, which comes for it.
func (a *Authority) refusedBy(ctx context.Context, w store.Waiting, e *Error) error {
	now := a.now()
	_, err := a.Pending.Decide(ctx, store.PendingDecision{
		ID: w.ID, Wanted: w.Wanted, Validity: w.Validity, Approver: byCA, Name: "the CA", Method: byCA,
		Note: storeText(e.Text()), At: now, Expires: later(w.Expires, now.Add(a.pendingFor())),
	})
	return err
}

// polledRecord is the record of what the CA has decided while no client asked.
func (a *Authority) polledRecord(id string, p *policy.Profile, arrival policy.Arrival, w store.Waiting, done *Polled) *audit.Record {
	out := done.Outcome
	r := a.pendingRecord(id, p, arrival, out.Decision, a.now())
	r.Pending = &audit.Pending{ID: audit.Text(w.ID)}
	r.Outcome, r.Serial, r.Conforms = audit.Text(out.Status), audit.Serial(out.Serial), out.Conforms
	leaf := out.Certificate
	if leaf == nil {
		leaf = out.Withheld
	}
	r.Cert = audit.OfCert(leaf)
	if out.Replaces != nil {
		r.ReplacesSerial = audit.Serial(out.Replaces.SerialNumber)
	}
	r.Upstream = &audit.Upstream{Name: audit.Text(out.Upstream), Ref: audit.Text(out.Ref), MS: out.Took.Milliseconds()}
	r.MS = r.Upstream.MS
	if e := done.Err; e != nil {
		r.Outcome = audit.Text(statusOf(e.Kind))
		r.Kind, r.FailInfo, r.Reason = audit.Text(e.Kind.String()), audit.Text(e.FailInfo()), audit.Text(e.Text())
		if leaf == nil {
			r.Upstream.Error = r.Reason
		}
	}
	return r
}
