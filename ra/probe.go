// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// A ProbeRequest asks a CA for one certificate that is revoked at once. An operator
// makes it: there is no client, and the key is thrown away.
type ProbeRequest struct {
	ID      string // for the audit record and the CA's log
	Profile *policy.Profile
	Name    string // a host name that the CA may certify
	Now     time.Time
}

// A Probed is what came of a probe.
type Probed struct {
	Outcome
	CSR *csr.Request
	// Revoked is why the certificate is still valid; nil: it is revoked, or there is
	// none.
	Revoked error
}

// cessationOfOperation is the CRLReason of a certificate that nobody uses any more
// (RFC 5280 section 5.3.1).
const cessationOfOperation = 5

// CanProbe says why no probe is made at a CA, or nil: what can't be revoked isn't
// issued.
func (c *CA) CanProbe() error {
	_, can := c.Upstream.(Revoker)
	if partly, ok := c.Upstream.(interface{ CanRevoke() bool }); ok {
		can = can && partly.CanRevoke()
	}
	if !can {
		return errors.New("it can't revoke, so that no probe certificate is issued")
	}
	return nil
}

// Probe has a CA issue a certificate by the built-in profile policy.ProbeProfile,
// compares it as any other, and has it revoked. The error is always *Error.
func (a *Authority) Probe(ctx context.Context, ca *CA, req ProbeRequest) (Probed, error) {
	done := Probed{Outcome: Outcome{Profile: policy.ProbeProfile, Upstream: ca.Name}}
	if e := a.probe(ctx, ca, req, &done); e != nil {
		if done.Status == "" {
			done.Status = statusOf(e.Kind)
		}
		return done, e
	}
	done.Status = StatusIssued
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ca.timeout())
	defer cancel()
	if done.Revoked = revoke(ctx, ca, done.Certificate, cessationOfOperation); done.Revoked == nil {
		done.Unsettled = a.revokedHere(ctx, ca, done.Certificate, cessationOfOperation, "estra")
	}
	return done, nil
}

func (a *Authority) probe(ctx context.Context, ca *CA, req ProbeRequest, done *Probed) *Error {
	if err := ca.CanProbe(); err != nil {
		return Fail(OperationOff, fmt.Sprintf("upstream %s", ca.Name), err)
	}
	made, err := probeCSR(req.Name, ca.Upstream.Carries())
	if err != nil {
		return Fail(Malformed, fmt.Sprintf("no request can be made for %q", req.Name), err)
	}
	done.CSR = made
	return a.issueBuiltIn(ctx, ca, builtIn{policy.ProbeProfile, req.Profile.Probe(made), made, req.ID, req.Now}, &done.Outcome)
}

// probeCSR is a request for one host name, with a CN where certificates of the CA
// have one, and a key that nobody keeps.
func probeCSR(name string, can policy.Capabilities) (*csr.Request, error) {
	const (
		commonName       = "2.5.4.3"
		mostInCommonName = 64 // ub-common-name (RFC 5280 appendix A.1)
	)
	if _, err := csr.NewName(csr.DNS, name); err != nil {
		return nil, err
	}
	var subject pkix.Name
	if len(name) <= mostInCommonName && (can.Attribute(commonName) || can.PassesAttribute(commonName)) {
		subject.CommonName = name
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: subject, DNSNames: []string{name},
	}, key)
	if err != nil {
		return nil, err
	}
	return csr.Parse(der)
}
