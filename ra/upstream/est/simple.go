// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/wire"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 1 << 20

// Issue asks the server once: when the answer is lost the error is
// UpstreamTimeout. Ref is the server's name for the exchange, where it gives
// one, else the serial number in decimal.
func (u *Upstream) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "this is no order of an authority", nil)
	}
	if u.cfg.FullCMC {
		return u.issueFull(ctx, o)
	}
	return u.issueSimple(ctx, o)
}

// issueSimple is RFC 7030 section 4.2.1. It is never /simplereenroll: what the
// device renews is not the certificate that we show.
func (u *Upstream) issueSimple(ctx context.Context, o ra.Order) (ra.Issued, error) {
	der, err := unchanged(o)
	if err != nil {
		return ra.Issued{}, err
	}
	client, _, err := u.asking()
	if err != nil {
		return ra.Issued{}, err
	}
	answer, err := client.Do(ctx, upstream.Call{
		Method: http.MethodPost, Path: u.path(policy.SimpleEnroll), Type: wire.TypePKCS10, Body: wire.EncodeBody(der, false),
		RequestID: o.RequestID(), Limit: maxAnswer, Signs: true,
	})
	if err != nil {
		return ra.Issued{}, err
	}
	if answer.Status != http.StatusOK {
		return ra.Issued{}, refused(answer, u.cfg.Now())
	}
	certs, err := estclient.ReadCertificates(answer.Header.Get("Content-Type"), answer.Body)
	if err != nil {
		return ra.Issued{}, client.Unreadable(true, "an answer that can't be read", err)
	}
	leaf, err := ofKey(certs, o.CSR())
	if err != nil {
		return ra.Issued{}, client.Unreadable(true, err.Error(), nil)
	}
	return issued(leaf, answer), nil
}

// unchanged gives the request where it says all that is planned but for what no
// request says.
func unchanged(o ra.Order) ([]byte, error) {
	der, ok := o.CSR().PKCS10()
	if !ok {
		return nil, ra.Fail(ra.UpstreamRefused, "the request is no PKCS #10, and /simpleenroll takes no other: write `cmc` in the upstream", nil)
	}
	if !o.CSR().Names.EqualDER(o.Plan().Names) {
		return nil, ra.Fail(ra.UpstreamRefused, "the policy has rewritten the names, and /simpleenroll can't be told: write `cmc` in the upstream", nil)
	}
	for _, e := range o.Plan().Extensions {
		if !asked(o.CSR(), e) {
			return nil, ra.Fail(ra.UpstreamRefused, fmt.Sprintf("the request has no extension %s as it is planned, and /simpleenroll can't be told: write `cmc` in the upstream", e.ID), nil)
		}
	}
	return der, nil
}

// path is that of an operation.
func (u *Upstream) path(op policy.Op) string {
	address, err := u.est.Endpoint(op)
	if err != nil { // New has checked it
		return "/"
	}
	return address.Path
}

// ofKey finds the certificate for the request's key. A server may send those
// of its CA beside it, against RFC 7030 section 4.2.3. A single one is given as
// it is: the authority compares, withholds, and says what is wrong.
func ofKey(certs []*x509.Certificate, request *csr.Request) (*x509.Certificate, error) {
	if len(certs) == 1 {
		return certs[0], nil
	}
	found := slices.DeleteFunc(slices.Clone(certs), func(c *x509.Certificate) bool {
		return !bytes.Equal(c.RawSubjectPublicKeyInfo, request.RawSPKI)
	})
	if len(found) != 1 {
		return nil, fmt.Errorf("%d certificates, of which %d are for the key of the request", len(certs), len(found))
	}
	return found[0], nil
}

func issued(leaf *x509.Certificate, answer upstream.Answer) ra.Issued {
	ref := leaf.SerialNumber.String()
	if id := answer.Header.Get("X-Request-Id"); id != "" {
		ref = upstream.Line(id)
	}
	return ra.Issued{Certificate: leaf, Ref: ref}
}
