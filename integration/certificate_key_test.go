// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"
)

// softHSM is where Debian has SoftHSM's PKCS #11 module.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

// withCgo and withoutCgo are Caddy in either build: this binary, and one that is
// built once.
var withCgo, withoutCgo = sync.OnceValues(func() (string, error) { return builtWith("1") }), sync.OnceValues(func() (string, error) { return builtWith("0") })

func builtWith(cgo string) (string, error) {
	info, _ := debug.ReadBuildInfo()
	for _, setting := range info.Settings {
		if setting.Key == "CGO_ENABLED" && setting.Value == cgo {
			return os.Args[0], nil
		}
	}
	dir, err := os.MkdirTemp("", "estra-cgo-")
	if err != nil {
		return "", err
	}
	cleanUp = append(cleanUp, func() { os.RemoveAll(dir) })
	binary := filepath.Join(dir, "caddy")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building with CGO_ENABLED=%s, which needs gcc for 1: %w\n%s", cgo, err, out)
	}
	return binary, nil
}

// keySite has the key of its own certificate elsewhere.
func keySite(uri, validity string) config {
	option := "certificate from internal {\n\t\t\tkey \"" + uri + "\"\n\t\t\tvalidity " + validity + "\n\t\t}"
	return config{site: strings.Replace(smallest, "policy policy.yaml", "policy policy.yaml\n\t\t"+option, 1), policy: devices}
}

const hsmKey = "pkcs11:module-path=" + softHSM + ";token=ra;object=est?pin-value=pin-9Kd2Qx"

func TestAKeyInAnHSMServesTheSiteAndStaysThere(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"softhsm2-util", "pkcs11-tool", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s is missing: install softhsm2 and opensc", program)
		}
	}
	binary, err := withCgo()
	if err != nil {
		t.Fatal(err)
	}
	s := prepare(t, keySite(hsmKey, "18s"))
	write(t, s.dir, "softhsm.conf", "directories.tokendir = "+s.dir+"/tokens\nobjectstore.backend = file\n")
	s.binary, s.env = binary, []string{"SOFTHSM2_CONF=" + filepath.Join(s.dir, "softhsm.conf")}
	sh(t, s.dir, "export SOFTHSM2_CONF=$PWD/softhsm.conf; mkdir tokens\n"+
		"softhsm2-util --init-token --free --label ra --so-pin 5678 --pin pin-9Kd2Qx\n"+
		"pkcs11-tool --module "+softHSM+" --token-label ra --login --pin pin-9Kd2Qx --keypairgen --key-type EC:prime256v1 --id 01 --label est 2>&1\n"+
		"pkcs11-tool --module "+softHSM+" --token-label ra --read-object --type pubkey --label est -o pub.der 2>&1")
	public, err := os.ReadFile(filepath.Join(s.dir, "pub.der"))
	if err != nil {
		t.Fatal(err)
	}
	s.run()
	first := isOwn(t, s, "localhost")
	if !bytes.Equal(first.RawSubjectPublicKeyInfo, public) {
		t.Errorf("the certificate's key isn't that of the HSM")
	}
	second := s.awaited("localhost", func(c *x509.Certificate) bool { return !c.Equal(first) })
	if !bytes.Equal(second.RawSubjectPublicKeyInfo, public) || time.Now().After(first.NotAfter) {
		t.Errorf("renewed at %s with the key %x; the first ends at %s", time.Now(), second.RawSubjectPublicKeyInfo, first.NotAfter)
	}
	// A reload opens the token while the configuration before still has it.
	s.rewrite("validity 18s", "validity 1h")
	for range 2 {
		if errs, code := s.reload(); code != 0 {
			t.Fatalf("exit %d\n%s", code, errs)
		}
		isOwn(t, s, "localhost")
	}
	long := s.awaited("localhost", func(c *x509.Certificate) bool { return c.NotAfter.Sub(c.NotBefore) > time.Minute })
	s.stop()
	s.run()
	if after := s.shows("localhost")[0]; !after.Equal(long) {
		t.Error("after a restart there is another certificate")
	}
	if strings.Contains(s.log.String(), "9Kd2Qx") {
		t.Errorf("the log has the PIN:\n%s", s.log)
	}
	out := sh(t, s.dir, "find data -name '*.key' | grep -v -e pki/ -e est/audit/ || true")
	if out != "" {
		t.Errorf("there are keys in the storage: %s", out)
	}
}

func TestABuildWithoutCgoSaysWhatAnHSMNeeds(t *testing.T) {
	t.Parallel()
	binary, err := withoutCgo()
	if err != nil {
		t.Fatal(err)
	}
	s := prepare(t, keySite(hsmKey, "18s"))
	s.binary = binary
	out, err := s.command(context.Background(), "validate", "--config", "Caddyfile", "--adapter", "caddyfile").CombinedOutput()
	for _, want := range []string{"`CGO_ENABLED=1 ./xcaddy.sh`", "gcc", "Caddyfile:"} {
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, and the message lacks %s:\n%s", err, want, out)
		}
	}
	// A key in a file needs no cgo.
	need(t, "openssl")
	f := prepare(t, keySite("softkms:path=est.pem", "1h"))
	f.binary = binary
	sh(t, f.dir, "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out est.pem 2>&1; openssl pkey -in est.pem -pubout -outform DER -out pub.der")
	public, err := os.ReadFile(filepath.Join(f.dir, "pub.der"))
	if err != nil {
		t.Fatal(err)
	}
	f.run()
	if leaf := isOwn(t, f, "localhost"); !bytes.Equal(leaf.RawSubjectPublicKeyInfo, public) {
		t.Error("the certificate's key isn't that of the file")
	}
}

func TestAKeyThatIsNotThereIsToldWithoutThePIN(t *testing.T) {
	t.Parallel()
	s := prepare(t, keySite("softkms:path=gone.pem;password=hunter2", "1h"))
	s.bare = true
	s.run()
	s.logged(`"level":"error"`, "our own certificate can't be obtained", "key not found")
	if text := s.log.String(); strings.Contains(text, "hunter2") {
		t.Errorf("the log has the password:\n%s", text)
	}
}
