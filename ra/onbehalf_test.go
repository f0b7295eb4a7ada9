// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

const sites = `version: 1
name: sites
default: sites
profiles:
  sites:
    on_behalf:
      who:
        - client_cert: {anchor: ours, role: ra, subject: {CN: ra.example}}
          names: ["*.site.example"]
      linking: trusted
      checks: [{id: known, rule: '!has(who.data.site) || who.data.site == "berlin"', message: another site}]
    subject: {CN: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
  others:
    labels: [others]
    enroll: {who: [{client_cert: {anchor: ours}}], linking: if_present}
    subject: {CN: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`

// A broker is an authority with a profile for RAs, and one without.
type broker struct {
	*ra.Authority
	ca            *ratest.CA
	sites, others *policy.Profile
}

func newBroker(t *testing.T) broker {
	t.Helper()
	file, err := policy.Parse("policy.yaml", []byte(sites))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(file, fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	b := broker{ca: ratest.NewCA(t)}
	if err := p.Bind(policy.Environment{
		Anchors: []string{"ours"}, Issuing: map[string]string{"ours": "test"}, Webhook: true, Upstreams: map[string]policy.Capabilities{"test": b.ca.Carries()},
	}); err != nil {
		t.Fatal(err)
	}
	b.Authority = &ra.Authority{Policy: p, CAs: map[string]*ra.CA{"test": b.ca.Known("test")}}
	b.sites, _ = p.Profile("")
	b.others, _ = p.Profile("others")
	return b
}

func (b broker) registrar(t *testing.T) policy.Registrar {
	t.Helper()
	device := b.ca.Intermediate.Device(t, "ra.example", func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
	})
	by, err := policy.NewRegistrar(policy.Identity{Cert: device.Leaf, Anchors: []string{"ours"}}, []string{"ours"})
	if err != nil {
		t.Fatal(err)
	}
	return by
}

func brought(t *testing.T, by policy.Registrar, name string) ra.OnBehalf {
	t.Helper()
	parsed, err := csr.Parse(csrtest.New(t, csrtest.Subject(csrtest.CN(name))))
	if err != nil {
		t.Fatal(err)
	}
	return ra.OnBehalf{ID: "id", OnBehalf: policy.OnBehalf{By: by, CSR: parsed, Linking: policy.Mismatched}}
}

func TestARegistrarsOrderSaysWhoBroughtIt(t *testing.T) {
	b := newBroker(t)
	out, err := b.EnrollOnBehalf(t.Context(), b.sites, brought(t, b.registrar(t), "a.site.example"))
	if err != nil || out.Status != ra.StatusIssued || out.Certificate.Subject.CommonName != "a.site.example" {
		t.Fatalf("%+v %v", out, err)
	}
	if got := b.ca.Orders()[0].Evidence(); got.Registrar != "CN=ra.example" || got.Linking != policy.Mismatched || got.Binding != "" {
		t.Errorf("the CA is told %+v", got)
	}
}

func TestThreat_RAOverTrust_OnlyARegistrarEnrollsOnBehalf(t *testing.T) {
	b := newBroker(t)
	by := b.registrar(t)
	asItself := ra.Request{ID: "id", Request: policy.Request{Op: policy.SimpleEnroll, Who: by.Identity(), CSR: brought(t, by, "a.site.example").CSR}}
	for name, enroll := range map[string]func() (ra.Outcome, error){
		"nobody": func() (ra.Outcome, error) {
			return b.EnrollOnBehalf(t.Context(), b.sites, brought(t, policy.Registrar{}, "a.site.example"))
		},
		"under a profile without on_behalf": func() (ra.Outcome, error) {
			return b.EnrollOnBehalf(t.Context(), b.others, brought(t, by, "a.site.example"))
		},
		"without a profile": func() (ra.Outcome, error) {
			return b.EnrollOnBehalf(t.Context(), nil, brought(t, by, "a.site.example"))
		},
		"without a request": func() (ra.Outcome, error) {
			return b.EnrollOnBehalf(t.Context(), b.sites, ra.OnBehalf{OnBehalf: policy.OnBehalf{By: by}})
		},
		"for a name of others": func() (ra.Outcome, error) {
			return b.EnrollOnBehalf(t.Context(), b.sites, brought(t, by, "a.example"))
		},
		"the RA as an end entity": func() (ra.Outcome, error) { return b.Enroll(t.Context(), b.sites, asItself) },
	} {
		if out, err := enroll(); err == nil || out.Certificate != nil || out.Status != ra.StatusRefused {
			t.Errorf("%s: %+v %v", name, out, err)
		}
	}
	if n := len(b.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

// advisor answers with data, and keeps what it was asked about.
type advisor struct {
	data  policy.Facts
	asked []ra.Consulted
}

func (a *advisor) Consult(_ context.Context, req ra.Consulted) (ra.Advice, error) {
	a.asked = append(a.asked, req)
	return ra.Advice{Allow: true, Data: a.data}, nil
}

func TestAHookIsAskedAboutWhatARegistrarBrings(t *testing.T) {
	b := newBroker(t)
	for site, want := range map[string]ra.Status{"berlin": ra.StatusIssued, "vienna": ra.StatusRefused} {
		facts, err := policy.ParseFacts([]byte(`{"site":"` + site + `"}`))
		if err != nil {
			t.Fatal(err)
		}
		a := &advisor{data: facts}
		b.Hook = a
		out, err := b.EnrollOnBehalf(t.Context(), b.sites, brought(t, b.registrar(t), "a.site.example"))
		if out.Status != want || len(a.asked) != 1 || a.asked[0].Role != policy.RoleRA || a.asked[0].Who.Cert.Subject.CommonName != "ra.example" {
			t.Errorf("%s: %s, asked about %+v: %v", site, out.Status, a.asked, err)
		}
	}
}

// One RA asks for all devices behind it: what the CA does wrong with three of
// them stops it, as if each had asked for itself.
func TestNonconformingCertificatesOfOneRegistrarsDevicesStopTheCA(t *testing.T) {
	b := newBroker(t)
	b.ca.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) { c.RawSubject = csrtest.Name(csrtest.CN("other.example")) }})
	by := b.registrar(t)
	for _, name := range []string{"a.site.example", "b.site.example", "c.site.example"} {
		if _, err := b.EnrollOnBehalf(t.Context(), b.sites, brought(t, by, name)); err == nil {
			t.Fatal("a certificate with another name was handed out")
		}
	}
	_, err := b.EnrollOnBehalf(t.Context(), b.sites, brought(t, by, "d.site.example"))
	if err == nil || !strings.Contains(err.Error(), "stopped for profile sites") {
		t.Error(err)
	}
}
