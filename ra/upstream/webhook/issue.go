// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// Issue asks the service once: when the answer is lost the error is
// UpstreamTimeout. Ref is the service's own, else the serial number in decimal.
func (u *Upstream) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "this is no order of an authority", nil)
	}
	request, err := u.requestOf(o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "the plan can't be written down", err)
	}
	var answer issueAnswer
	if err := u.call(ctx, upstream.Call{Path: issuePath, RequestID: o.RequestID(), Signs: true}, request, &answer); err != nil {
		return ra.Issued{}, err
	}
	return u.issued(answer)
}

// issued reads an answer, in which one thing stands.
func (u *Upstream) issued(answer issueAnswer) (ra.Issued, error) {
	several := 0
	for _, there := range []bool{answer.Certificate != "", answer.Pending != nil, answer.Refused != nil} {
		if there {
			several++
		}
	}
	switch {
	case several != 1:
		return ra.Issued{}, u.client.Unreadable(true, fmt.Sprintf("%d of certificate, pending and refused", several), nil)
	case answer.Pending != nil && answer.Pending.Ref != "" && answer.Pending.Ref != upstream.Line(answer.Pending.Ref):
		return ra.Issued{}, u.client.Unreadable(true, "a ref that isn't one line of text", nil)
	case answer.Pending != nil:
		return ra.Issued{}, later(*answer.Pending)
	case answer.Refused != nil:
		return ra.Issued{}, no(*answer.Refused)
	}
	certs, err := upstream.Certificates([]byte(answer.Certificate))
	if err != nil {
		return ra.Issued{}, u.client.Unreadable(true, "a certificate that can't be read", err)
	}
	ref := certs[0].SerialNumber.String()
	if answer.Ref != "" {
		ref = upstream.Line(answer.Ref)
	}
	return ra.Issued{Certificate: certs[0], Ref: ref}, nil
}

// CACerts gives what is configured, and what the service says, where it is asked.
func (u *Upstream) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	all := slices.Concat(u.cfg.Roots, u.cfg.Chain)
	if !u.cfg.CACerts {
		return all, nil
	}
	var answer cacertsAnswer
	if err := u.ask(ctx, cacertsPath, cacertsRequest{u.head()}, &answer); err != nil {
		return nil, err
	}
	certs, err := upstream.Certificates([]byte(answer.Certificates))
	if err != nil {
		return nil, u.client.Unreadable(false, "certificates that can't be read", err)
	}
	for _, c := range certs {
		if !slices.ContainsFunc(all, c.Equal) {
			all = append(all, c)
		}
	}
	return all, nil
}

// Defers implements ra.Deferrer: any service may.
func (*Upstream) Defers() bool { return true }

// CanRevoke says whether the service is told of revocations.
func (u *Upstream) CanRevoke() bool { return u.cfg.Revoke }

// Revoke tells the service of a certificate that is revoked, where it is asked;
// without, it is an error, and nothing is called. Revoking again is none.
func (u *Upstream) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if err := upstream.Revocable(cert, reason); err != nil {
		return err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	return u.revoke(ctx, revokeRequest{Serial: cert.SerialNumber.String(), Certificate: string(block), Reason: reason})
}

// RevokeSerial implements ra.SerialRevoker.
func (u *Upstream) RevokeSerial(ctx context.Context, serial *big.Int, _ *x509.Certificate, _ time.Time, reason int) error {
	if err := upstream.RevocableSerial(serial, reason); err != nil {
		return err
	}
	return u.revoke(ctx, revokeRequest{Serial: serial.String(), Reason: reason})
}

func (u *Upstream) revoke(ctx context.Context, r revokeRequest) error {
	if !u.cfg.Revoke {
		return ra.Fail(ra.UpstreamRefused, "the webhook isn't told of revocations: write `revoke` in the upstream", nil)
	}
	r.head = u.head()
	var answer revokeAnswer
	if err := u.call(ctx, upstream.Call{Path: revokePath}, r, &answer); err != nil {
		return err
	}
	if answer.Refused != nil {
		return no(*answer.Refused)
	}
	return nil
}

// Check asks for the certificates, where the service has them: it must take the
// signature for that. And it looks at the addresses and at the clock.
func (u *Upstream) Check(ctx context.Context) []ra.Check {
	const what = "secret"
	if !u.cfg.CACerts {
		skipped := ra.Check{What: what, Result: ra.Skipped, Detail: "the service has no /cacerts to ask (`cacerts`)"}
		return append([]ra.Check{skipped}, u.client.Check(ctx)...)
	}
	var answer cacertsAnswer
	err := u.ask(ctx, cacertsPath, cacertsRequest{u.head()}, &answer)
	return append([]ra.Check{ra.Checked(what, err, "the service takes our signature")}, u.client.Check(ctx)...)
}
