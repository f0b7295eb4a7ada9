// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// TestDevicesGoByTheOwnCertificate is the whole of it with a real step-ca: a
// first certificate by the JWK, and a device's by that certificate.
func TestDevicesGoByTheOwnCertificate(t *testing.T) {
	step := stepcatest.Start(t, stepcatest.Options{})
	var own *stepca.X5C
	cfg := step.Config()
	cfg.Own = &stepca.Own{Provisioner: stepcatest.OwnProvisioner, Credential: func() (*stepca.X5C, error) {
		if own == nil {
			return nil, errors.New("it is being obtained")
		}
		return own, nil
	}}
	up := open(t, cfg)
	_, err := up.Issue(t.Context(), order(t))
	if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !strings.Contains(e.Error(), "est-ra-own wants our own certificate") || !strings.Contains(e.Error(), "being obtained") {
		t.Errorf("got %v", e)
	}
	get := func(validity time.Duration) {
		t.Helper()
		request, err := csr.Parse(csrtest.New(t, csrtest.Subject(), csrtest.SAN(csrtest.DNS("est.example.net"))))
		if err != nil {
			t.Fatal(err)
		}
		ca := &ra.CA{Name: "step_ca", Upstream: up, Pins: func() []*x509.Certificate { return []*x509.Certificate{step.Root} }}
		out, err := new(ra.Authority).EnrollSelf(t.Context(), ca, ra.SelfRequest{Name: "est.example.net", CSR: request, Validity: validity})
		if err != nil {
			t.Fatalf("%v\n%s", err, step.Log())
		}
		own = &stepca.X5C{Chain: []*x509.Certificate{out.Certificate, step.Intermediate}, Key: csrtest.Key(t, "P-256")}
	}
	get(2 * time.Hour)
	_, err = up.Issue(t.Context(), order(t)) // a day
	if e := upstreamtest.Fails(t, err, ra.UpstreamRefused); !strings.Contains(e.Reason, "after the RA certificate") {
		t.Errorf("got %v", e)
	}
	get(720 * time.Hour) // the JWK renews it for longer
	upstreamtest.Issue(t, up, order(t))
}

func TestOwnProvisionersThatCantBe(t *testing.T) {
	root := ratest.NewRoot(t, "Root").Certificate
	give := func() (*stepca.X5C, error) { return nil, errors.New("none") }
	for name, c := range map[string]struct {
		own  stepca.Own
		says string
	}{
		"without a name":      {stepca.Own{Credential: give}, "isn't named"},
		"that of the JWK":     {stepca.Own{Provisioner: "p", Credential: give}, "another one than that of the JWK"},
		"without certificate": {stepca.Own{Provisioner: "q"}, "nobody gives"},
	} {
		_, err := stepca.New(stepca.Config{URL: "https://ca.example", Roots: []*x509.Certificate{root}, Provisioner: "p", JWK: newJWK(t), Own: &c.own})
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: got %v, want %q", name, err, c.says)
		}
	}
}
