// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

func selfRequest(t *testing.T, name string, options ...csrtest.Option) ra.SelfRequest {
	t.Helper()
	request, err := csr.Parse(csrtest.New(t, options...))
	if err != nil {
		t.Fatal(err)
	}
	return ra.SelfRequest{ID: "self", Name: name, CSR: request, Validity: 24 * time.Hour, Now: begin}
}

func TestTheOwnCertificateIsIssuedByTheBuiltInProfile(t *testing.T) {
	long := strings.Repeat("a", 60) + ".example.net"
	for name, c := range map[string]struct {
		asked    csrtest.Option
		subject  string
		critical bool
	}{
		"est.example.net": {csrtest.SAN(csrtest.DNS("est.example.net")), "est.example.net", false},
		"192.0.2.10":      {csrtest.SAN(csrtest.IP("192.0.2.10")), "192.0.2.10", false},
		"2001:db8::1":     {csrtest.SAN(csrtest.IP("2001:db8::1")), "2001:db8::1", false},
		long:              {csrtest.SAN(csrtest.DNS(long)), "", true}, // no CN is that long (RFC 5280 appendix A.1)
	} {
		t.Run(name, func(t *testing.T) {
			upstream := ratest.NewCA(t)
			ca := upstream.Known("x")
			a := &ra.Authority{Now: newClock().now}
			out, err := a.EnrollSelf(t.Context(), ca, selfRequest(t, name, csrtest.Subject(), c.asked))
			if err != nil {
				t.Fatal(err)
			}
			leaf := out.Certificate
			if out.Status != ra.StatusIssued || out.Profile != policy.SelfProfile || out.Upstream != "x" || out.Decision.Verdict != policy.Allow || out.Conforms == nil || !*out.Conforms {
				t.Errorf("the outcome is %+v", out)
			}
			if err := leaf.VerifyHostname(name); err != nil {
				t.Error(err)
			}
			if leaf.Subject.CommonName != c.subject || leaf.KeyUsage != x509.KeyUsageDigitalSignature || leaf.IsCA || !policy.CarriesCMCRA(leaf) {
				t.Errorf("it has the subject %s, key usage %b, CA %t, usages %v", leaf.Subject, leaf.KeyUsage, leaf.IsCA, leaf.UnknownExtKeyUsage)
			}
			if slices.ContainsFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.String() == "2.5.29.17" && e.Critical != c.critical }) {
				t.Errorf("the SAN is critical: want %t", c.critical)
			}
			orders := upstream.Orders()
			if len(orders) != 1 || !orders[0].Self() {
				t.Errorf("the orders are %+v", orders)
			}
			path, err := ca.Path(t.Context(), leaf)
			if err != nil || len(path) != 1 || !path[0].Equal(upstream.Intermediate.Certificate) {
				t.Errorf("the path is %d certificates long: %v", len(path), err)
			}
		})
	}
}

func TestNothingElseIsIssuedByTheBuiltInProfile(t *testing.T) {
	const name = "est.example.net"
	san := csrtest.SAN(csrtest.DNS(name))
	good := selfRequest(t, name, csrtest.Subject(), san)
	with := func(change func(*ra.SelfRequest)) ra.SelfRequest { r := good; change(&r); return r }
	for what, c := range map[string]struct {
		request ra.SelfRequest
		kind    ra.Kind
	}{
		"another name":             {selfRequest(t, name, csrtest.Subject(), csrtest.SAN(csrtest.DNS("other.example.net"))), ra.Refused},
		"a further name":           {selfRequest(t, name, csrtest.Subject(), csrtest.SAN(csrtest.DNS(name), csrtest.DNS("b.example.net"))), ra.Refused},
		"another subject":          {selfRequest(t, name, csrtest.Subject(csrtest.CN("b.example.net")), san), ra.Refused},
		"no name":                  {selfRequest(t, name, csrtest.Subject()), ra.Refused},
		"a signature of no key":    {selfRequest(t, name, csrtest.Subject(), san, csrtest.BadSignature()), ra.POPFailed},
		"no request":               {with(func(r *ra.SelfRequest) { r.CSR = nil }), ra.Malformed},
		"a site that has no name":  {with(func(r *ra.SelfRequest) { r.Name = "" }), ra.Fault},
		"a life of no length":      {with(func(r *ra.SelfRequest) { r.Validity = 0 }), ra.Fault},
		"a name that can't be one": {with(func(r *ra.SelfRequest) { r.Name = "ü.example" }), ra.Fault},
	} {
		t.Run(what, func(t *testing.T) {
			upstream := ratest.NewCA(t)
			a := &ra.Authority{Now: newClock().now}
			out, err := a.EnrollSelf(t.Context(), upstream.Known("x"), c.request)
			if !isKind(err, c.kind) || out.Certificate != nil || len(upstream.Orders()) != 0 {
				t.Errorf("got %v, %+v after %d orders", err, out.Certificate, len(upstream.Orders()))
			}
		})
	}
}

func TestAnOwnCertificateThatDiffersIsWithheldAndRevoked(t *testing.T) {
	upstream := ratest.NewCA(t)
	upstream.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) {
		c.KeyUsage |= x509.KeyUsageCertSign
	}})
	a := &ra.Authority{Now: newClock().now}
	const name = "est.example.net"
	out, err := a.EnrollSelf(t.Context(), upstream.Known("x"), selfRequest(t, name, csrtest.Subject(), csrtest.SAN(csrtest.DNS(name))))
	if !isKind(err, ra.Nonconforming) || out.Certificate != nil || out.Withheld == nil || len(upstream.Revoked()) != 1 {
		t.Errorf("got %v, %+v", err, out)
	}
}

// anyExtendedKeyUsage isn't id-kp-cmcRA.
func TestThreat_AnyExtendedKeyUsageMakesNoRA(t *testing.T) {
	for name, c := range map[string]struct {
		cert x509.Certificate
		want bool
	}{
		"id-kp-cmcRA": {x509.Certificate{UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}}, true},
		"any":         {x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}, false},
		"id-kp-cmcCA": {x509.Certificate{UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 27}}}, false},
		"none":        {x509.Certificate{}, false},
	} {
		if got := policy.CarriesCMCRA(&c.cert); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
