// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// everyName takes and sets each form of SAN that a policy knows, and a
// subject with several values and with several attributes in one RDN.
const everyName = `
version: 1
name: policy of every name for tests
default: any
profiles:
  any:
    enroll:
      who: [{http_basic: {users: [ratest]}}]
      linking: if_present
    subject:
      CN: {allow: ["**"]}
      serialNumber: {set: "SN-7", beside: CN}
      O: {set: "Überall & Söhne"}
      OU: {set: [Netz, Depot]}
      "1.3.6.1.4.1.32473.1.5": {set: "of nobody's type"}
    san:
      dns: {allow: ["**"]}
      upn: {allow: ["**@**"]}
      directory_name: {set: "O=Example,CN=rtr-7+serialNumber=7"}
      registered_id: {set: "1.3.6.1.4.1.32473.1.6"}
      permanent_identifier: {set: ["1.3.6.1.4.1.32473.1.7/SN-7", "/SN-8"]}
      hardware_module_name: {set: "1.3.6.1.4.1.32473.1.8/00ff"}
      other_name:
        "1.3.6.1.5.5.7.8.7": {set: "ia5:_est.example.net"}
        "1.3.6.1.5.5.7.8.9": {allow: ["utf8:**"]}
        "1.3.6.1.4.1.32473.1.9": {set: ["oid:1.2.3", "der:MAMCAQE="]}
    usage:
      key: [digitalSignature]
      ext: [clientAuth]
    validity: {default: 1d}
`

// testEveryName wants the names of the plan byte for byte: an upstream that
// writes them anew would lose string types, or the names that it doesn't know.
func testEveryName(t *testing.T, up ra.Upstream) {
	if can := up.Carries(); !can.Subject || !can.SAN {
		t.Logf("the upstream says that it carries no names: %+v", can)
		return
	}
	for name, opts := range map[string][]csrtest.Option{
		"the request has one name": {csrtest.Subject(csrtest.CN("rtr-7.example"))},
		"the request has some of them": {
			csrtest.Subject(csrtest.O("Elsewhere"), csrtest.RDN(
				csrtest.ATV("2.5.4.5", csrtest.Printable("SN-1")), csrtest.ATV("2.5.4.3", csrtest.UTF8("rtr-7.example")))),
			csrtest.SAN(csrtest.DNS("rtr-7.example"), csrtest.OtherName(csr.OIDUserPrincipalName, csrtest.UTF8("anna@example.net")),
				csrtest.OtherName("1.3.6.1.5.5.7.8.9", csrtest.UTF8("jörg@example.net")), csrtest.RegisteredID("1.2.3")),
		},
		"the request has no subject": {csrtest.Subject(csrtest.CN("x")), csrtest.SAN(csrtest.DirectoryName(csrtest.CN("x")))},
	} {
		t.Run(name, func(t *testing.T) {
			asPlanned(t, up, ratest.Case{Policy: everyName, CSR: csrtest.New(t, opts...), Now: time.Now()})
		})
	}
	t.Run("the certificate has no subject", func(t *testing.T) {
		asPlanned(t, up, ratest.Case{Policy: onlyModule, CSR: csrtest.New(t, csrtest.Subject()), Now: time.Now()})
	})
}

// onlyModule makes certificates such as IEEE 802.1AR has: the one name is an
// otherName, and critical.
const onlyModule = `
version: 1
name: policy of a device without a subject
default: any
profiles:
  any:
    enroll:
      who: [{http_basic: {users: [ratest]}}]
      linking: if_present
    san:
      hardware_module_name: {set: "1.3.6.1.4.1.32473.1.8/00ff"}
    usage:
      key: [digitalSignature]
      ext: [clientAuth]
    validity: {default: 1d}
`

func asPlanned(t *testing.T, up ra.Upstream, c ratest.Case) {
	t.Helper()
	c.OwnSerials = !up.Carries().Serial
	order := ratest.Order(t, c)
	leaf := Issue(t, up, order)
	got, err := csr.NamesOf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	if want := order.Plan().Names; !got.EqualDER(want) {
		t.Errorf("the names are %v %v, planned were %v %v", got.Subject, got.SAN, want.Subject, want.SAN)
	}
}
