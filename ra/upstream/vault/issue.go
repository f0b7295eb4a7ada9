// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// Issue asks the server once, or twice where the first token was refused: when
// the answer is lost the error is UpstreamTimeout. Ref is the serial number as
// Vault writes it, by which it files the certificate.
func (u *Upstream) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "this is no order of an authority", nil)
	}
	der, ok := o.CSR().PKCS10()
	if !ok {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "Vault takes PKCS #10 alone", nil)
	}
	r := request{method: http.MethodPost, path: u.signPath(), id: o.RequestID(), signs: true}
	block := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	var err error
	switch u.cfg.Mode {
	case Sign:
		r.body, err = signFields(o, block)
	case Verbatim:
		r.body, err = verbatimFields(o, block)
	default:
		r.body, err = celFields(o, block)
	}
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, err.Error(), nil)
	}
	client, answer, err := u.authorized(ctx, r)
	if err != nil {
		return ra.Issued{}, err
	}
	var got struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer.Body, &got); err != nil {
		return ra.Issued{}, client.Unreadable(true, "an answer that isn't JSON", nil)
	}
	certs, err := upstream.Certificates([]byte(got.Data.Certificate))
	if err != nil {
		return ra.Issued{}, client.Unreadable(true, "a certificate that can't be read", err)
	}
	return ra.Issued{Certificate: certs[0], Ref: serial(certs[0])}, nil
}

// signPath is the operation of the mode. A CEL role names its issuer itself.
func (u *Upstream) signPath() string {
	path := u.cfg.Mount
	if u.cfg.Issuer != "" && u.cfg.Mode != CEL {
		path += "/issuer/" + u.cfg.Issuer
	}
	switch u.cfg.Mode {
	case Sign:
		return path + "/sign/" + u.cfg.Role
	case CEL:
		return path + "/cel/sign/" + u.cfg.Role
	default:
		return strings.TrimSuffix(path+"/sign-verbatim/"+u.cfg.Role, "/")
	}
}
