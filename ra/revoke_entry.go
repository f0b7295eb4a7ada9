// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/big"

	"github.com/caddy-est/estra/ra/store"
)

// An EntryRevocation is an operator's: a certificate of the inventory, or one of
// which the inventory knows only that the CA may have issued it.
type EntryRevocation struct {
	Entry  store.Certificate
	Reason int // CRLReason (RFC 5280 section 5.3.1)
	By     Approver
}

// RevokeEntry has the CA revoke what an entry is of: that very certificate, which
// its issuing key must have signed; or, where nobody has it, the serial number that
// was chosen here. Then the entry is marked. The error is always *Error.
func (a *Authority) RevokeEntry(ctx context.Context, ca *CA, r EntryRevocation) (Outcome, error) {
	out := Outcome{Status: StatusRefused, Profile: r.Entry.Profile, Upstream: ca.Name}
	if !r.By.Known() {
		return out, Fail(Fault, "nobody says who revokes", nil)
	}
	if a.Ledger == nil {
		return out, Fail(Fault, "there is no inventory", nil)
	}
	revoke, e := a.revoking(ctx, ca, r, &out)
	if e != nil {
		return out, e
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ca.timeout())
	defer cancel()
	if err := guardedCall(func() error { return revoke(ctx) }); err != nil {
		e := issueError(ctx, ca, err)
		out.Status = statusOf(e.Kind)
		return out, e
	}
	out.Status = StatusRevoked
	mark := store.Mark{At: a.now(), Reason: r.Reason, By: storeText(r.By.Name() + " (" + r.By.Method() + ")")}
	if err := a.Ledger.Revoked(ctx, r.Entry.ID, mark); err != nil {
		out.Unsettled = err // it is revoked all the same
	}
	return out, nil
}

// revoking gives the call that revokes.
func (a *Authority) revoking(ctx context.Context, ca *CA, r EntryRevocation, out *Outcome) (func(context.Context) error, *Error) {
	c := r.Entry
	if len(c.DER) == 0 {
		serial, ok := new(big.Int).SetString(c.Serial, 16)
		revoker, can := ca.Upstream.(SerialRevoker)
		switch {
		case !c.OwnSerial || !ok:
			return nil, Fail(OperationOff, fmt.Sprintf("nobody knows the certificate or its serial number, if there is one: look for it at upstream %s", ca.Name), nil)
		case !can:
			return nil, Fail(OperationOff, fmt.Sprintf("upstream %s can't revoke a certificate that nobody has", ca.Name), nil)
		}
		out.Serial = serial
		return func(ctx context.Context) error { return revoker.RevokeSerial(ctx, serial, nil, c.NotAfter, r.Reason) }, nil
	}
	cert, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return nil, Fail(NoCertificate, "the certificate in the inventory can't be read", err)
	}
	out.Replaces = cert
	issued, err := ca.Issued(ctx, cert)
	switch {
	case err != nil:
		return nil, asError(err)
	case !issued:
		return nil, Fail(NoCertificate, fmt.Sprintf("upstream %s has not issued the certificate with serial number %s", ca.Name, c.Serial), nil)
	}
	revoker, ok := ca.Upstream.(Revoker)
	if !ok {
		return nil, Fail(OperationOff, fmt.Sprintf("upstream %s can't revoke: `caddy est certs block` keeps it from being renewed", ca.Name), nil)
	}
	return func(ctx context.Context) error { return revoker.Revoke(ctx, cert, r.Reason) }, nil
}

// guardedCall makes an error of a panic.
func guardedCall(call func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return call()
}
