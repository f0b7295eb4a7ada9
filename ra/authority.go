// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/crl"
	"github.com/caddy-est/estra/ra/store"
)

// An Authority takes requests through the steps. It is safe for concurrent
// use.
type Authority struct {
	Policy *policy.Policy
	CAs    map[string]*CA   // by upstream name
	Now    func() time.Time // nil: time.Now
	Rand   io.Reader        // for serial numbers; nil: crypto/rand
	// Keys remembers for whom keys were certified; nil: nothing does, and no
	// key is known to be another's.
	Keys Keys
	// Hook is asked about each request before the policy is; nil: nobody is.
	Hook Hook
	// Claims keeps what is good once; nil: nothing does, and no request that
	// uses such a thing is granted.
	Claims store.Claims
	// Repeat is how long a request may be repeated, because an answer was lost: it
	// gets the same certificate, with what it has used up; default 24 h.
	Repeat time.Duration
	// Ledger keeps what was asked for and what became of it, so that for one
	// request one certificate is issued; nil: nothing does.
	Ledger store.Ledger
	// Node is the name of this server in the Ledger.
	Node string
	// Made keeps which certificates have keys that were made here; nil: nothing
	// does, and what a repeat supersedes isn't revoked.
	Made store.Made
	// DecryptKeys finds the keys that clients have in registries and files; nil:
	// none has any but that of its client certificate.
	DecryptKeys DecryptKeys
	// Passwords finds the passwords that clients have there for PKCS #12; nil:
	// none has any.
	Passwords Passwords
	// KeySigner gives the key and the certificate that sign private keys which
	// go out encrypted, such as this server's own; nil, or none: a key of this
	// process signs, which nobody vouches for.
	KeySigner func() (KeySigner, bool)
	// Renewals keeps how often certificates were renewed; nil: nothing does, and
	// a profile that counts grants nothing.
	Renewals store.Renewals
	// Pending keeps requests that wait for approval; nil: nothing does, and what
	// needs one is granted nothing.
	Pending store.Pending
	// PendingFor is how long a request waits, and how long a certificate can be
	// fetched once it is approved; default DefaultPendingFor.
	PendingFor time.Duration
	// Orders keeps what CAs have yet to decide, so that they are asked again (Poll)
	// before the client comes; nil: its repeats alone ask. It needs Pending.
	Orders store.Orders
	// PollEvery is how often a CA is asked for an order at most; default
	// DefaultPollEvery.
	PollEvery time.Duration

	own ownSigner
	rsa struct {
		once  sync.Once
		place chan struct{}
	}
}

// A task is one enrolment on its way through the steps, whoever brought it.
type task struct {
	csr      *csr.Request
	who      policy.Identity
	role     string // as policy.RoleRA
	now      time.Time
	evidence Evidence
	// identity tells devices apart, for the count of nonconforming certificates.
	identity string
	// renews gives the certificate that is replaced; nil: none is.
	renews func(context.Context, *CA) (*x509.Certificate, *Error)
	decide func(found) policy.Decision
	// arrived is the request as it was decided.
	arrived func() policy.Arrival
	waits   string // as of Request
	// making is set where the key is made for the device.
	making *making
	// polling is set where no client asks.
	polling *polling
}

// found is what the steps have found out for the policy.
type found struct {
	renews *x509.Certificate
	holder *policy.KeyHolder
	data   policy.Facts
	chain  *policy.Chain
}

// Enroll decides about one request and issues. The caller has parsed the CSR,
// verified its signature (proof of possession), compared the linking value
// and proven who asks; Renews and KeyHolder are found here, Now is set here
// when zero. The error is always *Error; the Outcome is filled as far as it
// came.
//
// Once the upstream is asked, a client that hangs up ends nothing: what
// became of the certificate must reach the record.
func (a *Authority) Enroll(ctx context.Context, p *policy.Profile, req Request) (Outcome, error) {
	if req.Now.IsZero() {
		req.Now = a.now()
	}
	t := task{csr: req.CSR, who: req.Who, now: req.Now, waits: req.Waits, evidence: evidenceOf(req.ID, req.Linking, req.Channel)}
	t.evidence.Unsigned = req.Unsigned
	t.decide = func(f found) policy.Decision {
		req.Renews, req.KeyHolder, req.Who.Data, req.Chain = f.renews, f.holder, f.data, f.chain
		return p.Decide(req.Request)
	}
	t.arrived = func() policy.Arrival { return policy.Arrival{Request: req.Request} }
	if req.Op.Renews() {
		t.renews = func(ctx context.Context, ca *CA) (*x509.Certificate, *Error) {
			return req.Who.Cert, a.renewable(ctx, ca, req.Who.Cert)
		}
	}
	if req.CSR != nil {
		t.identity = identityOf(req.Who, req.CSR)
	}
	return a.run(ctx, p, req.Op, req.Label, t)
}

