// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/stepca"
)

// stepCAFiles are a root and a JWK in a folder.
func stepCAFiles(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ratest.NewRoot(t, "Root").Certificate.Raw})
	key, _, err := stepca.NewJWK()
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, src := range map[string][]byte{"root.pem": root, "ra.jwk": jwk} {
		if err := os.WriteFile(filepath.Join(dir, name), src, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStepCAReplacesPlaceholders(t *testing.T) {
	t.Setenv("ESTRA_DIR", stepCAFiles(t))
	t.Setenv("ESTRA_CA", "https://ca.example:9000")
	u := &StepCA{addressOptions: addressOptions{URL: "{env.ESTRA_CA}", Root: "{env.ESTRA_DIR}/root.pem"}, Provisioner: "est", Key: "{env.ESTRA_DIR}/ra.jwk"}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if want := "step_ca https://ca.example:9000"; u.Identity() != want {
		t.Errorf("identity %q, want %q", u.Identity(), want)
	}
	for name, change := range map[string]func(*StepCA){
		"url":         func(u *StepCA) { u.URL = "{env.ESTRA_NONE}" },
		"root":        func(u *StepCA) { u.Root = "{env.ESTRA_NONE}" },
		"key":         func(u *StepCA) { u.Key = "{env.ESTRA_NONE}" },
		"certificate": func(u *StepCA) { u.Certificate = "{env.ESTRA_NONE}" },
	} {
		other := &StepCA{addressOptions: addressOptions{URL: u.URL, Root: u.Root}, Provisioner: "est", Key: u.Key}
		change(other)
		err := other.Provision(caddy.Context{})
		if err == nil || !strings.HasPrefix(err.Error(), name+": ") || !strings.Contains(err.Error(), "{env.ESTRA_NONE}") {
			t.Errorf("an empty placeholder in %s: %v", name, err)
		}
	}
}

func TestStepCASaysWhatToWrite(t *testing.T) {
	dir := stepCAFiles(t)
	for _, c := range []struct{ url, key, want string }{
		{"http://ca.example", "ra.jwk", "isn't an https URL: write https://HOST:PORT"},
		{"ca:9000", "ra.jwk", "isn't an https URL: write https://HOST:PORT"},
		{"192.0.2.1:9000", "ra.jwk", "isn't a URL: write https://HOST:PORT"},
		{"https://ca:9000", "root.pem", "the key is neither a JWK nor an encrypted JWK; for an X5C provisioner add `certificate FILE`"},
	} {
		u := &StepCA{addressOptions: addressOptions{URL: c.url, Root: filepath.Join(dir, "root.pem")}, Provisioner: "est", Key: filepath.Join(dir, c.key)}
		if err := u.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: %v, want %q", c.url, c.key, err, c.want)
		}
	}
}

func TestStepCAWantsARootForItsRoot(t *testing.T) {
	dir := stepCAFiles(t)
	ca := ratest.NewCA(t)
	file := filepath.Join(dir, "intermediate.pem")
	src := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Intermediate.Certificate.Raw})
	if err := os.WriteFile(file, src, 0o600); err != nil {
		t.Fatal(err)
	}
	u := &StepCA{addressOptions: addressOptions{URL: "https://ca.example:9000", Root: file}, Provisioner: "est", Key: filepath.Join(dir, "ra.jwk")}
	err := u.Provision(caddy.Context{})
	if err == nil || !strings.Contains(err.Error(), "isn't a root certificate") || !strings.Contains(err.Error(), file) {
		t.Errorf("an intermediate: %v", err)
	}
}
