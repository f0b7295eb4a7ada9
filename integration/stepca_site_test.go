// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

var tlsVersions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// beforeStepCA is the Caddyfile of an RA before step-ca.
const beforeStepCA = `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		certificate off
		basic {
			estuser HASH
			second HASH
			third HASH
		}
		upstream step_ca URL {
			root root.pem
			provisioner NAME
			key est-ra.key
			OPTIONS
		}
	}
}
`

// threeUsers lets all of them enrol.
var threeUsers = strings.Replace(devices, "users: [estuser]", "users: [estuser, second, third]", 1)

// stepSite is a site with one provisioner; options go into its upstream.
func stepSite(ca *stepcatest.CA, provisioner string, key []byte, options string) config {
	return config{
		site:   strings.NewReplacer("URL", ca.URL, "NAME", provisioner, "OPTIONS", options).Replace(beforeStepCA),
		policy: threeUsers,
		files:  map[string]string{"root.pem": string(ca.RootPEM()), "est-ra.key": string(key)},
	}
}

func jwkSite(ca *stepcatest.CA, options string) config {
	return stepSite(ca, stepcatest.JWKProvisioner, ca.JWKJSON(), options)
}

func x5cSite(ca *stepcatest.CA) config {
	certs, key := ca.X5CPEM()
	c := stepSite(ca, stepcatest.X5CProvisioner, key, "certificate ra.pem")
	c.files["ra.pem"] = string(certs)
	return c
}

// plainSite has the provisioner without our template.
func plainSite(t *testing.T, ca *stepcatest.CA) config {
	t.Helper()
	key, err := json.Marshal(ca.Plain)
	if err != nil {
		t.Fatal(err)
	}
	return stepSite(ca, stepcatest.PlainProvisioner, key, "")
}

// An answer is what a device got.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask is post, with the answer's header.
func (d *device) ask(op, name, options string) answer {
	d.t.Helper()
	// What an earlier answer left must not be taken for this one.
	for _, ending := range []string{".ans", ".hdr"} {
		if err := os.Remove(filepath.Join(d.dir, name+ending)); err != nil && !os.IsNotExist(err) {
			d.t.Fatal(err)
		}
	}
	status, text := d.post(op, name, options+" -D "+name+".hdr")
	code, err := strconv.Atoi(status)
	if err != nil {
		d.t.Fatal(err)
	}
	src, err := os.ReadFile(filepath.Join(d.dir, name+".hdr"))
	if err != nil {
		d.t.Fatal(err)
	}
	a := answer{status: code, header: http.Header{}, body: text}
	for line := range strings.Lines(string(src)) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			a.header.Add(key, strings.TrimSpace(value))
		}
	}
	return a
}

// refused holds an answer to its status and to the one public text, and gives
// its record.
func (d *device) refused(a answer, status int, public string) audit.Record {
	d.t.Helper()
	id := a.header.Get("X-Request-Id")
	want := fmt.Sprintf("%s (%s)\n", public, id)
	if status == http.StatusUnauthorized {
		want = "" // RFC 7030 section 3.2.3: nothing to read in it
	}
	if a.status != status || a.body != want {
		d.t.Fatalf("got %d %q, want %d %q\n%s", a.status, a.body, status, want, d.site.log)
	}
	return d.site.record(id)
}

// issued sends a request that must succeed, leaves NAME.pem, and gives its
// record.
func (d *device) issued(op, name, options string) audit.Record {
	d.t.Helper()
	a := d.ask(op, name, options)
	if a.status != http.StatusOK {
		d.t.Fatalf("%s: %d %q\n%s", op, a.status, a.body, d.site.log)
	}
	sh(d.t, d.dir, fmt.Sprintf(`openssl base64 -d -A -in %[1]s.ans | openssl pkcs7 -inform DER -print_certs | openssl x509 -out %[1]s.pem`, name))
	return d.site.record(a.header.Get("X-Request-Id"))
}

// retries holds an answer to a Retry-After of whole seconds.
func (d *device) retries(a answer) {
	d.t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 || seconds > 3600 {
		d.t.Errorf("Retry-After is %q, want seconds", a.header.Get("Retry-After"))
	}
}

// get is a GET by curl, with its status.
func (d *device) get(op string) string {
	d.t.Helper()
	return sh(d.t, d.dir, strings.Replace(d.curl, " --fail-with-body", "", 1)+" -o /dev/null -w '%{http_code}' "+d.site.url(op))
}

// record is the audit record of a request.
func (s *site) record(id string) audit.Record {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, r := range s.records() {
			if string(r.ID) == id {
				return r
			}
		}
	}
	s.t.Fatalf("no audit record %q\n%s", id, s.log)
	return audit.Record{}
}

// logged waits for a line of the log that has all the texts, outside the
// audit records.
func (s *site) logged(texts ...string) {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for line := range strings.Lines(s.log.String()) {
			missing := func(text string) bool { return !strings.Contains(line, text) }
			if !strings.Contains(line, `"logger":"http.handlers.est.audit"`) && !slices.ContainsFunc(texts, missing) {
				return
			}
		}
	}
	s.t.Errorf("no line of the log has %q\n%s", texts, s.log)
}

func (s *site) records() []audit.Record {
	s.t.Helper()
	var all []audit.Record
	for _, raw := range s.audits() {
		src, err := json.Marshal(raw)
		if err != nil {
			s.t.Fatal(err)
		}
		var r audit.Record
		if err := json.Unmarshal(src, &r); err != nil {
			s.t.Fatalf("%v in %s", err, src)
		}
		all = append(all, r)
	}
	return all
}

// estClient is our own client, with one TLS version, Basic credentials, and
// every request linked.
func (s *site) estClient(version uint16) *estclient.Client {
	s.t.Helper()
	return &estclient.Client{
		URL: fmt.Sprintf("https://localhost:%d", s.port), Label: "devices", Implicit: s.tlsPool(), Link: true,
		Basic:      &estclient.Credentials{User: user, Password: password},
		MinVersion: version, MaxVersion: version,
	}
}

func namesOf(t *testing.T, host string) estclient.Template {
	t.Helper()
	dns, err := csr.NewName(csr.DNS, host)
	if err != nil {
		t.Fatal(err)
	}
	return estclient.Template{Names: csr.Names{
		Subject: csr.Name{csr.RDN{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: host, Text: true}}},
		SAN:     []csr.GeneralName{dns}, HasSAN: true,
	}}
}

func pairOf(e *estclient.Enrolled, key *ecdsa.PrivateKey) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{e.Certificate.Raw}, PrivateKey: key, Leaf: e.Certificate}
}

// keep writes a key pair as NAME.pem and NAME.key.
func (d *device) keep(name string, pair tls.Certificate) {
	d.t.Helper()
	var chain strings.Builder
	for _, der := range pair.Certificate {
		chain.WriteString(armour("CERTIFICATE", der))
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		d.t.Fatal(err)
	}
	write(d.t, d.dir, name+".pem", chain.String())
	write(d.t, d.dir, name+".key", armour("PRIVATE KEY", key))
}