// EnrollOnBehalf is Enroll for a request that an RA brings. The caller has
// proven the RA; the linking value is that of the device's own connection with
// the RA, and need not match.
func (a *Authority) EnrollOnBehalf(ctx context.Context, p *policy.Profile, req OnBehalf) (Outcome, error) {
	if p != nil && !req.Takes(p) || !req.By.Proven() {
		out := Outcome{Status: StatusRefused}
		return out, Fail(OperationOff, "nobody may ask on behalf of others here", nil)
	}
	if req.Now.IsZero() {
		req.Now = a.now()
	}
	t := task{csr: req.CSR, who: req.By.Identity(), role: policy.RoleRA, now: req.Now, waits: req.Waits, evidence: evidenceOf(req.ID, req.Linking, req.Channel)}
	t.evidence.Unsigned = req.Unsigned
	t.evidence.Registrar = req.By.Identity().Cert.Subject.String()
	t.decide = func(f found) policy.Decision {
		req.KeyHolder, req.By = f.holder, req.By.Knowing(f.data)
		return p.DecideOnBehalf(req.OnBehalf)
	}
	t.arrived = func() policy.Arrival { return req.Arrival() }
	if req.CSR != nil {
		t.identity = identityOf(req.By.Identity(), req.CSR) + " " + namesText(req.CSR)
	}
	return a.run(ctx, p, req.Op(), req.Label, t)
}

func (a *Authority) run(ctx context.Context, p *policy.Profile, op policy.Op, label string, t task) (Outcome, error) {
	var out Outcome
	if e := a.enroll(ctx, p, op, label, t, &out); e != nil {
		if out.Status == "" {
			out.Status = statusOf(e.Kind)
		}
		return out, e
	}
	out.Status = StatusIssued
	return out, nil
}

func (a *Authority) enroll(ctx context.Context, p *policy.Profile, op policy.Op, label string, t task, out *Outcome) (e *Error) {
	ca, e := a.authorityFor(p, op, label, t)
	if e != nil {
		return e
	}
	out.Profile, out.Upstream = p.Name(), ca.Name
	if e := a.barred(ctx, ca, t.who.Cert); e != nil {
		return e
	}
	if t.renews != nil {
		renews, e := t.renews(ctx, ca)
		if e != nil {
			return e
		}
		out.Replaces = renews
	}
	if out.Chain, e = a.chainOf(ctx, ca, p, t, out.Replaces); e != nil {
		return e
	}
	data, e := a.consult(ctx, t, out)
	if e != nil {
		return e
	}
	end := func(*Outcome, *Error) {}
	defer func() { end(out, e) }()
	if t.making == nil {
		holder, done, e := a.takeKey(ctx, ca, t)
		if e != nil {
			return e
		}
		out.KeyHolder, end = holder, done
	}
	out.Decision = t.decide(found{out.Replaces, out.KeyHolder, data, out.Chain})
	if !out.Decision.Grants() {
		return refusal(out.Decision)
	}
	if t.polling == nil { // else it was, when the CA was asked first
		if e := a.approved(ctx, p, op, label, t, out); e != nil {
			return e
		}
	}
	l, e := a.newEntry(ca, op, label, t, out)
	if e != nil {
		return e
	}
	if done, e := l.replay(ctx, out); done || e != nil {
		a.fetched(ctx, t, out)
		return e
	}
	if t.polling != nil && !l.resumed() {
		return Fail(NoCertificate, "the CA isn't asked for it any more, or the policy in force plans another certificate", errOver)
	}
	if e := a.again(ctx, t, l, out); e != nil {
		return e
	}
	if ca.Stopped(out.Profile) {
		return ca.down(fmt.Sprintf("it is stopped for profile %s after nonconforming certificates; "+
			"`caddy est upstream resume %s %s` lets it issue again", out.Profile, ca.Name, out.Profile), nil)
	}
	if e := ca.canBeCompared(ctx); e != nil {
		return e
	}
	if t.making != nil {
		// Only now: of what isn't granted there is no key.
		if e := a.make(ctx, ca, &t, out); e != nil {
			return e
		}
		if t.making.upstream == nil {
			_, done, e := a.takeKey(ctx, ca, t)
			if e != nil {
				return e
			}
			end = done
		}
	}
	carries := ca.Upstream.Carries()
	if _, is := t.csr.PKCS10(); !is && carries.PKCS10 {
		return Fail(Malformed, fmt.Sprintf("the request is CRMF, and upstream %s takes PKCS #10 alone", ca.Name), nil).
			Telling("the authority takes requests in PKCS #10 alone")
	}
	order, err := a.order(t, out.Decision.Plan, carries.Serial)
	if err != nil {
		return Fail(Fault, "no order can be made", err)
	}
	l.resume(&order)
	settle, e := a.reserve(ctx, label, t, l.resumed(), out)
	if e != nil {
		return e
	}
	defer func() { settle(out, e) }()
	if e := a.intendChain(ctx, p, t, order, out); e != nil {
		return e
	}
	out.Serial, out.NotBefore, out.NotAfter = order.Serial(), order.NotBefore(), order.NotAfter()
	ctx = context.WithoutCancel(ctx)
	if t.making != nil && t.making.upstream != nil {
		order.byCA, order.keyKind = true, t.making.made.Key
	}
	e = a.issueOnce(ctx, ca, order, t, l, out)
	a.keepOrder(ctx, p, op, label, t, l, out, e)
	if e != nil {
		return e
	}
	a.keepChain(ctx, p, t, out)
	a.supersede(ctx, ca, label, t, out)
	a.fetched(ctx, t, out)
	return nil
}

