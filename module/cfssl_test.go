// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestCFSSLOfFiles(t *testing.T) {
	dir, own, _ := estFiles(t)
	t.Setenv("ESTRA_DIR", dir)
	t.Setenv("ESTRA_KEY", "00ff")
	u := &CFSSL{
		addressOptions: addressOptions{URL: "https://cfssl.example:8888", Root: "{env.ESTRA_DIR}/root.pem"},
		clientOptions:  clientOptions{TLSRoot: "{env.ESTRA_DIR}/root.pem", Certificate: "{env.ESTRA_DIR}/ra.pem", Key: "{env.ESTRA_DIR}/ra.key"},
		chainOption:    chainOption{Chain: "{env.ESTRA_DIR}/intermediate.pem"},
		AuthKey:        "{env.ESTRA_KEY}",
		Label:          "plant",
		OurSerials:     true,
	}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if want := "cfssl https://cfssl.example:8888 plant"; u.Identity() != want {
		t.Errorf("identity %q, want %q", u.Identity(), want)
	}
	if end := u.Expiries()["ra_certificate"]; !end.Equal(own.Leaf.NotAfter) {
		t.Errorf("it ends on %s, want %s", end, own.Leaf.NotAfter)
	}
	if can := u.CarriesAsWritten(); !can.Serial || can.Subject || !can.Attribute("2.5.4.3") {
		t.Errorf("it carries %+v", can)
	}
}

func TestCFSSLSaysWhatToWrite(t *testing.T) {
	dir, _, _ := estFiles(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, c := range map[string]struct {
		change func(*CFSSL)
		want   string
	}{
		"no root":                        {func(u *CFSSL) { u.Root = "" }, "cfssl needs `root FILE`"},
		"no key":                         {func(u *CFSSL) { u.AuthKey = "" }, "`auth_key KEY` or `auth_key_file FILE`"},
		"two keys":                       {func(u *CFSSL) { u.AuthKeyFile = at("ra.key") }, "`auth_key KEY` or `auth_key_file FILE`"},
		"a key that isn't hexadecimal":   {func(u *CFSSL) { u.AuthKey = "hunter2" }, "auth_key: the key isn't hexadecimal"},
		"a key file that isn't":          {func(u *CFSSL) { u.AuthKey, u.AuthKeyFile = "", at("none.pem") }, "none.pem: the key isn't hexadecimal"},
		"no such key file":               {func(u *CFSSL) { u.AuthKey, u.AuthKeyFile = "", at("absent") }, "auth_key_file"},
		"an address without TLS":         {func(u *CFSSL) { u.URL = "http://cfssl.example" }, "isn't an https URL: write https://HOST:8888; CFSSL serves TLS with -tls-cert"},
		"a certificate alone":            {func(u *CFSSL) { u.Certificate = at("ra.pem") }, "write both, or none"},
		"files that are no pair":         {func(u *CFSSL) { u.Certificate, u.Key = at("ra.pem"), at("device.key") }, "does not match"},
		"a chain that isn't":             {func(u *CFSSL) { u.Chain = at("none.pem") }, "chain: "},
		"a TLS root that isn't":          {func(u *CFSSL) { u.TLSRoot = at("none.pem") }, "tls_root: "},
		"an intermediate as root":        {func(u *CFSSL) { u.Root = at("intermediate.pem") }, "isn't a root certificate"},
		"a placeholder that isn't there": {func(u *CFSSL) { u.AuthKey = "{env.ESTRA_NONE}" }, "auth_key: "},
	} {
		u := &CFSSL{addressOptions: addressOptions{URL: "https://cfssl.example:8888", Root: at("root.pem")}, AuthKey: "00ff"}
		c.change(u)
		if err := u.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestACredentialIsReadAgainWhenItsFileChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	save := func(text string, age time.Duration) {
		t.Helper()
		when := time.Now().Add(-age)
		if err := errors.Join(os.WriteFile(file, []byte(text), 0o600), os.Chtimes(file, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	save("one", time.Hour)
	read := 0
	c, err := newChanging(func(texts [][]byte) (string, error) {
		if read++; string(texts[0]) == "bad" {
			return "", errors.New("it can't be taken")
		}
		return string(texts[0]), nil
	}, file)
	if err != nil || c.now() != "one" || c.now() != "one" || read != 1 {
		t.Fatalf("%v, read %d times", err, read)
	}
	for _, step := range []struct {
		text string
		want string
	}{{"two", "two"}, {"bad", "two"}, {"six", "six"}} {
		save(step.text, time.Duration(len(step.want)+read)*time.Minute)
		if got := c.now(); got != step.want {
			t.Errorf("%s in the file gives %s", step.text, got)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if c.now() != "six" {
		t.Error("without the file, what it said isn't kept")
	}
	if _, err := newChanging(func([][]byte) (string, error) { return "", nil }, file); err == nil {
		t.Error("a file that isn't there is no error at first")
	}
}
