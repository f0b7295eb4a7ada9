// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"slices"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// Issue asks for a signature once: when the answer is lost the error is
// UpstreamTimeout. Ref is the serial number in decimal, which is how CFSSL files
// a certificate.
func (u *Upstream) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "this is no order of an authority", nil)
	}
	wanted, err := u.express(o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, err.Error(), nil)
	}
	if err := u.fits(ctx, o); err != nil {
		return ra.Issued{}, err
	}
	request, err := json.Marshal(wanted)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamDown, "the request can't be made", nil)
	}
	key, err := u.cfg.Key()
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamDown, "CFSSL wants an HMAC of its key", err)
	}
	body, err := sealed(key, request)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamDown, "the request can't be made", nil)
	}
	call := post(signPath, body)
	call.RequestID, call.Signs = o.RequestID(), true
	result, err := u.call(ctx, call)
	if err != nil {
		return ra.Issued{}, err
	}
	return u.issued(result)
}

func (u *Upstream) issued(result json.RawMessage) (ra.Issued, error) {
	text, err := certificateIn(result)
	if err != nil {
		return ra.Issued{}, u.client.Unreadable(true, err.Error(), nil)
	}
	certs, err := upstream.Certificates(text)
	if err != nil {
		return ra.Issued{}, u.client.Unreadable(true, "a certificate that can't be read", err)
	}
	return ra.Issued{Certificate: certs[0], Ref: certs[0].SerialNumber.String()}, nil
}

// CACerts gives the signer's certificate, which CFSSL tells, and what is
// configured of those above it, which it doesn't.
func (u *Upstream) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	known, err := u.askInfo(ctx)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(u.cfg.Roots, u.cfg.Chain)
	if !slices.ContainsFunc(all, known.signer.Equal) {
		all = append(all, known.signer)
	}
	return all, nil
}
