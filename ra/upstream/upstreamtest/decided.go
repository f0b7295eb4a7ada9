// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"slices"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// testDecided orders a certificate of which the CSR has only the key: its
// names come from changeSubjectName (RFC 6402 section 2.8) and an attribute,
// its extensions from the policy and another attribute.
func testDecided(t *testing.T, up ra.Upstream) {
	can := up.Carries()
	order, end := decided(t, can)
	if !can.Attribute("2.5.4.3") || !can.Attribute("2.5.4.5") || !can.Name(csr.DNS) || !can.Extensions {
		// What it can't be told it must refuse, not leave out.
		if _, err := up.Issue(t.Context(), order); err == nil {
			t.Error("it issued for an order of which it can't be told all")
		}
		return
	}
	leaf := Issue(t, up, order)
	chain(t, leaf, caCerts(t, up))
	names, err := csr.NamesOf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	if got := names.Subject.String(); got != "CN=new.example, serialNumber=SN-7" {
		t.Errorf("subject is %s", got)
	}
	if len(names.SAN) != 1 || names.SAN[0].Value != "new.example" {
		t.Errorf("SAN is %v", names.SAN)
	}
	for _, want := range []csr.Extension{
		{Value: csrtest.SEQ(csrtest.SEQ(csrtest.OID("1.3.6.1.4.1.32473.1.1")), csrtest.SEQ(csrtest.OID("2.5.29.32.0")))},
		{Value: csrtest.UTF8("depot 7")},
		{Value: csrtest.SEQ(csrtest.INTEGER(5)), Critical: true},
		{Value: csrtest.SEQ(csrtest.SEQ(csrtest.OID("1.3.6.1.1.1.1.22"), csrtest.SET(csrtest.IA5("00:11:22:33:44:55"))))},
	} {
		same := func(e pkix.Extension) bool { return e.Critical == want.Critical && bytes.Equal(e.Value, want.Value) }
		if !slices.ContainsFunc(leaf.Extensions, same) {
			t.Errorf("no extension has the value %x, critical %t", want.Value, want.Critical)
		}
	}
	if leaf.NotAfter.After(end) || end.Sub(leaf.NotAfter) > time.Hour {
		t.Errorf("it ends on %s, and the client certificate on %s", leaf.NotAfter, end)
	}
}

// decided gives the order, and when the client certificate ends.
func decided(t *testing.T, can policy.Capabilities) (ra.Order, time.Time) {
	t.Helper()
	now := time.Now()
	other := ratest.NewRoot(t, "Maker")
	device := other.Device(t, "old.example", func(c *x509.Certificate) { c.NotAfter = now.Add(30 * time.Hour) })
	change := csrtest.SEQ(csrtest.Name(csrtest.CN("new.example")), csrtest.SEQ(csrtest.DNS("new.example")))
	return ratest.Order(t, ratest.Case{
		Policy: deciding, OwnSerials: !can.Serial,
		CSR: csrtest.New(t, csrtest.Subject(csrtest.CN("old.example")), csrtest.SAN(csrtest.DNS("old.example")),
			csrtest.Attribute(csr.OIDChangeSubjectName, change),
			csrtest.Attribute("2.5.4.5", csrtest.Printable("SN-7")),
			csrtest.Attribute("1.3.6.1.1.1.1.22", csrtest.IA5("00:11:22:33:44:55"))),
		Who: policy.Identity{Cert: device.Leaf, Anchors: []string{"idevid"}, AnchorEnds: []time.Time{other.Certificate.NotAfter}},
		Now: now,
	}), device.Leaf.NotAfter
}

const deciding = `
version: 1
name: deciding policy for tests
profiles:
  any:
    labels: [any]
    enroll:
      who: [{client_cert: {anchor: idevid}}]
      linking: if_present
    subject:
      CN: {allow: ["**"]}
      serialNumber: {allow: ["**"]}
    san: {dns: {allow: ["**"]}}
    attributes:
      allow:
        - changeSubjectName
        - {name: serialNumber, into: subject}
        - {name: macAddress, into: subjectDirectoryAttributes}
    extensions:
      set:
        certificatePolicies: {policies: ["1.3.6.1.4.1.32473.1.1", "2.5.29.32.0"]}
        "1.3.6.1.4.1.32473.1.2": {utf8: "depot 7"}
        "1.3.6.1.4.1.32473.1.3": {der: MAMCAQU=, critical: true}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 50h, within: [anchor, client_cert]}
default: any
`
