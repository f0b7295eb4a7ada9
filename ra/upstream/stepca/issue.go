// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

const signPath = "/1.0/sign"

// signRequest is api.SignRequest of step-ca, without its notBefore and
// notAfter: they would win over the template's.
type signRequest struct {
	CSR string `json:"csr"`
	OTT string `json:"ott"`
}

// signResponse is what we read of api.SignResponse.
type signResponse struct {
	Certificate string `json:"crt"`
}

// Issue sends the CSR with a token that says what to issue. It is sent once:
// when the answer is lost the error is UpstreamTimeout, and the serial number
// of the order tells what to look for. Ref is that number in decimal, which
// is how step-ca files it.
func (u *Upstream) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "this is no order of an authority", nil)
	}
	tokens, x5c, err := u.tokensFor(o)
	if err != nil {
		return ra.Issued{}, err
	}
	if err := u.outlives(x5c, o.NotAfter()); err != nil {
		return ra.Issued{}, err
	}
	raw, ok := o.CSR().PKCS10()
	if !ok {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "step-ca takes PKCS #10 alone", nil)
	}
	request, err := x509.ParseCertificateRequest(raw)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "step-ca can't read this CSR", err)
	}
	wanted, err := decide(o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "the plan can't be written down", err)
	}
	c := claims{Estra: wanted, Confirmation: confirm(request.Raw)}
	c.Subject, c.SANs = echo(request)
	if c.Subject == "" {
		c.Subject = wanted.Serial // step-ca wants one, and compares it with nothing
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request.Raw})
	answer, err := u.client.signed(ctx, upstream.Call{
		Method: http.MethodPost, Path: signPath, RequestID: o.RequestID(), Limit: maxAnswer, Signs: true,
	}, tokens, c, func(token string) any { return signRequest{CSR: string(block), OTT: token} })
	if err != nil {
		return ra.Issued{}, err
	}
	return u.issued(answer)
}

// tokensFor is the provisioner that an order goes to, with the certificate that
// signs its tokens, if one does.
func (u *Upstream) tokensFor(o ra.Order) (*tokens, *X5C, error) {
	if u.own == nil || o.Self() {
		tokens, opens, err := u.main.current()
		if err != nil {
			return nil, nil, ra.Fail(ra.UpstreamDown, "the credential for the provisioner can't be used", err)
		}
		return tokens, opens.X5C, nil
	}
	tokens, opens, err := u.own.current()
	if err != nil {
		return nil, nil, ra.Fail(ra.UpstreamDown, fmt.Sprintf("the provisioner %s wants our own certificate", u.own.cfg.Provisioner), err)
	}
	return tokens, opens.X5C, nil
}

// echo gives the CSR's own names just as step-ca, by crypto/x509, reads
// them: it compares the token with the CSR, not with the certificate.
func echo(r *x509.CertificateRequest) (subject string, sans []string) {
	sans = slices.Concat(r.DNSNames, r.EmailAddresses)
	for _, ip := range r.IPAddresses {
		sans = append(sans, ip.String())
	}
	for _, uri := range r.URIs {
		sans = append(sans, uri.String())
	}
	subject = r.Subject.CommonName
	if subject == "" && len(sans) > 0 {
		subject = sans[0]
	}
	return subject, sans
}

// outlives says early, and in plain words, what step-ca would refuse: an X5C
// provisioner issues nothing that ends after the RA's own certificate.
func (u *Upstream) outlives(x5c *X5C, notAfter time.Time) error {
	if x5c == nil {
		return nil
	}
	end := x5c.Chain[0].NotAfter
	if u.now().After(end) {
		return ra.Fail(ra.UpstreamDown, fmt.Sprintf("the RA certificate for step-ca expired on %s", end.UTC().Format(time.RFC3339)), nil)
	}
	if notAfter.After(end) {
		return ra.Fail(ra.UpstreamRefused, fmt.Sprintf(
			"the certificate would end on %s, after the RA certificate for step-ca (%s): renew that one for longer, or use a JWK provisioner",
			notAfter.Format(time.RFC3339), end.UTC().Format(time.RFC3339)), nil)
	}
	return nil
}

func (u *Upstream) issued(answer []byte) (ra.Issued, error) {
	var r signResponse
	if err := json.Unmarshal(answer, &r); err != nil {
		return ra.Issued{}, u.client.Unreadable(true, "an answer that isn't JSON", nil)
	}
	// The chain beside it is that of the provisioner; CACerts asks for it.
	certs, err := certificates([]string{r.Certificate})
	if err != nil {
		return ra.Issued{}, u.client.Unreadable(true, "a certificate that can't be read", err)
	}
	return ra.Issued{Certificate: certs[0], Ref: certs[0].SerialNumber.String()}, nil
}

// certificates reads a list of PEM certificates, one in each string.
func certificates(list []string) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for i, text := range list {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("entry %d isn't a PEM certificate", i+1)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", i+1, err)
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("there is none")
	}
	return certs, nil
}
