// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// brokered lets one RA ask for devices, and nobody else for anything.
const brokered = `version: 1
name: TEST-RA
default: devices
profiles:
  devices:
    on_behalf:
      who:
        - client_cert: {anchor: ours, role: ra, subject: {CN: ra.example.net, OU: Site RA}}
          names: ["*.site.example.net"]
        - client_cert: {anchor: partner, role: ra, subject: {CN: ra.partner.example}}
          names: ["*.partner.example"]
      linking: trusted
    subject:
      CN: {require: true, allow: ["*.site.example.net", "*.partner.example"]}
      O: {set: "Example Net"}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

const brokeredSite = `localhost:PORT {
	est {
		policy policy.yaml
		anchors {
			vendor vendor.pem
			partner partner.pem {
				ra_issuer
			}
		}
	}
}
`

// registrar is a client certificate that a factory signs, for id-kp-cmcRA.
func (f *factory) registrar(subject pkix.Name) tls.Certificate {
	f.t.Helper()
	key := newKey(f.t)
	cert := f.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: subject, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}},
	}, f.root, &key.PublicKey)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// madeByTheOperator runs the block of docs/authentication.md that makes an RA's
// certificate with the embedded CA, in its folder.
func madeByTheOperator(t *testing.T, s *site, subject string, change func(script string) string) tls.Certificate {
	t.Helper()
	dir := filepath.Dir(s.root("est"))
	sh(t, dir, "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ra.key -out ra.csr -subj '"+subject+"' 2>&1")
	script := ""
	for _, block := range fence.FindAllStringSubmatch(page(t, "../docs/authentication.md"), -1) {
		if block[1] == "sh" && strings.Contains(block[2], "ra.ext") {
			script = block[2]
		}
	}
	if script == "" {
		t.Fatal("the page doesn't make an RA's certificate")
	}
	sh(t, dir, change(script))
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ra.pem"), filepath.Join(dir, "ra.key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// bring posts a request with a client certificate.
func (s *site) bring(cert tls.Certificate, op string, der []byte) (status int, text, id string) {
	s.t.Helper()
	client := s.client(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
	res, err := client.Post(s.url(op), "application/pkcs10", strings.NewReader(base64.StdEncoding.EncodeToString(der)))
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, body(s.t, res), res.Header.Get("X-Request-Id")
}

// foreignRequest is linked to another connection than the one that brings it.
func (s *site) foreignRequest(name string) []byte {
	s.t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{RootCAs: s.tlsPool(), ServerName: "localhost"})
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	return csrtest.New(s.t, csrtest.Signer(newKey(s.t)), csrtest.Subject(csrtest.CN(name)), csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable(binding.FromTLS(&state).Value())))
}

// ownCertificate is that of the server, with its key, from Caddy's storage.
func (s *site) ownCertificate() tls.Certificate {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "certificates", "*", "localhost", "localhost.crt"))
	if err != nil || len(found) != 1 {
		s.t.Fatalf("%v %v", found, err)
	}
	pair, err := tls.LoadX509KeyPair(found[0], strings.TrimSuffix(found[0], ".crt")+".key")
	if err != nil {
		s.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil || len(leaf.UnknownExtKeyUsage) != 1 {
		s.t.Fatalf("the server's certificate has the usages %v %v: %v", leaf.ExtKeyUsage, leaf.UnknownExtKeyUsage, err)
	}
	return pair
}

// The tests of the NIAP functional package for X.509, FIA_ESTS_EXT.1, with an RA
// whose certificate an operator made as the page says, and devices whose
// requests are linked to their connections with the RA.
func TestTheTestsOfNIAPForESTServers(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	vendor, partner := newFactory(t), newFactory(t)
	s := serve(t, config{site: brokeredSite, policy: brokered, files: map[string]string{
		"vendor.pem": armour("CERTIFICATE", vendor.root.Raw), "partner.pem": armour("CERTIFICATE", partner.root.Raw),
	}})
	const subject = "/OU=Site RA/CN=ra.example.net"
	same := pkix.Name{CommonName: "ra.example.net", OrganizationalUnit: []string{"Site RA"}}
	asPrinted := func(script string) string { return script }
	ra := madeByTheOperator(t, s, subject, asPrinted)

	// An RA's certificate, for a subject that is not its own: issued.
	status, text, id := s.bring(ra, "simpleenroll", s.foreignRequest("plc-1.site.example.net"))
	if status != http.StatusOK {
		t.Fatalf("the RA: %d %s\n%s", status, text, s.log)
	}
	if r := s.record(id); r.Who == nil || r.Who.Role != "ra" || r.Who.ID != "CN=ra.example.net,OU=Site RA" || r.TLS.Linked != "mismatched" || r.CSR.Subject != "CN=plc-1.site.example.net" {
		t.Errorf("the record has who %+v, linking %+v", r.Who, r.TLS)
	}
	for name, c := range map[string]struct {
		cert   tls.Certificate
		as     string
		status int
		kind   string
	}{
		"without id-kp-cmcRA": {madeByTheOperator(t, s, subject, func(script string) string {
			return strings.Replace(script, "clientAuth, 1.3.6.1.5.5.7.3.28", "clientAuth", 1)
		}), "plc-2.site.example.net", 403, "unauthenticated"},
		"with anyExtendedKeyUsage in its place": {madeByTheOperator(t, s, subject, func(script string) string {
			return strings.Replace(script, "1.3.6.1.5.5.7.3.28", "anyExtendedKeyUsage", 1)
		}), "plc-2.site.example.net", 403, "unauthenticated"},
		"with id-kp-cmcRA of another CA that is an anchor":            {vendor.registrar(same), "plc-2.site.example.net", 403, "unauthenticated"},
		"with id-kp-cmcRA of a stranger":                              {newFactory(t).registrar(same), "plc-2.site.example.net", 403, "unauthenticated"},
		"another RA of the CA, which no line names":                   {madeByTheOperator(t, s, "/OU=Site RA/CN=other.example.net", asPrinted), "plc-2.site.example.net", 403, "unauthenticated"},
		"an RA of the issuer that is configured":                      {partner.registrar(pkix.Name{CommonName: "ra.partner.example"}), "plc-2.partner.example", 200, ""},
		"it beyond its names":                                         {partner.registrar(pkix.Name{CommonName: "ra.partner.example"}), "plc-3.site.example.net", 403, "refused"},
		"the name of the other under it":                              {partner.registrar(same), "plc-3.site.example.net", 403, "unauthenticated"},
		"the RA beyond its names":                                     {ra, "plc-3.partner.example", 403, "refused"},
		"this server with its own certificate, which has id-kp-cmcRA": {s.ownCertificate(), "plc-2.site.example.net", 403, "unauthenticated"},
		"the RA for itself":                                           {ra, "ra.example.net", 403, "refused"},
	} {
		status, text, id := s.bring(c.cert, "simpleenroll", s.foreignRequest(c.as))
		if r := s.record(id); status != c.status || string(r.Kind) != c.kind || (r.Who != nil && r.Who.Role == "ra") != (c.kind != "unauthenticated") {
			t.Errorf("%s: %d %q, kind %q, who %+v: %s", name, status, text, r.Kind, r.Who, r.Reason)
		}
	}

	// One byte of the request changed, in its name, its key and its signature.
	good := s.foreignRequest("plc-4.site.example.net")
	for _, at := range []int{strings.Index(string(good), "plc-4") + 4, len(good) / 2, len(good) - 3} {
		changed := append([]byte(nil), good...)
		changed[at] ^= 1
		if status, text, _ := s.bring(ra, "simpleenroll", changed); status != http.StatusBadRequest {
			t.Errorf("byte %d changed: %d %s", at, status, text)
		}
	}
	if status, text, _ := s.bring(ra, "simpleenroll", good); status != http.StatusOK {
		t.Errorf("the same request unchanged: %d %s", status, text)
	}
	if status, _, _ := s.bring(ra, "simplereenroll", s.foreignRequest("plc-1.site.example.net")); status != http.StatusNotFound {
		t.Errorf("a renewal for a device: %d", status)
	}
}

// Of a CA that is a stranger to Estra's storage, an RA's certificate comes from
// its own issuing key; and the CA is told who brought the request.
func TestARegistrarOfStepCAAsksForDevices(t *testing.T) {
	t.Parallel()
	const rule = `{{- if ne $e.evidence.registrar "CN=ra.example.net,OU=Site RA" -}}{{- fail "estra: no RA brought the request" -}}{{- end -}}
