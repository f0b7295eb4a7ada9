// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	protocol "github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/acme"
)

// withStorage is a configuration of Caddy with a storage.
func withStorage(t *testing.T) caddy.Context {
	t.Helper()
	storage, err := json.Marshal(map[string]string{"module": "file_system", "root": t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{StorageRaw: storage, AppsRaw: caddy.ModuleMap{"tls": json.RawMessage("{}")}})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func TestAnACMEOfFiles(t *testing.T) {
	dir, _, _ := estFiles(t)
	t.Setenv("ESTRA_DIR", dir)
	t.Setenv("ESTRA_MAC", "c2VjcmV0LXNlY3JldA")
	u := &ACME{
		addressOptions: addressOptions{URL: "https://ca.example/directory", Root: "{env.ESTRA_DIR}/root.pem"}, chainOption: chainOption{Chain: "{env.ESTRA_DIR}/root.pem"},
		Contact: []string{"ra@example.net"}, EAB: &ACMEBinding{"kid-1", "{env.ESTRA_MAC}"}, Lifetime: caddy.Duration(90 * 24 * time.Hour),
	}
	ctx := withStorage(t)
	if err := u.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	if len(u.Pins()) != 1 || u.Identity() != "acme https://ca.example/directory" || u.IssueTimeout() != 50*time.Second || u.Expiries() != nil || u.CRLEnabled() {
		t.Errorf("%d roots, %q, %s", len(u.Pins()), u.Identity(), u.IssueTimeout())
	}
	if can := u.CarriesAsWritten(); !can.PassesName(csr.DNS) || can.Name(csr.DNS) || can.PassesName(csr.IP) || can.PassesAttribute("2.5.4.3") {
		t.Errorf("%+v", can)
	}
	if u.Needs(90*24*time.Hour) != nil || u.Needs(24*time.Hour) == nil || u.NoOwn() == nil {
		t.Error("a policy that is too short, or this server's own certificate")
	}
	written, err := json.Marshal(u)
	if err != nil || strings.Contains(string(written), "c2VjcmV0") || !strings.Contains(string(written), "{env.ESTRA_MAC}") {
		t.Errorf("%s, %v", written, err)
	}
	for name, c := range map[string]struct {
		change func(*ACME)
		want   string
	}{
		"a MAC key that is none": {func(u *ACME) {
			t.Setenv("ESTRA_MAC", "hunter2 hunter2")
			u.EAB = &ACMEBinding{"kid", "{env.ESTRA_MAC}"}
		}, "eab: the MAC key isn't base64url"},
		"no MAC key":               {func(u *ACME) { u.EAB = &ACMEBinding{"kid", "{env.ESTRA_NONE}"} }, "eab"},
		"no chain":                 {func(u *ACME) { u.Chain = "nowhere.pem" }, "chain: "},
		"no tls_root":              {func(u *ACME) { u.TLSRoot = "nowhere.pem" }, "tls_root: "},
		"no TLS":                   {func(u *ACME) { u.URL = "http://ca.example/directory" }, "write https://HOST/DIRECTORY"},
		"a DNS provider of nobody": {func(u *ACME) { u.DNS = &ACMEDNS{ProviderRaw: json.RawMessage(`{"name": "nobody"}`)} }, "nobody"},
	} {
		broken := &ACME{addressOptions: addressOptions{URL: "https://ca.example/directory", Root: filepath.Join(dir, "root.pem")}}
		c.change(broken)
		if err := broken.Provision(ctx); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAccountIsKeptForAllServersOfAStorage(t *testing.T) {
	dir := t.TempDir()
	storage := &certmagic.FileStorage{Path: dir}
	for _, file := range []accountFile{
		newAccountFile(storage, "https://ca.example/directory", nil), newAccountFile(storage, "https://ca.example/directory", &acme.EAB{KeyID: "../kid"}),
		newAccountFile(storage, "https://ca.example/other", nil),
	} {
		if text, err := file.Load(t.Context()); text != nil || err != nil {
			t.Errorf("%s has %d bytes: %v", file.key, len(text), err)
		}
		unlock, err := file.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		busy, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := file.Lock(busy); err == nil {
			t.Error("it is locked twice")
		}
		cancel()
		unlock()
		if err := file.Store(t.Context(), secret.Bytes(file.key)); err != nil {
			t.Fatal(err)
		}
		if text, err := file.Load(t.Context()); string(text) != file.key || err != nil {
			t.Errorf("%q: %v", string(text), err)
		}
		info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(file.key)))
		if err != nil || info.Mode().Perm() != 0o600 || !strings.HasPrefix(file.key, "est/acme/ca.example-") {
			t.Errorf("%s: %v, %v", file.key, info, err)
		}
	}
}

// An answer stands where each ACME issuer of this server would put its own.
func TestAnAnswerIsWhereCaddyLooksForIt(t *testing.T) {
	ctx := withStorage(t)
	app, err := ctx.App("tls")
	if err != nil {
		t.Fatal(err)
	}
	tls, ok := app.(*caddytls.TLS)
	if !ok {
		t.Fatalf("%T", app)
	}
	err = tls.AddAutomationPolicy(&caddytls.AutomationPolicy{IssuersRaw: []json.RawMessage{
		json.RawMessage(`{"module": "acme", "ca": "https://ca.example/directory"}`), json.RawMessage(`{"module": "internal"}`),
	}})
	if err != nil {
		t.Fatal(err)
	}
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	s := &httpSolver{ctx, storage}
	c := protocol.Challenge{Type: acme.HTTP01, Token: "abc", KeyAuthorization: "abc.def", Identifier: protocol.Identifier{Type: "dns", Value: "plc-1.example"}}
	if err := s.Present(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	keys, err := s.keys("plc-1.example")
	if err != nil || len(keys) != 2 {
		t.Fatalf("%v, %v", keys, err)
	}
	for _, key := range []string{"acme/ca.example-directory/challenge_tokens/plc-1.example.json", "acme/acme-v02.api.letsencrypt.org-directory/challenge_tokens/plc-1.example.json"} {
		text, err := storage.Load(t.Context(), key)
		if err != nil || !strings.Contains(string(text), `"keyAuthorization":"abc.def"`) {
			t.Errorf("%s: %s, %v", key, text, err)
		}
	}
	for range 2 { // the second time nothing is there
		if err := s.CleanUp(t.Context(), c); err != nil {
			t.Error(err)
		}
	}
	for _, key := range keys {
		if storage.Exists(t.Context(), key) {
			t.Errorf("%s is left", key)
		}
	}
	release, err := s.Hold(t.Context(), []string{"a.example", "b.example"})
	if err != nil {
		t.Fatal(err)
	}
	busy, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Hold(busy, []string{"0.example", "b.example"}); err == nil {
		t.Error("one name is held twice")
	}
	release()
	if again, err := s.Hold(t.Context(), []string{"0.example", "b.example"}); err != nil {
		t.Error(err)
	} else {
		again()
	}
}
