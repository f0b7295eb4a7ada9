// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/caddy-est/estra/ra/store"
)

// A CA may take a request and decide later. The client then repeats it (RFC 7030
// section 4.2.3), and each repeat asks the CA for the same order again.

// resumed tells that the CA has the order already.
func (l *entry) resumed() bool { return l != nil && l.waits != nil }

// resume makes an order the one that the CA has: with its id, its serial number
// and the CA's own reference. Its times are new, since a certificate begins when
// the CA makes it; one that keeps to those it was told first conforms, too.
func (l *entry) resume(order *Order) {
	if !l.resumed() {
		return
	}
	order.evidence.RequestID, order.ref = l.waits.ID, l.waits.Ref
	if first := l.waits.NotBefore; !first.IsZero() && first.Before(order.notBefore) {
		order.waited = order.notBefore.Sub(first)
	}
	if serial, ok := serialOf(l.waits.Serial); ok && l.waits.OwnSerial {
		order.serial = serial
	}
}

// stillWaits tells whether the CA has yet to decide: it said so, or it had taken the
// order before and can't be asked now.
func (l *entry) stillWaits(e *Error) bool {
	return l.once && e.Kind == Pending || l.resumed() && e.Kind != UpstreamRefused
}

// later holds back what can't be gone on with: of a key that was made for the
// device nothing is kept until the CA has decided.
func (m *making) later(ca *CA, out *Outcome, e *Error) *Error {
	if m == nil || e.Kind != Pending {
		return e
	}
	out.Status = StatusUnknown
	return Fail(UpstreamRefused, fmt.Sprintf("upstream %s decides later, and a key that is made for a device isn't held until then: %s", ca.Name, e.Reason), nil)
}

// sameAs gives what another node has written down, where that is what this one has
// got as well.
func (l *entry) sameAs(ctx context.Context, leaf *x509.Certificate, out *Outcome, err error) *Error {
	has, again := l.a.Ledger.Current(ctx, l.row.Request)
	if again == nil && has.State == store.CertificateIssued && leaf != nil && bytes.Equal(has.DER, leaf.Raw) {
		return nil
	}
	return l.unwritten(out, errors.Join(err, again))
}

// again lets a request wait again whose approval was good for a certificate that
// isn't to be had any more, such as one that was revoked since.
func (a *Authority) again(ctx context.Context, t task, l *entry, out *Outcome) *Error {
	p := out.Pended
	if p == nil || p.State != store.PendingIssued || l == nil || !l.once || l.resumed() {
		return nil
	}
	w, err := a.Pending.Again(ctx, p.ID, t.now, t.now.Add(a.pendingFor()))
	if err != nil {
		return Fail(Busy, "the request can't be kept until it is approved", err)
	}
	out.Pended = &Pended{w, true}
	return Fail(Pending, fmt.Sprintf("it was approved for a certificate that isn't to be had any more, and waits again as %s", w.ID), nil).After(leastPendingRetry)
}
