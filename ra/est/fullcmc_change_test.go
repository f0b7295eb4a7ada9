// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/replay"
)

func sanOf(names ...[]byte) []byte {
	return csrtest.SEQ(csrtest.OID(csr.OIDSubjectAltName), cmc.Octets(csrtest.SEQ(names...)))
}

// changing asks for other names than the device's request has.
func changing(t testing.TB, id cmc.BodyPartID, m cmc.Modification) cmc.Control {
	t.Helper()
	if m.Data == nil {
		m.Data = []cmc.BodyPartID{0}
	}
	if m.Requests == nil {
		m.Requests = []cmc.BodyPartID{1}
	}
	return cmc.NewControl(id, cmc.OIDModCertTemplate, must(m.Marshal()))
}

func TestAnRAChangesWhatADeviceHasAskedFor(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	until := x.clock.Add(3 * time.Hour).UTC().Truncate(time.Second)
	d := &cmc.PKIData{
		Controls: cmc.Controls{
			cmc.NewControl(5, cmc.OIDLraPOPWitness, must(cmc.POPWitness{Requests: []cmc.BodyPartID{1}}.Marshal())),
			cmc.NewControl(6, cmc.OIDRAIdentityWitness, must(cmc.MarshalPath([]cmc.BodyPartID{1}))),
			changing(t, 7, cmc.Modification{Replace: true, Template: cmc.CertTemplate{
				NotBefore: x.clock, NotAfter: until,
				Subject: csrtest.Name(csrtest.O("Example"), csrtest.CN("a.site.example")), Extensions: csrtest.SEQ(sanOf(csrtest.DNS("a.site.example"))),
			}}),
			changing(t, 8, cmc.Modification{Template: cmc.CertTemplate{Extensions: csrtest.SEQ(csrtest.SEQ(csrtest.OID("1.2.3.4"), cmc.Octets(csrtest.UTF8("x"))))}}),
		},
		Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "factory-7", csrtest.Extension("1.2.3.4", false, csrtest.UTF8("x")))},
	}
	g := x.post("cmc", message(t, d, byCert(registrar), registrar.Leaf))
	if g.StatusCode != 200 {
		t.Fatalf("%d %s", g.StatusCode, g.body)
	}
	leaf := g.certs(t)[0]
	if leaf.Subject.String() != "CN=a.site.example,O=Example" || len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "a.site.example" || !leaf.NotAfter.Equal(until) {
		t.Errorf("issued %v, %v, until %v, want %v", leaf.Subject, leaf.DNSNames, leaf.NotAfter, until)
	}
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if text := string(record.CSR.Subject); text != "O=Example, CN=a.site.example" || !record.Input.Until.Equal(until) {
		t.Errorf("recorded %s, until %v", text, record.Input.Until)
	}
	again, err := replay.Request(record)
	if err != nil {
		t.Fatal(err)
	}
	if decision := again.Decide(x.Policy.Profiles()[0]); decision.Verdict != policy.Allow {
		t.Errorf("replayed, it is %v: %v", decision.Verdict, decision.Findings)
	}
}

func TestChangesThatAreRefused(t *testing.T) {
	x := newCMC(t)
	registrar, device := x.ca.Intermediate.Device(t, "ra.example", forCMCRA), x.device("dev-1")
	named := func(name string) cmc.CertTemplate {
		return cmc.CertTemplate{Subject: csrtest.Name(csrtest.CN(name)), Extensions: csrtest.SEQ(sanOf(csrtest.DNS(name)))}
	}
	good := named("a.site.example")
	for name, test := range map[string]struct {
		change cmc.Modification
		signer tls.Certificate
		status int
		said   string
		reason string
	}{
		"from a device":              {cmc.Modification{Replace: true, Template: good}, device, 400, "failed badRequest 7", "only a registration authority"},
		"to a name beyond the RA's":  {cmc.Modification{Replace: true, Template: named("a.example")}, registrar, 403, "failed badRequest 1", "may not ask for"},
		"to the name of the RA":      {cmc.Modification{Replace: true, Template: named("ra.example")}, registrar, 403, "failed badRequest 1", ""},
		"of a request that isn't":    {cmc.Modification{Replace: true, Requests: []cmc.BodyPartID{9}, Template: good}, registrar, 400, "failed badRequest 1", "isn't in the message"},
		"of a message within":        {cmc.Modification{Replace: true, Data: []cmc.BodyPartID{3}, Template: good}, registrar, 400, "failed badRequest 1", "isn't in the message"},
		"of the key":                 {cmc.Modification{Replace: true, Template: cmc.CertTemplate{SPKI: must(x509.MarshalPKIXPublicKey(csrtest.Key(t, "P-256").Public()))}}, registrar, 400, "failed badRequest 1", "only subject, extensions and validity"},
		"to a name that can't be":    {cmc.Modification{Replace: true, Template: cmc.CertTemplate{Extensions: csrtest.SEQ(sanOf(csrtest.INTEGER(1)))}}, registrar, 400, "failed badRequest 1", ""},
		"that leaves no time":        {cmc.Modification{Replace: true, Template: cmc.CertTemplate{NotAfter: x.clock.Add(-time.Hour)}}, registrar, 403, "failed badRequest 1", "leaves no time"},
		"that takes the names away":  {cmc.Modification{Template: named("x")}, registrar, 403, "failed badRequest 1", "no name is left"},
		"to a CA's basicConstraints": {cmc.Modification{Replace: true, Template: cmc.CertTemplate{Extensions: csrtest.SEQ(csrtest.SEQ(csrtest.OID(csr.OIDBasicConstraints), cmc.Octets(csrtest.SEQ([]byte{1, 1, 0xff}))))}}, registrar, 403, "failed unsupportedExt 1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := &cmc.PKIData{
				Controls: cmc.Controls{changing(t, 7, test.change)},
				Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "b.site.example")},
			}
			x.wants(name, x.post("cmc", message(t, d, byCert(test.signer), test.signer.Leaf)), test.status, test.said, test.reason)
		})
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

// An RA may not lengthen what the profile gives.
func TestAnRAHasNoMoreTimeThanTheProfileGives(t *testing.T) {
	x := newCMC(t)
	registrar := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	d := &cmc.PKIData{
		Controls: cmc.Controls{changing(t, 7, cmc.Modification{Replace: true, Template: cmc.CertTemplate{NotAfter: x.clock.AddDate(10, 0, 0)}})},
		Requests: []cmc.Request{request(t, 1, csrtest.NewKey(t, "P-256"), "b.site.example")},
	}
	g := x.post("cmc", message(t, d, byCert(registrar), registrar.Leaf))
	if g.StatusCode != 200 {
		t.Fatalf("%d %s", g.StatusCode, g.body)
	}
	if life := g.certs(t)[0].NotAfter.Sub(x.clock); life > 25*time.Hour || life < 20*time.Hour {
		t.Errorf("it is valid for %s", life)
	}
	if record, _ := x.last(g.Header.Get("X-Request-Id")); !strings.Contains(string(record.CSR.Subject), "b.site.example") {
		t.Errorf("recorded %s", record.CSR.Subject)
	}
}
