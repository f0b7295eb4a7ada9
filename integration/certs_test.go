// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// oldCA is what docs/migrate.md has: a CA that issues by its root key.
const oldCA = `pki {
		ca est {
			root {
				cert DIR/estCA/cacert.crt
				key DIR/estCA/cakey.pem
			}
			intermediate {
				cert DIR/estCA/cacert.crt
				key DIR/estCA/cakey.pem
			}
		}
	}`

// oldServer makes what an example server with OpenSSL's CA leaves behind: the CA, a
// folder with what it has issued, and a device with its key.
const oldServer = `set -e
mkdir -p estCA/newcerts
openssl ecparam -name prime256v1 -genkey -noout -out estCA/cakey.pem
openssl req -x509 -new -key estCA/cakey.pem -subj /CN=estExampleCA -days 3650 -out estCA/cacert.crt
openssl ecparam -name prime256v1 -genkey -noout -out device.key
openssl req -new -key device.key -subj /CN=plc-1.site.example.net -out device.csr
printf 'basicConstraints=CA:FALSE\nkeyUsage=digitalSignature\nauthorityKeyIdentifier=keyid\n' >ext
openssl x509 -req -in device.csr -CA estCA/cacert.crt -CAkey estCA/cakey.pem -set_serial 0x5b0c99 -days 30 -extfile ext -out estCA/newcerts/5B0C99.pem
cp estCA/newcerts/5B0C99.pem device.crt
cp device.key estCA/newcerts/device-key.pem
cp estCA/cacert.crt estCA/newcerts/
openssl ecparam -name prime256v1 -genkey -noout -out other.key
openssl req -new -key other.key -subj /CN=stranger -out other.csr
openssl x509 -req -in other.csr -signkey other.key -days 30 -out estCA/newcerts/zz.crt
`

