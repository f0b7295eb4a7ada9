// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// caDN asks for the CA's subject as EJBCA writes it, which stands in paths.
func (u *Upstream) caDN(ctx context.Context) (string, error) {
	u.mu.Lock()
	known := u.dn
	u.mu.Unlock()
	if known != "" {
		return known, nil
	}
	return u.askDN(ctx)
}

func (u *Upstream) askDN(ctx context.Context) (string, error) {
	var got struct {
		List []struct {
			Name    string `json:"name"`
			Subject string `json:"subject_dn"`
		} `json:"certificate_authorities"`
	}
	if err := u.read(ctx, &got, request{method: http.MethodGet, path: []string{"ca"}}); err != nil {
		return "", err
	}
	for _, ca := range got.List {
		if ca.Name == u.cfg.CA && ca.Subject != "" {
			u.mu.Lock()
			u.dn = ca.Subject
			u.mu.Unlock()
			return ca.Subject, nil
		}
	}
	return "", ra.Fail(ra.UpstreamDown, fmt.Sprintf("EJBCA shows us no CA %q: there is none, or the role of our certificate has no access to it", u.cfg.CA), nil)
}

// CACerts gives the chain of the CA, and those of the configured roots that have
// signed something in it. It asks for the CA's subject anew: a CA may be made again.
func (u *Upstream) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	dn, err := u.askDN(ctx)
	if err != nil {
		return nil, err
	}
	answer, err := u.send(ctx, request{method: http.MethodGet, path: []string{"ca", dn, "certificate", "download"}})
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		return nil, ra.Fail(ra.UpstreamDown, "the chain of the CA: "+said(answer), nil)
	}
	certs, err := upstream.Certificates(answer.Body)
	if err != nil {
		return nil, u.client.Unreadable(false, "certificates of the CA that can't be read", err)
	}
	return upstream.WithRoots(certs, u.cfg.Roots), nil
}

// CRL gives the CA's CRL in DER.
func (u *Upstream) CRL(ctx context.Context) ([]byte, error) {
	dn, err := u.caDN(ctx)
	if err != nil {
		return nil, err
	}
	var got struct {
		CRL string `json:"crl"`
	}
	err = u.read(ctx, &got, request{
		method: http.MethodGet, path: []string{"ca", dn, "getLatestCrl"}, query: url.Values{"deltaCrl": {"false"}}.Encode(), limit: maxCRL,
	})
	if err != nil {
		return nil, err
	}
	der, err := derOf(got.CRL)
	if err != nil {
		return nil, u.client.Unreadable(false, "no CRL", err)
	}
	return der, nil
}

// ListsEveryKey implements ra.WholeLister: EJBCA's list has what is revoked of the
// CA's name, and stays that when the CA's key is renewed.
func (u *Upstream) ListsEveryKey() bool { return true }
