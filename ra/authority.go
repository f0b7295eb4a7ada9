// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/crl"
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
	var out Outcome
	if e := a.enroll(ctx, p, req, &out); e != nil {
		if out.Status == "" {
			out.Status = statusOf(e.Kind)
		}
		return out, e
	}
	out.Status = StatusIssued
	return out, nil
}

func (a *Authority) enroll(ctx context.Context, p *policy.Profile, req Request, out *Outcome) (e *Error) {
	if req.Now.IsZero() {
		req.Now = a.now()
	}
	ca, e := a.authorityFor(p, req)
	if e != nil {
		return e
	}
	out.Profile, out.Upstream = p.Name(), ca.Name
	req.Renews = nil
	if req.Op == policy.SimpleReenroll {
		if e := renewable(ctx, ca, req.Who.Cert); e != nil {
			return e
		}
		req.Renews, out.Replaces = req.Who.Cert, req.Who.Cert
	}
	if e := a.consult(ctx, &req, out); e != nil {
		return e
	}
	holder, end, e := a.takeKey(ctx, ca, req)
	if e != nil {
		return e
	}
	defer func() { end(out, e) }()
	req.KeyHolder, out.KeyHolder = holder, holder
	out.Decision = p.Decide(req.Request)
	if out.Decision.Verdict != policy.Allow {
		return refusal(out.Decision)
	}
	if ca.Stopped(out.Profile) {
		return ca.down(fmt.Sprintf("it is stopped for profile %s after nonconforming certificates; "+
			"`caddy est upstream resume %s %s` lets it issue again", out.Profile, ca.Name, out.Profile), nil)
	}
	// What comes back couldn't be compared without the CA's certificates.
	if _, err := ca.Issuers(ctx); err != nil {
		return asError(err)
	}
	order, err := a.order(req, out.Decision.Plan, ca.Upstream.Carries().Serial)
	if err != nil {
		return Fail(Fault, "no order can be made", err)
	}
	out.Serial, out.NotBefore, out.NotAfter = order.Serial(), order.NotBefore(), order.NotAfter()
	ctx = context.WithoutCancel(ctx)
	m, e := a.issue(ctx, ca, order, out)
	if e != nil {
		return e
	}
	return compare(ctx, ca, order, m, identityOf(req), out)
}

// authorityFor takes what can be enrolled here, and nothing else by default.
func (a *Authority) authorityFor(p *policy.Profile, req Request) (*CA, *Error) {
	if p == nil {
		return nil, Fail(NoProfile, fmt.Sprintf("no profile for label %q", req.Label), nil)
	}
	switch req.Op {
	case policy.SimpleEnroll, policy.SimpleReenroll:
	default:
		return nil, Fail(OperationOff, fmt.Sprintf("operation %q doesn't enroll here", req.Op), nil)
	}
	if !p.Offers(req.Op) {
		return nil, Fail(OperationOff, fmt.Sprintf("profile %s doesn't offer %s", p.Name(), req.Op), nil)
	}
	if req.CSR == nil {
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
func renewable(ctx context.Context, ca *CA, cert *x509.Certificate) *Error {
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

// issue asks the upstream for one certificate, for the time of its Timeout.
func (a *Authority) issue(ctx context.Context, ca *CA, order Order, out *Outcome) (m made, e *Error) {
	ctx, cancel := context.WithTimeout(ctx, ca.timeout())
	defer cancel()
	start := a.now()
	defer func() {
		out.Took = a.now().Sub(start)
		if r := recover(); r != nil {
			// Nobody knows how far it came: the CA may have signed.
			out.Status = StatusUnknown
			m, e = made{}, Fail(Fault, fmt.Sprintf("upstream %s: panic: %v", ca.Name, r), nil)
		}
	}()
	issued, err := ca.Upstream.Issue(ctx, order)
	ca.readiness.answered(err, a.now())
	if err != nil {
		return made{}, issueError(ctx, ca, err)
	}
	out.Ref = issued.Ref
	if issued.Certificate == nil {
		return made{}, Fail(UpstreamRefused, fmt.Sprintf("upstream %s: answered without a certificate", ca.Name), nil)
	}
	m = issued.made
	if m.leaf == nil {
		// Compared and handed out are the bytes, not what an adapter made of
		// them.
		if m.leaf, err = x509.ParseCertificate(issued.Certificate.Raw); err != nil {
			return made{}, Fail(UpstreamRefused, fmt.Sprintf("upstream %s: its certificate can't be read", ca.Name), err)
		}
	}
	return m, nil
}

// issueError takes the adapter's word for the kinds that are an upstream's,
// and never its words for the client.
func issueError(ctx context.Context, ca *CA, err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		switch own.Kind {
		case UpstreamDown, UpstreamRefused, UpstreamTimeout, Busy, Fault:
			e := Fail(own.Kind, fmt.Sprintf("upstream %s: %s", ca.Name, own.Reason), own.Err)
			if own.RetryAfter > 0 {
				e.RetryAfter = own.RetryAfter
			}
			return e
		default:
			// An adapter has no say about the request.
		}
	}
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
		return Fail(UpstreamTimeout, fmt.Sprintf("upstream %s: no answer within %s; it may have issued", ca.Name, ca.timeout()), err)
	}
	return Fail(UpstreamRefused, fmt.Sprintf("upstream %s", ca.Name), err)
}

func statusOf(k Kind) Status {
	switch k {
	case UpstreamTimeout:
		return StatusUnknown
	case Fault, Busy, UpstreamDown, UpstreamRefused, Nonconforming:
		return StatusFailed
	default:
		return StatusRefused
	}
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