const oldPolicy = `version: 1
name: TEST-OLD
default: devices
profiles:
  devices:
    enroll:
      who:
        - http_basic: {users: [estuser], shared: true}
      linking: if_present
    reenroll:
      who:
        - client_cert: {anchor: ours}
      linking: if_present
    subject:
      CN: {require: true, allow: ["*.site.example.net"]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestTheCAAndCertificatesOfAnOldServerAreTakenOver(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	dir := t.TempDir()
	script := exec.Command("sh", "-c", oldServer)
	script.Dir = dir
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s := serve(t, config{dir: dir, extra: strings.ReplaceAll(oldCA, "DIR", dir), site: `localhost:PORT {
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
	}
}
`, policy: oldPolicy})
	table := s.est(0, "upstream", "check", "--address", s.admin)
	if !row(table, "internal", "issuer", "good", "CN=estExampleCA") {
		t.Error(table)
	}

	// What isn't the CA's is named, and the rest is imported; twice is no harm.
	for _, want := range []string{"1 new, 0 there already, 1 of other CAs", "0 new, 1 there already, 1 of other CAs"} {
		out := s.est(2, "certs", "import", "--upstream", "internal", "--profile", "devices", "--address", s.admin, filepath.Join(dir, "estCA", "newcerts"))
		if !strings.Contains(out, want) || !strings.Contains(out, "zz.crt: CN=stranger has another issuer") {
			t.Error(out)
		}
	}
	for _, args := range [][]string{
		{"--name", "PLC-1.site"}, {"--serial", "5b0c99"}, {"--state", "issued", "--profile", "devices"}, {"--upstream", "internal", "--ends-before", "40d", "--ends-from", "1h"},
	} {
		if out := s.est(0, append([]string{"certs", "list", "--address", s.admin}, args...)...); !strings.Contains(out, "5b0c99") || !strings.Contains(out, "plc-1.site.example.net") {
			t.Errorf("%v: %s", args, out)
		}
	}
	for _, args := range [][]string{{"--name", "plc-2"}, {"--doubtful"}, {"--revoked"}, {"--ends-before", "1h"}, {"--profile", "x"}} {
		if out := s.est(0, append([]string{"certs", "list", "--format", "csv", "--address", s.admin}, args...)...); strings.Count(out, "\n") != 1 {
			t.Errorf("%v: %s", args, out)
		}
	}
	var one struct{ ID, Serial, SHA256, Names string }
	if err := json.Unmarshal([]byte(s.est(0, "certs", "list", "--format", "json", "--serial", "5b0c99", "--address", s.admin)), &one); err != nil || one.Serial != "5b0c99" {
		t.Fatalf("%+v: %v", one, err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "device.crt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, which := range []string{"5B:0C:99", "5b0c99", one.SHA256, one.ID} {
		if out := s.est(0, "certs", "show", which, "--address", s.admin); !strings.Contains(out, strings.TrimSpace(string(text))) {
			t.Errorf("%s: %s", which, out)
		}
	}
	if out := s.est(2, "certs", "show", "77", "--address", s.admin); !strings.Contains(out, `the serial number or the SHA-256 "77"`) {
		t.Error(out)
	}

	// It is renewed as one of ours, unless it is blocked.
	root, err := os.ReadFile(filepath.Join(dir, "estCA", "cacert.crt"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, filepath.Join("data", "caddy", "pki", "authorities", "est", "root.crt"), string(root)) // where the client looks
	old, err := tls.LoadX509KeyPair(filepath.Join(dir, "device.crt"), filepath.Join(dir, "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	renew := func() (int, string) {
		status, text, _ := s.bring(old, "simplereenroll", csrtest.New(t, csrtest.Signer(newKey(t)), csrtest.Subject(csrtest.CN("plc-1.site.example.net"))))
		return status, text
	}
	if status, text := renew(); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	s.est(0, "certs", "block", "5b0c99", "--as", "anna", "--address", s.admin)
	if out := s.est(0, "certs", "list", "--blocked", "--address", s.admin); !strings.Contains(out, "blocked") || !strings.Contains(out, "5b0c99") {
		t.Error(out)
	}
	if status, text := renew(); status != 403 {
		t.Errorf("what is blocked is renewed: %d %s", status, text)
	}
	s.est(0, "certs", "unblock", "5b0c99", "--address", s.admin)
	if status, text := renew(); status != 200 {
		t.Errorf("%d %s", status, text)
	}
	if out := s.est(3, "certs", "list", "--format", "xml", "--address", s.admin); !strings.Contains(out, "want text, csv or json") {
		t.Error(out)
	}
	if out := s.est(2, "certs", "import", "--upstream", "other", "--address", s.admin, filepath.Join(dir, "device.crt")); !strings.Contains(out, `no upstream is named "other"`) {
		t.Error(out)
	}
}

// An operator revokes at the CA what the inventory has; what was enrolled here is in it.
func TestACertificateOfTheInventoryIsRevoked(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	s := serve(t, jwkSite(ca, ""))
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "DNS:a.example.net")
	first := d.issued("devices/simpleenroll", "one", basicOption)
	out := s.est(0, "certs", "show", first.Serial, "--address", s.admin)
	for _, want := range []string{string(first.ID), "issued", "simpleenroll", "devices", "step_ca", "-----BEGIN CERTIFICATE-----"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	if out := s.est(2, "certs", "revoke", first.Serial, "--address", s.admin); !strings.Contains(out, "nobody says who decides") {
		t.Error(out)
	}
	if out := s.est(3, "certs", "revoke", "--as", "anna", "--reason", "boredom", first.Serial, "--address", s.admin); !strings.Contains(out, "want one of aACompromise") {
		t.Error(out)
	}
	s.est(0, "certs", "revoke", "--as", "anna", "--reason", "keyCompromise", first.Serial, "--address", s.admin)
	if serials := revoked(t, ca); !slices.Contains(serials, first.Serial) {
		t.Errorf("step-ca's CRL has %v, not %s", serials, first.Serial)
	}
	recorded := false
	for _, r := range s.records() {
		recorded = recorded || r.Op == "certs.revoke" && r.Outcome == "revoked" && r.RevokesSerial == first.Serial && r.Who != nil && r.Who.ID == "anna" && r.Who.Method == "stated"
	}
	if !recorded {
		t.Errorf("no record of it\n%s", s.log)
	}
	if out := s.est(0, "certs", "list", "--revoked", "--format", "csv", "--address", s.admin); !strings.Contains(out, first.Serial) {
		t.Error(out)
	}
	if out := s.est(2, "certs", "revoke", "--as", "anna", first.Serial, "--address", s.admin); !strings.Contains(out, "it is revoked since") {
		t.Error(out)
	}
	// No CRL is asked here: the inventory alone knows.
	d.csr("two", "/CN=a.example.net", "DNS:a.example.net")
	if a := d.ask("devices/simplereenroll", "two", "--cert one.pem --key one.key"); a.status != 403 {
		t.Errorf("what is revoked is renewed: %d %s", a.status, a.body)
	}
}
