// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/cms"
)

// renaming lets a device ask for other names, and puts attributes and
// extensions of all kinds into its certificate.
const renaming = `version: 1
name: TEST-LISTS
default: devices
profiles:
  devices:
    enroll: {who: [{client_cert: {anchor: idevid}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present}
    subject:
      CN: {allow: ["*.example.net"]}
      serialNumber: {max: 1, allow: ["SN-*"]}
    san: {dns: {allow: ["*.example.net"]}}
    attributes:
      allow:
        - changeSubjectName
        - {name: serialNumber, into: subject}
        - {name: macAddress, into: subjectDirectoryAttributes, allow: ["00:11:*"]}
    extensions:
      set:
        certificatePolicies: {policies: ["1.3.6.1.4.1.32473.7"]}
        "1.3.6.1.4.1.32473.2": {utf8: "depot 7"}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d, within: [anchor]}
`

// A device without any name of ours is named by what it asks for, and renamed
// at a renewal; its certificate ends with its factory.
func TestADeviceIsNamedAndRenamedByTheInternalCA(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	f.root = f.sign(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: f.root.Subject, NotBefore: f.root.NotBefore,
		NotAfter: time.Now().Add(48 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, f.root, &f.key.PublicKey)
	s := serve(t, config{
		site: strings.Replace(smallest, "basic {\n\t\t\testuser HASH\n\t\t}",
			"anchors {\n\t\t\tidevid idevid.pem\n\t\t}", 1),
		policy: renaming,
		files:  map[string]string{"idevid.pem": armour("CERTIFICATE", f.root.Raw)},
	})
	key := newKey(t)
	factoryCert := f.sign(&x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "box 7"}, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}, f.root, &key.PublicKey)
	first, firstKey := s.rename(tls.Certificate{Certificate: [][]byte{factoryCert.Raw}, PrivateKey: key}, "simpleenroll",
		[]csrtest.Option{csrtest.Subject(csrtest.RDN(csrtest.ATV("2.5.4.3", csrtest.Printable("box 7"))))}, "a.example.net",
		csrtest.Attribute("2.5.4.5", csrtest.Printable("SN-7")),
		csrtest.Attribute("1.3.6.1.1.1.1.22", csrtest.IA5("00:11:22")))
	if got := first.Subject.String(); got != "SERIALNUMBER=SN-7,CN=a.example.net" || !slices.Equal(first.DNSNames, []string{"a.example.net"}) {
		t.Errorf("the first certificate is for %s, %v", got, first.DNSNames)
	}
	hasExtension(t, first, "2.5.29.32", csrtest.SEQ(csrtest.SEQ(csrtest.OID("1.3.6.1.4.1.32473.7"))))
	hasExtension(t, first, "1.3.6.1.4.1.32473.2", csrtest.UTF8("depot 7"))
	hasExtension(t, first, "2.5.29.9", csrtest.SEQ(csrtest.SEQ(csrtest.OID("1.3.6.1.1.1.1.22"), csrtest.SET(csrtest.IA5("00:11:22")))))
	if !first.NotAfter.Equal(f.root.NotAfter) {
		t.Errorf("it ends on %s, and its factory on %s", first.NotAfter, f.root.NotAfter)
	}
	own := []csrtest.Option{
		csrtest.Subject(csrtest.CN("a.example.net"), csrtest.SerialNumber("SN-7")), csrtest.SAN(csrtest.DNS("a.example.net")),
	}
	second, _ := s.rename(tls.Certificate{Certificate: [][]byte{first.Raw}, PrivateKey: firstKey}, "simplereenroll", own, "b.example.net")
	if got := second.Subject.String(); got != "CN=b.example.net" || !slices.Equal(second.DNSNames, []string{"b.example.net"}) {
		t.Errorf("the second certificate is for %s, %v", got, second.DNSNames)
	}
	recorded(t, s, csrtest.IA5("00:11:22"))
}

// rename enrols with changeSubjectName, which asks for one DNS name.
func (s *site) rename(cert tls.Certificate, op string, own []csrtest.Option, name string, more ...csrtest.Option) (*x509.Certificate, any) {
	s.t.Helper()
	key := newKey(s.t)
	change := csrtest.SEQ(csrtest.Name(csrtest.CN(name)), csrtest.SEQ(csrtest.DNS(name)))
	der := csrtest.New(s.t, append(append(own, csrtest.Signer(key), csrtest.Attribute(csr.OIDChangeSubjectName, change)), more...)...)
	client := s.client(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	res, err := client.Post(s.url(op), "application/pkcs10", strings.NewReader(base64.StdEncoding.EncodeToString(der)))
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %d %s %v\n%s", op, res.StatusCode, text, err, s.log)
	}
	bag, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		s.t.Fatal(err)
	}
	certs, err := cms.ParseCertsOnly(bag)
	if err != nil {
		s.t.Fatal(err)
	}
	return certs[0], key
}

func hasExtension(t *testing.T, c *x509.Certificate, oid string, value []byte) {
	t.Helper()
	i := slices.IndexFunc(c.Extensions, func(e pkix.Extension) bool { return e.Id.String() == oid })
	if i < 0 || c.Extensions[i].Critical || !bytes.Equal(c.Extensions[i].Value, value) {
		t.Errorf("the extension %s is not there as planned", oid)
	}
}

// recorded looks for what a replay of the first enrolment needs.
func recorded(t *testing.T, s *site, value []byte) {
	t.Helper()
	records := s.audits()
	if len(records) != 2 {
		t.Fatalf("%d audit records, want 2", len(records))
	}
	input, err := json.Marshal(records[0]["input"])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{base64.StdEncoding.EncodeToString(value), `"oid":"` + csr.OIDChangeSubjectName + `"`, `"anchor_ends":["`} {
		if !strings.Contains(string(input), want) {
			t.Errorf("the input of the record lacks %s: %s", want, input)
		}
	}
}
