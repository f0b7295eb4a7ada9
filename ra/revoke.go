// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// A Revocation asks that a certificate of a CA be revoked (RFC 5272 section
// 6.11).
type Revocation struct {
	Certificate *x509.Certificate
	Reason      int // CRLReason (RFC 5280 section 5.3.1)
	// Own is true where that certificate signed the request.
	Own bool
	// By is the RA that signed it; the zero value: none.
	By policy.Registrar
}

// Revoke revokes a certificate for who may ask for it. The caller has proven who
// asks. The error is always *Error.
func (a *Authority) Revoke(ctx context.Context, p *policy.Profile, r Revocation) (Outcome, error) {
	out := Outcome{Status: StatusRefused, Profile: p.Name(), Upstream: p.Upstream(), Replaces: r.Certificate}
	ca := a.CAs[p.Upstream()]
	if ca == nil || ca.Upstream == nil {
		return out, Fail(Fault, fmt.Sprintf("profile %s has no upstream %q", p.Name(), p.Upstream()), nil)
	}
	issued, err := ca.Issued(ctx, r.Certificate)
	switch {
	case err != nil:
		return out, asError(err)
	case !issued:
		return out, Fail(NoCertificate, fmt.Sprintf("upstream %s has not issued the certificate with serial number %x", ca.Name, r.Certificate.SerialNumber), nil)
	}
	names, err := csr.NamesOf(r.Certificate)
	if err != nil {
		return out, Fail(NoCertificate, "the names of the certificate can't be read", err)
	}
	if allowed, why := p.DecideRevocation(policy.Revocation{Names: names, Own: r.Own, By: r.By, Now: a.now()}); !allowed {
		e := Fail(Refused, why.Message, nil)
		e.Findings = []policy.Finding{why}
		return out, e
	}
	revoker, ok := ca.Upstream.(Revoker)
	if !ok {
		return out, Fail(OperationOff, fmt.Sprintf("upstream %s can't revoke", ca.Name), nil)
	}
	// A client that hangs up ends nothing, as with issuance.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ca.timeout())
	defer cancel()
	if err := revoker.Revoke(ctx, r.Certificate, r.Reason); err != nil {
		e := issueError(ctx, ca, err)
		out.Status = statusOf(e.Kind)
		return out, e
	}
	out.Status = StatusRevoked
	if err := a.revokedHere(ctx, ca, r.Certificate, r.Reason, r.by()); err != nil {
		out.Unsettled = err // it is revoked all the same
	}
	return out, nil
}

// by says who has asked.
func (r Revocation) by() string {
	if r.By.Proven() {
		return "registration authority " + r.By.Identity().Cert.Subject.String()
	}
	return "its holder"
}
