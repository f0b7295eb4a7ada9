// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// everyName takes each form of SAN, several values of an attribute, and an
// RDN of two attributes.
const everyName = `version: 1
name: TEST-NAMES
default: devices
profiles:
  devices:
    enroll: {who: [{http_basic: {users: [estuser]}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours, matches: names}}], linking: if_present}
    subject:
      CN: {require: true, allow: ["rtr-*"]}
      serialNumber: {allow: ["SN-*"], beside: CN}
      OU: {set: [Netz, Depot]}
    san:
      dns: {allow: ["*.bücher.example"]}
      upn: {allow: ["*@example.net"]}
      directory_name: {allow: ["O=*,CN=*"]}
      registered_id: {set: "1.3.6.1.4.1.32473.1.6"}
      permanent_identifier: {allow: ["/**"]}
      hardware_module_name: {allow: ["1.3.6.1.4.1.32473.*/00*"]}
      other_name: {"1.3.6.1.5.5.7.8.7": {allow: ["ia5:_est.*.example"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

// What is planned is what openssl reads, and a renewal keeps all of it.
func TestEveryFormOfNameIsIssuedAndRenewedByTheInternalCA(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: everyName})
	d := newDevice(t, s)
	device := csrtest.RDN(csrtest.ATV("2.5.4.5", csrtest.Printable("SN-7")), csrtest.ATV("2.5.4.3", csrtest.UTF8("rtr-7")))
	asked := []csrtest.Option{csrtest.Subject(device), csrtest.SAN(
		csrtest.DNS("www.xn--bcher-kva.example"),
		csrtest.OtherName(csr.OIDUserPrincipalName, csrtest.UTF8("anna@example.net")),
		csrtest.DirectoryName(csrtest.O("Söhne"), csrtest.CN("rtr-7")),
		csrtest.OtherName(csr.OIDPermanentIdentifier, csrtest.SEQ(csrtest.UTF8("SN-7"))),
		csrtest.OtherName(csr.OIDHardwareModuleName, csrtest.SEQ(csrtest.OID("1.3.6.1.4.1.32473.8"), csrtest.Text(4, "\x00\xff"))),
		csrtest.OtherName("1.3.6.1.5.5.7.8.7", csrtest.IA5("_est.a.example")),
	)}
	d.bring("first", asked...)
	d.enrol("simpleenroll", "first", basicOption)
	text := d.text("first")
	for _, want := range []string{
		"serialNumber = SN-7 + CN = rtr-7, OU = Netz, OU = Depot", "DNS:www.xn--bcher-kva.example", "UPN:anna@example.net", "CN = rtr-7",
		"Registered ID:1.3.6.1.4.1.32473.1.6", "SRVName:_est.a.example",
	} {
		if !strings.Contains(strings.ReplaceAll(text, "::", ":"), want) {
			t.Errorf("openssl doesn't read %q in\n%s", want, text)
		}
	}
	names := d.names("first")
	d.bring("second", csrtest.Subject(append([][]byte{device},
		csrtest.RDN(csrtest.ATV("2.5.4.11", csrtest.UTF8("Netz"))), csrtest.RDN(csrtest.ATV("2.5.4.11", csrtest.UTF8("Depot"))))...),
		csrtest.Extension(csrtest.SubjectAltName, false, sanValue(t, names.SAN)))
	d.enrol("simplereenroll", "second", "--cert first.pem --key first.key")
	if renewed := d.names("second"); !renewed.Equal(names) {
		t.Errorf("the renewed certificate has %v %v, and the first %v %v", renewed.Subject, renewed.SAN, names.Subject, names.SAN)
	}
	for name, wrong := range map[string][]csrtest.Option{
		"the RDN apart":  {csrtest.Subject(csrtest.SerialNumber("SN-7"), csrtest.CN("rtr-7"))},
		"an RDN of more": {csrtest.Subject(csrtest.RDN(csrtest.ATV("2.5.4.3", csrtest.UTF8("rtr-7")), csrtest.ATV("2.5.4.11", csrtest.UTF8("Netz"))))},
		"another UPN":    {csrtest.Subject(device), csrtest.SAN(csrtest.OtherName(csr.OIDUserPrincipalName, csrtest.UTF8("anna@evil.example")))},
		"no xn-- label":  {csrtest.Subject(device), csrtest.SAN(csrtest.DNS("xn--a.xn--bcher-kva.example"))},
		"another SRV":    {csrtest.Subject(device), csrtest.SAN(csrtest.OtherName("1.3.6.1.5.5.7.8.7", csrtest.UTF8("_est.a.example")))},
	} {
		d.bring("wrong", wrong...)
		if status, _ := d.post("simpleenroll", "wrong", basicOption); status != "403" {
			t.Errorf("%s: %s", name, status)
		}
	}
}

// bring makes a request of any shape, with a key of its own.
func (d *device) bring(name string, opts ...csrtest.Option) {
	d.t.Helper()
	key := newKey(d.t)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		d.t.Fatal(err)
	}
	write(d.t, d.dir, name+".key", armour("PRIVATE KEY", der))
	write(d.t, d.dir, name+".b64", base64.StdEncoding.EncodeToString(csrtest.New(d.t, append(opts, csrtest.Signer(key))...)))
}

func (d *device) names(name string) csr.Names {
	d.t.Helper()
	out := sh(d.t, d.dir, "openssl x509 -outform DER -in "+name+".pem | openssl base64 -A")
	der, err := base64.StdEncoding.DecodeString(out)
	if err != nil {
		d.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		d.t.Fatal(err)
	}
	names, err := csr.NamesOf(cert)
	if err != nil {
		d.t.Fatal(err)
	}
	return names
}

func sanValue(t *testing.T, names []csr.GeneralName) []byte {
	t.Helper()
	value, err := csr.MarshalSAN(names)
	if err != nil {
		t.Fatal(err)
	}
	return value
}
