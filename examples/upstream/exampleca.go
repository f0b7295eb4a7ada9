// SPDX-License-Identifier: Apache-2.0

// Package exampleca is the upstream of docs/upstreams.md: a Caddy module of its own
// for a CA that Estra doesn't know. The CA has two calls: GET /ca.pem, and POST
// /sign, which takes a PKCS #10 beside the names, the purposes and the validity that
// we decide, and gives a certificate in PEM.
package exampleca

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

func init() { caddy.RegisterModule(&ExampleCA{}) }

// ExampleCA is the upstream `example_ca`.
type ExampleCA struct {
	// The address of the CA, such as https://ca.example.net. Required.
	URL string `json:"url"`
	// A PEM file with its root certificate. Required: nothing that it doesn't vouch
	// for reaches a device.
	Root string `json:"root"`

	pins    []*x509.Certificate
	client  *upstream.Client
	timeout time.Duration // of a call; 0: 15 seconds
}

// CaddyModule returns the Caddy module information.
func (*ExampleCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.example_ca", New: func() caddy.Module { return new(ExampleCA) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] example_ca URL ROOT
func (u *ExampleCA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.Args(&u.URL, &u.Root) {
		return d.Errf("example_ca needs the address of the CA and the file of its root: `upstream example_ca URL FILE`")
	}
	return nil
}

// Provision reads the root. It opens no connection: `caddy validate` runs it.
func (u *ExampleCA) Provision(caddy.Context) error {
	base, err := upstream.Address(u.URL)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(u.Root)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if u.pins, err = certificates(text); err != nil {
		return fmt.Errorf("root %s: %w", u.Root, err)
	}
	pool := x509.NewCertPool()
	for _, c := range u.pins {
		pool.AddCert(c)
	}
	u.client = upstream.NewClient(upstream.Config{
		Name: "the example CA", Base: base, TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		Timeout: cmp.Or(u.timeout, 15*time.Second), MaxConns: 16, Idle: 10 * time.Second,
	})
	return nil
}

// Carries says what the CA can be told: any subject, alternative names and usages. A
// policy that decides more, such as a further extension, is refused when it is loaded,
// with its line.
func (*ExampleCA) Carries() policy.Capabilities {
	return policy.Capabilities{Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true, PKCS10: true}
}

// Tolerates lists what the CA adds to each certificate by itself. All the rest is
// compared with the plan, and what differs never reaches a device.
func (*ExampleCA) Tolerates() ra.Tolerated {
	return ra.Tolerated{Backdate: time.Minute, Extensions: []string{"2.5.29.35", "2.5.29.14"}} // AKI, SKI
}

// CACerts asks for the CA's certificates: root and intermediates, unchecked.
func (u *ExampleCA) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	answer, err := u.client.Do(ctx, upstream.Call{Method: http.MethodGet, Path: "/ca.pem", Limit: 1 << 20})
	if err != nil {
		return nil, err
	}
	if !answer.OK() {
		return nil, ra.Fail(ra.UpstreamDown, fmt.Sprintf("the CA answered %d to /ca.pem", answer.Status), nil)
	}
	certs, err := certificates(answer.Body)
	if err != nil {
		return nil, u.client.Unreadable(false, "no certificates", err)
	}
	return certs, nil
}

// Issue sends an order, once. Signs says that a certificate may be there when the
// answer is lost: then nobody sends it again without looking.
func (u *ExampleCA) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "no authority has made this order", nil)
	}
	body, err := sign(o)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "the order can't be written down", err)
	}
	answer, err := u.client.Do(ctx, upstream.Call{
		Method: http.MethodPost, Path: "/sign", Type: "application/json", Body: body,
		RequestID: o.RequestID(), Limit: 1 << 20, Signs: true,
	})
	switch {
	case err != nil:
		return ra.Issued{}, err
	case !answer.OK():
		return ra.Issued{}, refused(answer)
	}
	certs, err := certificates(answer.Body)
	if err != nil {
		return ra.Issued{}, u.client.Unreadable(true, "no certificate", err)
	}
	return ra.Issued{Certificate: certs[0], Ref: answer.Header.Get("X-Request-Id")}, nil
}

// refused tells a refusal of this request from what is between the CA and us, and
// both from a gateway that doesn't know what the CA has done.
func refused(answer upstream.Answer) *ra.Error {
	said := fmt.Sprintf("the CA answered %d: %s", answer.Status, upstream.Line(string(answer.Body)))
	switch answer.Status {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity:
		return ra.Fail(ra.UpstreamRefused, said, nil)
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return ra.Fail(ra.UpstreamTimeout, said, nil)
	}
	return upstream.Retry(ra.Fail(ra.UpstreamDown, said, nil), answer.Header, time.Now())
}

// sign writes an order as the CA wants it.
func sign(o ra.Order) ([]byte, error) {
	request, ok := o.CSR().PKCS10()
	if !ok {
		return nil, errors.New("it isn't a PKCS #10")
	}
	plan := o.Plan()
	if len(plan.Extensions) > 0 { // what can't be told is refused, not left out
		return nil, fmt.Errorf("the CA can't be told the extension %s", plan.Extensions[0].ID)
	}
	subject, err := plan.Names.Subject.MarshalDER()
	if err != nil {
		return nil, err
	}
	call := Call{CSR: request, Subject: subject, Critical: plan.SANCritical, NotBefore: o.NotBefore(), NotAfter: o.NotAfter()}
	if len(plan.Names.SAN) > 0 {
		if call.SAN, err = csr.MarshalSAN(plan.Names.SAN); err != nil {
			return nil, err
		}
	}
	if call.KeyUsage, err = csr.MarshalKeyUsage(plan.KeyUsage); err != nil {
		return nil, err
	}
	if len(plan.ExtKeyUsage) > 0 {
		if call.ExtKeyUsage, err = csr.MarshalExtKeyUsage(plan.ExtKeyUsage); err != nil {
			return nil, err
		}
	}
	return json.Marshal(call)
}

// A Call is what the CA takes: DER in base64, times as RFC 3339.
type Call struct {
	CSR         []byte    `json:"csr"`
	Subject     []byte    `json:"subject"`
	SAN         []byte    `json:"san,omitempty"`
	Critical    bool      `json:"san_critical,omitempty"`
	KeyUsage    []byte    `json:"key_usage"`
	ExtKeyUsage []byte    `json:"ext_key_usage,omitempty"`
	NotBefore   time.Time `json:"not_before"`
	NotAfter    time.Time `json:"not_after"`
}

// Identity tells this CA from others.
func (u *ExampleCA) Identity() string { return "example_ca " + u.URL }

// Pins are the roots that the operator trusts for this CA.
func (u *ExampleCA) Pins() []*x509.Certificate { return u.pins }

// CRLEnabled is false: the CA publishes no CRL.
func (*ExampleCA) CRLEnabled() bool { return false }

// Needs refuses no validity.
func (*ExampleCA) Needs(time.Duration) error { return nil }

// Expiries is nil: no credential is shown to the CA that could end.
func (*ExampleCA) Expiries() map[string]time.Time { return nil }

// certificates reads PEM; there must be one.
func certificates(text []byte) (certs []*x509.Certificate, err error) {
	for block, rest := pem.Decode(bytes.TrimSpace(text)); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	if len(certs) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	return certs, nil
}

var (
	_ module.Upstream       = (*ExampleCA)(nil)
	_ ra.Tolerance          = (*ExampleCA)(nil)
	_ caddy.Provisioner     = (*ExampleCA)(nil)
	_ caddyfile.Unmarshaler = (*ExampleCA)(nil)
)
