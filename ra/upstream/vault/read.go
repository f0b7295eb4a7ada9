// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-est/estra/ra/upstream"
)

// CACerts gives the chain of the issuer, and those of the configured roots that
// have signed something in it: a mount with an intermediate may not have its
// root.
func (u *Upstream) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	r := request{method: http.MethodGet, path: u.issuer() + "/json"}
	client, answer, err := u.read(ctx, r)
	if err != nil {
		return nil, err
	}
	certs, err := readIssuer(answer.Body)
	if err != nil {
		return nil, client.Unreadable(false, "certificates that can't be read to "+r.path, err)
	}
	return upstream.WithRoots(certs, u.cfg.Roots), nil
}

// readIssuer reads the answer about an issuer: its certificate and those above
// it, each once.
func readIssuer(body []byte) ([]*x509.Certificate, error) {
	var got struct {
		Data struct {
			Certificate string   `json:"certificate"`
			Chain       []string `json:"ca_chain"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &got); err != nil {
		return nil, err
	}
	list, err := upstream.Certificates([]byte(got.Data.Certificate + "\n" + strings.Join(got.Data.Chain, "\n")))
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, c := range list {
		if !slices.ContainsFunc(certs, c.Equal) {
			certs = append(certs, c)
		}
	}
	return certs, nil
}

// CRL gives the issuer's CRL in DER.
func (u *Upstream) CRL(ctx context.Context) ([]byte, error) {
	client, answer, err := u.read(ctx, request{method: http.MethodGet, path: u.issuer() + "/crl/der", limit: maxCRL})
	if err != nil {
		return nil, err
	}
	if len(answer.Body) == 0 {
		return nil, client.Unreadable(false, "an empty CRL", nil)
	}
	return answer.Body, nil
}

// issuer is the path of the one whose chain and CRL we read.
func (u *Upstream) issuer() string {
	name := u.cfg.Issuer
	if name == "" {
		name = DefaultIssuer
	}
	return u.cfg.Mount + "/issuer/" + name
}
