// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"crypto/x509"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

const hiddenNames = `
version: 1
name: policy of names that crypto/x509 hides
default: any
profiles:
  any:
    enroll: {who: [{http_basic: {users: [ratest]}}], linking: if_present}
    subject: {CN: {allow: ["**"]}, serialNumber: {allow: ["**"], beside: CN}}
    san:
      upn: {allow: ["**@**"]}
      directory_name: {allow: ["CN=**"]}
      registered_id: {allow: ["**"]}
      hardware_module_name: {allow: ["**/*"]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`

// crypto/x509 reads none of these names, and takes an RDN of two for two RDNs.
func TestConformsComparesNamesThatCryptoX509Hides(t *testing.T) {
	cn, sn := csrtest.ATV("2.5.4.3", csrtest.UTF8("rtr-1")), csrtest.ATV("2.5.4.5", csrtest.Printable("7"))
	upn := func(text string) []byte { return csrtest.OtherName(csr.OIDUserPrincipalName, csrtest.UTF8(text)) }
	module := csrtest.OtherName(csr.OIDHardwareModuleName, csrtest.SEQ(csrtest.OID("1.2.3"), csrtest.Text(4, "\x01")))
	directory, id := csrtest.DirectoryName(csrtest.CN("rtr-1")), csrtest.RegisteredID("1.2.3")
	order := ratest.Order(t, ratest.Case{
		Policy: hiddenNames,
		CSR:    csrtest.New(t, csrtest.Subject(csrtest.RDN(cn, sn)), csrtest.SAN(upn("a@b"), module, directory, id)),
	})
	subject := func(rdns ...[]byte) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.RawSubject = csrtest.Name(rdns...) }
	}
	for name, test := range map[string]struct {
		mutate func(*x509.Certificate)
		want   string
	}{
		"as planned":                         {mutate: func(*x509.Certificate) {}},
		"the RDN in another order":           {mutate: subject(csrtest.RDN(sn, cn))},
		"the RDN taken apart":                {mutate: subject(csrtest.RDN(cn), csrtest.RDN(sn)), want: "subject"},
		"the RDN without its serial number":  {mutate: subject(csrtest.RDN(cn)), want: "subject"},
		"another user principal name":        {mutate: san(upn("root@b"), module, directory, id), want: "subjectAltName"},
		"a user principal name as IA5String": {mutate: san(csrtest.OtherName(csr.OIDUserPrincipalName, csrtest.IA5("a@b")), module, directory, id), want: "subjectAltName"},
		"a user principal name as a mail":    {mutate: san(csrtest.Email("a@b"), module, directory, id), want: "subjectAltName"},
		"no hardwareModuleName":              {mutate: san(upn("a@b"), directory, id), want: "subjectAltName"},
		"another directoryName":              {mutate: san(upn("a@b"), module, csrtest.DirectoryName(csrtest.CN("rtr-2")), id), want: "subjectAltName"},
		"another registeredID":               {mutate: san(upn("a@b"), module, directory, csrtest.RegisteredID("1.2.4")), want: "subjectAltName"},
		"the names in another order":         {mutate: san(id, directory, module, upn("a@b"))},
	} {
		t.Run(name, func(t *testing.T) {
			ca := ratest.NewCA(t)
			ca.Set(ratest.Knobs{Mutate: test.mutate})
			issued, err := ca.Issue(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			wantOnly(t, ra.Conforms(issued.Certificate, order, ra.Tolerated{}, issuers(ca)), test.want)
		})
	}
}

func TestConformsToleratesTheOrderOfASubjectWhereTheCAHasItsOwn(t *testing.T) {
	cn, org, ou := csrtest.CN("rtr-1"), csrtest.O("Example"), csrtest.RDN(csrtest.ATV("2.5.4.11", csrtest.UTF8("Depot")))
	order := ratest.Order(t, ratest.Case{CSR: csrtest.New(t, csrtest.Subject(cn, org, ou))})
	for name, test := range map[string]struct {
		subject   []byte
		tolerated bool
		want      string
	}{
		"another order":                        {csrtest.Name(org, ou, cn), true, ""},
		"another order that isn't tolerated":   {csrtest.Name(org, ou, cn), false, "subject"},
		"one of them twice":                    {csrtest.Name(org, org, ou, cn), true, "subject"},
		"one of them missing":                  {csrtest.Name(org, cn), true, "subject"},
		"two in one RDN":                       {csrtest.Name(csrtest.RDN(csrtest.ATV("2.5.4.10", csrtest.UTF8("Example")), csrtest.ATV("2.5.4.11", csrtest.UTF8("Depot"))), cn), true, "subject"},
		"the value of one with another's type": {csrtest.Name(csrtest.O("rtr-1"), csrtest.CN("Example"), ou), true, "subject"},
	} {
		t.Run(name, func(t *testing.T) {
			ca := ratest.NewCA(t)
			ca.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) { c.RawSubject = test.subject }})
			issued, err := ca.Issue(t.Context(), order)
			if err != nil {
				t.Fatal(err)
			}
			wantOnly(t, ra.Conforms(issued.Certificate, order, ra.Tolerated{SubjectOrder: test.tolerated}, issuers(ca)), test.want)
		})
	}
}
