// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// limited compiles a policy with one client_cert line.
func limited(t *testing.T, line string) *Profile {
	t.Helper()
	file, err := Parse("policy.yaml", fmt.Appendf(nil, `version: 1
name: limits
default: all
profiles:
  all:
    enroll: {who: [{client_cert: {anchor: maker, %s}}], linking: if_present}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`, line))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(file, fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	profile, ok := p.Profile("")
	if !ok {
		t.Fatal("no profile")
	}
	return profile
}

func TestThreat_ALineOfWhoTakesOnlyTheCertificatesThatItNames(t *testing.T) {
	key := csrtest.Key(t, "P-256/client")
	made := func(change func(template, issuer *x509.Certificate)) *x509.Certificate {
		t.Helper()
		template := &x509.Certificate{
			SerialNumber: big.NewInt(0x0a1b), Subject: pkix.Name{CommonName: "device"},
			DNSNames:  []string{"a.maker.example", "b.maker.example"},
			NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour),
		}
		issuer := &x509.Certificate{Subject: pkix.Name{CommonName: "Maker CA", Organization: []string{"Maker"}}}
		change(template, issuer)
		der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
	same := func(*x509.Certificate, *x509.Certificate) {}
	issuer := func(name pkix.Name) func(_, issuer *x509.Certificate) {
		return func(_, issuer *x509.Certificate) { issuer.Subject = name }
	}
	names := func(dns ...string) func(template, _ *x509.Certificate) {
		return func(template, _ *x509.Certificate) { template.DNSNames = dns }
	}
	for name, test := range map[string]struct {
		line   string
		change func(template, issuer *x509.Certificate)
		reason string // "": the gate is open
	}{
		"the issuer's attributes":                    {`issuer: {CN: Maker CA, O: Maker}`, same, ""},
		"one of the issuer's attributes":             {`issuer: {O: Maker}`, same, ""},
		"an issuer of another name":                  {`issuer: {CN: Maker CA}`, issuer(pkix.Name{CommonName: "maker CA"}), `has the subject attribute CN "maker CA", and this line wants "Maker CA"`},
		"an issuer without the attribute":            {`issuer: {O: Maker}`, issuer(pkix.Name{CommonName: "Maker CA"}), `O nothing`},
		"an issuer with the attribute twice":         {`issuer: {OU: a}`, issuer(pkix.Name{OrganizationalUnit: []string{"a", "b"}}), `"a", "b"`},
		"the subject's attribute isn't the issuer's": {`issuer: {CN: device}`, same, `"Maker CA"`},
		"the serial number":                          {`serial: "0A:1B", issuer: {CN: Maker CA}`, same, ""},
		"one of several serial numbers":              {`serial: ["01", "a1b"], issuer: {CN: Maker CA}`, same, ""},
		"another serial number":                      {`serial: ["01", "1a1b"], issuer: {CN: Maker CA}`, same, `has the serial number "a1b", and this line wants "1", "1a1b"`},
		"the serial number of another issuer":        {`serial: "0a1b", issuer: {CN: Maker CA}`, issuer(pkix.Name{CommonName: "Other CA"}), `"Other CA"`},
		"names of a pattern":                         {`san: {dns: ["*.maker.example"]}`, same, ""},
		"names of several patterns":                  {`san: {dns: ["a.maker.example", "b.*.example"]}`, same, ""},
		"one name of no pattern beside a good one":   {`san: {dns: ["a.maker.example"]}`, same, `DNS name in the SAN "dns:a.maker.example", "dns:b.maker.example"`},
		"no name of the form":                        {`san: {dns: ["*.maker.example"]}`, names(), `DNS name in the SAN nothing`},
		"a name of another form doesn't matter":      {`san: {dns: ["*.maker.example"]}`, func(c, _ *x509.Certificate) { c.EmailAddresses = []string{"x@y.example"} }, ""},
		"a form that the certificate lacks":          {`san: {dns: ["**"], email: ["**@**"]}`, same, `mail address in the SAN`},
		"a wildcard is of no pattern":                {`san: {dns: ["*.maker.example"]}`, names("*.maker.example"), `DNS name in the SAN`},
		"a subject and its issuer and its SAN":       {`subject: {CN: device}, issuer: {O: Maker}, san: {dns: ["*.maker.example"]}, serial: "a1b"`, same, ""},
		"all but the subject":                        {`subject: {CN: other}, issuer: {O: Maker}, san: {dns: ["*.maker.example"]}, serial: "a1b"`, same, `"device"`},
	} {
		t.Run(name, func(t *testing.T) {
			gate := limited(t, test.line).Gate(SimpleEnroll, Identity{Cert: made(test.change), Anchors: []string{"maker"}}, testNow)
			if gate.Open != (test.reason == "") {
				t.Fatalf("open %v: %v", gate.Open, gate.Findings)
			}
			if test.reason != "" && !strings.Contains(gate.Findings[0].Message, test.reason) {
				t.Errorf("got %s, want %s", gate.Findings[0].Message, test.reason)
			}
		})
	}
}

func TestThreat_ALineForAProfileTakesNoCertificateOfAnother(t *testing.T) {
	for _, c := range []struct{ line, issuedUnder, reason string }{
		{"profile: all", "all", ""},
		{"profile: all", "All", `was issued under the profile "All", and this line wants one of "all"`},
		{"profile: all", "", "the inventory doesn't have the client certificate under a profile"},
		{"subject: {}", "", ""},
		{"subject: {}", "other", ""},
	} {
		cert := &x509.Certificate{NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour)}
		profile := limited(t, c.line)
		gate := profile.Gate(SimpleEnroll, Identity{Cert: cert, Anchors: []string{"maker"}, IssuedUnder: c.issuedUnder}, testNow)
		if gate.Open != (c.reason == "") || c.reason != "" && !strings.Contains(gate.Findings[0].Message, c.reason) {
			t.Errorf("%s, issued under %q: open %v, %v", c.line, c.issuedUnder, gate.Open, gate.Findings)
		}
		if asks := c.line == "profile: all"; profile.AsksInventory(SimpleEnroll) != asks || profile.AsksInventory(FullCMC) || profile.AsksInventory(SimpleReenroll) {
			t.Errorf("%s: it is asked for %v by others", c.line, profile.AsksInventory(SimpleEnroll))
		}
	}
}

func TestALineForAProfileWantsAStore(t *testing.T) {
	file, err := Parse("policy.yaml", []byte(`version: 1
name: stored
default: all
profiles:
  all:
    reenroll: {who: [{client_cert: {anchor: ours, profile: all}}], linking: if_present}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, stored := range []bool{true, false} {
		p, err := Compile(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		err = p.Bind(Environment{Anchors: []string{"ours"}, Store: stored, Upstreams: map[string]Capabilities{"ca": {Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true}}})
		if (err == nil) != stored || !stored && !strings.Contains(err.Error(), "policy.yaml:6:51: `profiles.all.reenroll.who.client_cert.profile` asks the inventory") {
			t.Errorf("with a store %v: %v", stored, err)
		}
	}
}
