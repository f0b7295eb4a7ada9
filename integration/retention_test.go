// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestWhatHasEndedGoesFromTheStoreWhenTheServerStarts: of what was imported the one
// goes whose end is longer ago than `retention` says.
func TestWhatHasEndedGoesFromTheStoreWhenTheServerStarts(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	dir := t.TempDir()
	script := exec.Command("sh", "-c", oldServer)
	script.Dir = dir
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const day = 24 * time.Hour
	folder := filepath.Join(dir, "ended")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	issueEnded(t, dir, filepath.Join(folder, "a.pem"), 0x5b0caa, 31*day)
	issueEnded(t, dir, filepath.Join(folder, "b.pem"), 0x5b0cbb, 29*day)
	s := serve(t, config{dir: dir, extra: strings.ReplaceAll(oldCA, "DIR", dir), site: `localhost:PORT {
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
		retention {
			certificates 30d
		}
	}
}
`, policy: oldPolicy})
	s.est(0, "certs", "import", "--upstream", "internal", "--address", s.admin, folder)
	if out := s.est(0, "certs", "list", "--address", s.admin); !strings.Contains(out, "5b0caa") || !strings.Contains(out, "5b0cbb") {
		t.Fatal(out)
	}
	s.stop()
	s.run()
	within := time.Now().Add(30 * time.Second)
	for strings.Contains(s.est(0, "certs", "list", "--address", s.admin), "5b0caa") {
		if time.Now().After(within) {
			t.Fatalf("it is still there\n%s", s.log)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if out := s.est(0, "certs", "list", "--address", s.admin); !strings.Contains(out, "5b0cbb") {
		t.Errorf("the one that ended later is gone: %s", out)
	}
}

// issueEnded writes a certificate of the old server's CA that has ended so long ago.
func issueEnded(t *testing.T, dir, into string, serial int64, ago time.Duration) {
	t.Helper()
	read := func(name string) []byte {
		text, err := os.ReadFile(filepath.Join(dir, "estCA", name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(text)
		return block.Bytes
	}
	ca, err := x509.ParseCertificate(read("cacert.crt"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParseECPrivateKey(read("cakey.pem"))
	if err != nil {
		t.Fatal(err)
	}
	end := time.Now().Add(-ago)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "plc-2.site.example.net"}, NotBefore: end.Add(-ago), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(into, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