// authorityFor takes what can be enrolled here, and nothing else by default.
func (a *Authority) authorityFor(p *policy.Profile, op policy.Op, label string, t task) (*CA, *Error) {
	if p == nil {
		return nil, Fail(NoProfile, fmt.Sprintf("no profile for label %q", label), nil)
	}
	switch op {
	case policy.SimpleEnroll, policy.SimpleReenroll, policy.CMCEnroll, policy.CMCReenroll:
	case policy.ServerKeygen:
		if t.making == nil {
			return nil, Fail(OperationOff, "a key is made by Keygen alone", nil)
		}
	default:
		return nil, Fail(OperationOff, fmt.Sprintf("operation %q doesn't enroll here", op), nil)
	}
	if !p.Offers(op) {
		return nil, Fail(OperationOff, fmt.Sprintf("profile %s doesn't offer %s", p.Name(), op), nil)
	}
	if t.csr == nil {
		return nil, Fail(Malformed, "there is no certification request", nil)
	}
	ca := a.CAs[p.Upstream()]
	if ca == nil || ca.Upstream == nil {
		return nil, Fail(Fault, fmt.Sprintf("profile %s has no upstream %q", p.Name(), p.Upstream()), nil)
	}
	return ca, nil
}

// renewable: a reenroll replaces the certificate that the client presents
// (RFC 7030 section 3.3.2), which this very CA must have issued and not
// revoked.
func (a *Authority) renewable(ctx context.Context, ca *CA, cert *x509.Certificate) *Error {
	if cert == nil {
		return Fail(BadRenewal, "the client presents no certificate that could be renewed", nil)
	}
	issued, err := ca.Issued(ctx, cert)
	if err != nil {
		return asError(err)
	}
	if !issued {
		return Fail(BadRenewal, fmt.Sprintf("the client's certificate wasn't issued by upstream %s", ca.Name), nil)
	}
	revoked, err := ca.Revoked(ctx, cert)
	if crl.ForGood(err) {
		return Fail(BadRenewal, "revocation can't be checked", err)
	}
	if err != nil {
		return ca.down("revocation can't be checked", err)
	}
	if revoked {
		return Fail(BadRenewal, fmt.Sprintf("the client's certificate (serial %x) is revoked", cert.SerialNumber), nil)
	}
	return nil
}

func (a *Authority) now() time.Time {
	if a.Now == nil {
		return time.Now()
	}
	return a.Now()
}

func (a *Authority) random() io.Reader {
	if a.Rand == nil {
		return rand.Reader
	}
	return a.Rand
}