`
	const after = "{{- /* X5C:"
	before, rest, ok := strings.Cut(stepca.Template(), after)
	if !ok {
		t.Fatalf("the template has no %q", after)
	}
	ca := stepcatest.Start(t, stepcatest.Options{Template: before + rule + after + rest})
	c := jwkSite(ca, "")
	c.policy = strings.Replace(strings.Replace(brokered, "anchor: partner", "anchor: ours", 1), "profiles:\n", "profiles:\n  direct:\n    labels: [direct]\n"+
		"    enroll: {who: [{client_cert: {anchor: ours}}], linking: if_present}\n    subject: {CN: {allow: [\"*.site.example.net\"]}}\n"+
		"    usage: {key: [digitalSignature], ext: [clientAuth]}\n    validity: {default: 30d}\n", 1)
	s := serve(t, c)
	subject := pkix.Name{CommonName: "ra.example.net", OrganizationalUnit: []string{"Site RA"}}
	ra := ca.Registrar(subject)
	if status, text, _ := s.bring(ra, "simpleenroll", s.foreignRequest("plc-1.site.example.net")); status != http.StatusOK {
		t.Fatalf("%d %s\n%s\n%s", status, text, s.log, ca.Log())
	}
	// The same client where it asks for itself: step-ca isn't told of an RA.
	if status, _, _ := s.bring(ra, "direct/simpleenroll", csrtest.New(t, csrtest.Signer(newKey(t)), csrtest.Subject(csrtest.CN("plc-2.site.example.net")))); status == http.StatusOK {
		t.Error("step-ca takes a request that no RA brought")
	}
	sibling := ca.Sibling("Sibling CA", subject, stepcatest.ForCMCRA)
	if status, text, id := s.bring(sibling, "simpleenroll", s.foreignRequest("plc-3.site.example.net")); status != http.StatusForbidden {
		t.Errorf("an RA of a sibling CA: %d %s: %s", status, text, s.record(id).Reason)
	}
}
