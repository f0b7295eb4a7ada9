// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"

	"github.com/caddy-est/estra/ra/store"
)

// superseded is the CRLReason of a certificate in whose place another one came
// (RFC 5280 section 5.3.1).
const superseded = 4

// supersede revokes what the same request has been given before: a device asks
// again where the answer was lost, and then somebody else may have it. What
// fails is in the record, and tried again with the next repeat; the device gets
// its key all the same.
func (a *Authority) supersede(ctx context.Context, ca *CA, label string, t task, out *Outcome) {
	if out.Made == nil || out.Certificate == nil || a.Made == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	request := madeFor(label, t.identity)
	earlier, err := a.Made.Issued(ctx, store.MadeCertificate{
		Request: request, Certificate: out.Certificate.Raw, Now: t.now, Since: t.now.Add(-a.repeat()),
	})
	if err != nil {
		out.Unsettled = errors.Join(out.Unsettled, err)
		return
	}
	for _, der := range earlier {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			out.Unsettled = errors.Join(out.Unsettled, err)
			continue
		}
		s := Superseded{Certificate: cert}
		if !t.now.After(cert.NotAfter) {
			s.Err = revoke(ctx, ca, cert, superseded)
			s.Revoked = s.Err == nil
			if s.Revoked {
				out.Unsettled = errors.Join(out.Unsettled, a.revokedHere(ctx, ca, cert, superseded, "estra"))
			}
		}
		out.Made.Superseded = append(out.Made.Superseded, s)
		if s.Err == nil {
			out.Unsettled = errors.Join(out.Unsettled, a.Made.Settled(ctx, request, der))
		}
	}
}

// revoke has the CA revoke a certificate of ours.
func revoke(ctx context.Context, ca *CA, cert *x509.Certificate, reason int) (err error) {
	revoker, ok := ca.Upstream.(Revoker)
	if !ok {
		return errors.New("this upstream can't revoke it")
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return revoker.Revoke(ctx, cert, reason)
}

// madeFor is the same for a request that is repeated: over label, and who asks
// for which names. The key is another one each time.
func madeFor(label, identity string) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q", label, identity))
}
