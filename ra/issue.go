// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
)

// issueOnce has the CA issue, between the two ends of an entry in the ledger, and
// compares.
func (a *Authority) issueOnce(ctx context.Context, ca *CA, order Order, t task, l *entry, out *Outcome) *Error {
	if done, e := l.intend(ctx, order, out); done || e != nil {
		return e
	}
	m, e := made{}, a.decidedMeanwhile(ctx, t, l)
	if e == nil {
		m, e = a.issue(ctx, ca, order, t.making, out)
		e = t.polling.heard(l, m, out, e)
	}
	if e == nil && order.takesSerial {
		// By a clock that was set meanwhile nothing can be said of what came. Like an
		// answer that is lost, it is revoked before another one is issued.
		if e = ca.canBeCompared(ctx); e != nil {
			m, out.Status = made{}, StatusUnknown
		}
	}
	if e == nil {
		e = compare(ctx, ca, order, m, t.identity, out)
	}
	if e == nil {
		e = t.making.checkUpstream(ctx, ca, order, out)
	}
	if e == nil {
		e = t.making.wrap(ctx, ca, order, out)
	}
	return l.end(ctx, m, out, e)
}

// issue asks the upstream for one certificate, for the time of its Timeout.
func (a *Authority) issue(ctx context.Context, ca *CA, order Order, making *making, out *Outcome) (m made, e *Error) {
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
	issued, err := making.issue(ctx, ca, order)
	ca.readiness.answered(err, a.now())
	if err != nil {
		e := issueError(ctx, ca, err)
		out.Ref = e.Ref
		return made{}, making.later(ca, out, e)
	}
	out.Ref = issued.Ref
	if issued.Certificate == nil {
		out.Status = StatusUnknown // it may have issued one
		return made{}, Fail(UpstreamRefused, fmt.Sprintf("upstream %s: answered without a certificate", ca.Name), nil)
	}
	m = issued.made
	m.issuer = issued.Issuer
	if m.leaf == nil {
		// Compared and handed out are the bytes, not what an adapter made of
		// them.
		if m.leaf, err = x509.ParseCertificate(issued.Certificate.Raw); err != nil {
			out.Status = StatusUnknown
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
		case UpstreamDown, UpstreamRefused, UpstreamTimeout, Busy, Fault, Pending:
			e := Fail(own.Kind, fmt.Sprintf("upstream %s: %s", ca.Name, own.Reason), own.Err)
			e.Ref = own.Ref
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
	case Pending:
		return StatusPending
	case Fault, Busy, UpstreamDown, UpstreamRefused, Nonconforming:
		return StatusFailed
	default:
		return StatusRefused
	}
}
