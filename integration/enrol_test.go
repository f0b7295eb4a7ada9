// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// devices is the policy of most tests: one profile, one rewritten attribute.
const devices = `version: 1
name: TEST-1
default: devices
profiles:
  devices:
    labels: [devices]
    enroll:
      who:
        - http_basic: {users: [estuser], shared: true}
      linking: if_present
    reenroll:
      who:
        - client_cert: {anchor: ours, matches: names}
      linking: if_present
      window: 100%
    subject:
      CN: {require: true, allow: ["*.example.net"]}
      O: {set: "Example Net"}
    san:
      dns: {allow: ["*.example.net"]}
    key: {ecdsa: [P-256], rsa: [2048, 3072]}
    usage:
      key: [digitalSignature]
      ext: [clientAuth]
    validity: {default: 30d}
`

// smallest is the smallest Caddyfile, as the README has it.
const smallest = `localhost:PORT {
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
	}
}
`

// need fails a test that a program is missing for.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Fatalf("%s is missing: install it (Debian: apt-get install %s)", program, program)
	}
}

// sh runs lines of shell as an operator would type them.
func sh(t *testing.T, dir, script string) string {
	t.Helper()
	cmd := exec.Command("sh", "-eu", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n--- script\n%s", err, out, script)
	}
	return string(out)
}

// device is a folder in which a device keeps its keys; curl and openssl are
// all it has.
type device struct {
	t    *testing.T
	site *site
	dir  string
	curl string // options of every call
}

func newDevice(t *testing.T, s *site) *device {
	t.Helper()
	need(t, "curl")
	need(t, "openssl")
	return &device{t: t, site: s, dir: t.TempDir(), curl: "curl -sS --fail-with-body --cacert " + s.tlsRoot()}
}

// csr makes a key and a request.
func (d *device) csr(name, subject, san string) {
	d.t.Helper()
	ext := ""
	if san != "" {
		ext = "-addext subjectAltName=" + san
	}
	sh(d.t, d.dir, fmt.Sprintf(`openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %[1]s.key -subj '%[2]s' %[3]s -outform DER -out %[1]s.der 2>&1
openssl base64 -in %[1]s.der -out %[1]s.b64`, name, subject, ext))
}

// post sends a request and returns status and the raw answer.
func (d *device) post(op, name, options string) (status, answer string) {
	d.t.Helper()
	out := sh(d.t, d.dir, fmt.Sprintf(`%s %s --no-fail --no-fail-with-body -o %s.ans -w '%%{http_code}' -H 'Content-Type: application/pkcs10' --data-binary @%s.b64 %s`,
		strings.Replace(d.curl, " --fail-with-body", "", 1), strings.TrimSpace(options), name, name, d.site.url(op)))
	src, err := os.ReadFile(filepath.Join(d.dir, name+".ans"))
	if err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	return out, string(src)
}

// enrol sends a request that must succeed, and leaves NAME.pem.
func (d *device) enrol(op, name, options string) {
	d.t.Helper()
	status, answer := d.post(op, name, options)
	if status != "200" {
		d.t.Fatalf("%s: %s %s\n%s", op, status, answer, d.site.log)
	}
	sh(d.t, d.dir, fmt.Sprintf(`openssl base64 -d -A -in %[1]s.ans | openssl pkcs7 -inform DER -print_certs | openssl x509 -out %[1]s.pem`, name))
}

// text is what openssl says of a certificate.
func (d *device) text(name string) string {
	d.t.Helper()
	return sh(d.t, d.dir, "openssl x509 -noout -subject -issuer -enddate -ext subjectAltName,keyUsage,extendedKeyUsage -in "+name+".pem 2>&1")
}

const basicOption = "--user " + user + ":" + password

func TestADeviceEnrolsAndReenrolsWithCurlAndOpenSSL(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	for _, version := range []string{"--tls-max 1.2", "--tlsv1.3"} {
		for _, protocol := range []string{"--http1.1", "--http2"} {
			t.Run(version+" "+protocol, func(t *testing.T) {
				d := newDevice(t, s)
				d.t = t
				d.curl += " " + version + " " + protocol
				d.walk()
			})
		}
	}
}

// walk is a device's life: CA certificates, attributes, first certificate,
// second certificate.
func (d *device) walk() {
	d.t.Helper()
	t := d.t
	bag := sh(t, d.dir, d.curl+" "+d.site.url("cacerts")+" | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs -noout")
	if !strings.Contains(bag, "Estra Root") || !strings.Contains(bag, "Estra Issuing CA") {
		t.Errorf("/cacerts lacks the root or the issuing certificate:\n%s", bag)
	}
	attrs := sh(t, d.dir, d.curl+" "+d.site.url("csrattrs")+" | openssl base64 -d -A | openssl asn1parse -inform DER")
	if !strings.Contains(attrs, "id-ecPublicKey") {
		t.Errorf("/csrattrs does not name the key type:\n%s", attrs)
	}
	d.csr("one", "/CN=a.example.net", "DNS:a.example.net")
	d.enrol("devices/simpleenroll", "one", basicOption)
	text := d.text("one")
	for _, want := range []string{"CN = a.example.net", "O = Example Net", "DNS:a.example.net", "TLS Web Client Authentication"} {
		if !strings.Contains(text, want) {
			t.Errorf("the certificate lacks %q:\n%s", want, text)
		}
	}
	// RFC 7030 section 4.2.2: subject and SAN of the certificate renewed.
	d.csr("two", "/CN=a.example.net/O=Example Net", "DNS:a.example.net")
	d.enrol("simplereenroll", "two", "--cert one.pem --key one.key")
	sh(t, d.dir, `test "$(openssl x509 -in one.pem -noout -pubkey)" != "$(openssl x509 -in two.pem -noout -pubkey)"`)
}

func TestRefusalsReachTheDeviceAndTheOperator(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	d := newDevice(t, s)
	d.csr("bad", "/CN=evil.example.com", "")
	status, answer := d.post("simpleenroll", "bad", basicOption)
	if status != "403" || !strings.HasPrefix(answer, "refused by policy") {
		t.Errorf("got %s %q", status, answer)
	}
	if strings.Contains(answer, "example.net") {
		t.Errorf("the answer tells the policy: %q", answer)
	}
	status, answer = d.post("simpleenroll", "bad", "")
	if status != "401" || answer != "" {
		t.Errorf("without credentials: %s %q, want an empty 401", status, answer)
	}
	records := s.audits()
	if len(records) != 2 {
		t.Fatalf("%d audit records, want 2", len(records))
	}
	findings := fmt.Sprint(records[0]["decision"])
	if !strings.Contains(findings, "profiles.devices.subject.CN") {
		t.Errorf("the record does not name the policy's line: %s", findings)
	}
}

func TestHTTP3Enrols(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	src, err := os.ReadFile(filepath.Join(d.dir, "one.b64"))
	if err != nil {
		t.Fatal(err)
	}
	res := overHTTP3(t, s, "simpleenroll", src, nil)
	if res.StatusCode != 200 || res.ProtoMajor != 3 {
		t.Fatalf("%s over %s: %s", res.Status, res.Proto, body(t, res))
	}
}

// armour is PEM of a DER block.
func armour(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
