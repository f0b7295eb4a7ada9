// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/upstream/vault"
)

func TestAVaultOfFiles(t *testing.T) {
	dir, _, _ := estFiles(t)
	t.Setenv("ESTRA_DIR", dir)
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("6a174c20-f6de\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	u := &Vault{
		addressOptions: addressOptions{URL: "https://vault.example:8200", Root: "{env.ESTRA_DIR}/root.pem"},
		clientOptions:  clientOptions{Certificate: "{env.ESTRA_DIR}/ra.pem", Key: "{env.ESTRA_DIR}/ra.key"},
		crlOption:      crlOption{AskCRL: true},
		vaultLogin:     vaultLogin{AppRole: "db02de05", SecretIDFile: "{env.ESTRA_DIR}/secret"},
		Namespace:      "team",
		Mount:          "pki/int",
		Issuer:         "ca-7",
		Role:           "est-ra",
		CEL:            true,
	}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if want := "vault https://vault.example:8200 team pki/int ca-7"; u.Identity() != want {
		t.Errorf("identity %q, want %q", u.Identity(), want)
	}
	if u.Expiries()["ra_certificate"].IsZero() || u.WantsOwn() || len(u.Pins()) != 1 || !u.CRLEnabled() {
		t.Error("it has a certificate of a file, a root, and a CRL")
	}
	if can := u.Carries(); !can.Extensions || can.Serial {
		t.Errorf("it carries %+v", can)
	}
	if text := fmt.Sprintf("%v %+v %#v", u, u, *u); strings.Contains(text, "6a174c20") {
		t.Error("the secret is shown")
	}
}

// A credential that has changed counts without a new configuration.
func TestSecretsAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "token")
	put := func(text string, age time.Duration) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(-age)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	put("one", time.Hour)
	file, err := secretFile("token_file", name)
	if err != nil {
		t.Fatal(err)
	}
	placed, err := placeholder("token", "{file."+name+"}", vault.ParseSecret)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"one", "two"} {
		if i > 0 {
			put(want+"\n", 0)
		}
		for _, get := range []func() (string, error){
			func() (string, error) { got, err := file(); return string(got), err },
			func() (string, error) { got, err := placed(); return string(got), err },
		} {
			if got, err := get(); got != want || err != nil {
				t.Errorf("%q %v, want %q", got, err, want)
			}
		}
	}
}

func TestAVaultSaysWhatToWrite(t *testing.T) {
	dir, _, _ := estFiles(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	t.Setenv("ESTRA_TOKEN", "hvs.x")
	for name, c := range map[string]struct {
		change func(*Vault)
		want   string
	}{
		"nothing is wrong":            {func(*Vault) {}, ""},
		"no root":                     {func(u *Vault) { u.Root = "" }, "vault needs `root FILE`"},
		"no role":                     {func(u *Vault) { u.Role = "" }, "vault needs `role NAME`"},
		"no role for verbatim":        {func(u *Vault) { u.Role, u.Verbatim = "", true }, ""},
		"two ways to sign":            {func(u *Vault) { u.CEL, u.Verbatim = true, true }, "write one of them"},
		"no login":                    {func(u *Vault) { u.Token = "" }, "one way to log in"},
		"two logins":                  {func(u *Vault) { u.Cert = true }, "one way to log in"},
		"a token in clear":            {func(u *Vault) { u.Token = "hvs.secret" }, "`token` takes a placeholder"},
		"a secret_id in clear":        {func(u *Vault) { u.Token, u.AppRole, u.SecretID = "", "a", "s" }, "`secret_id` takes a placeholder"},
		"an empty placeholder":        {func(u *Vault) { u.Token = "{env.ESTRA_NONE}" }, "token: "},
		"AppRole without a secret":    {func(u *Vault) { u.Token, u.AppRole = "", "a" }, "`approle` needs"},
		"a secret without AppRole":    {func(u *Vault) { u.SecretID = "{env.ESTRA_TOKEN}" }, "a secret_id is for `approle`"},
		"a JWT without Kubernetes":    {func(u *Vault) { u.JWTFile = "x" }, "`jwt_file` is for `kubernetes`"},
		"no such JWT":                 {func(u *Vault) { u.Token, u.Kubernetes, u.JWTFile = "", "r", at("absent") }, "jwt_file " + at("absent")},
		"no such token":               {func(u *Vault) { u.Token, u.TokenFile = "", at("absent") }, "token_file " + at("absent")},
		"a token of several lines":    {func(u *Vault) { u.Token, u.TokenFile = "", at("root.pem") }, "more than one word"},
		"an address without https":    {func(u *Vault) { u.URL = "http://vault.example:8200" }, "would show our token to everybody"},
		"a certificate alone":         {func(u *Vault) { u.Certificate = at("ra.pem") }, "write both, or none"},
		"an intermediate as root":     {func(u *Vault) { u.Root = at("intermediate.pem") }, "isn't a root certificate"},
		"a TLS root that is none":     {func(u *Vault) { u.TLSRoot = at("none.pem") }, "tls_root: "},
		"a role that is a path":       {func(u *Vault) { u.Role = "a/b" }, `the role "a/b"`},
		"a login by our certificate":  {func(u *Vault) { u.Token, u.Cert = "", true }, ""},
		"a login by one of two files": {func(u *Vault) { u.Token, u.Cert, u.Certificate, u.Key = "", true, at("ra.pem"), at("device.key") }, "does not match"},
	} {
		u := &Vault{addressOptions: addressOptions{URL: "https://vault.example:8200", Root: at("root.pem")}, vaultLogin: vaultLogin{Token: "{env.ESTRA_TOKEN}"}, Role: "est-ra"}
		c.change(u)
		err := u.Provision(caddy.Context{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestAVaultMayBeShownOurOwnCertificate(t *testing.T) {
	dir, own, _ := estFiles(t)
	u := &Vault{addressOptions: addressOptions{URL: "https://vault.example:8200", Root: filepath.Join(dir, "root.pem")}, vaultLogin: vaultLogin{Cert: true}, Verbatim: true}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if !u.WantsOwn() || u.BoundByOwn() {
		t.Error("it is shown to the server, which doesn't bound what it issues")
	}
	if _, err := u.ownCertificate(); err == nil {
		t.Error("nobody has given one")
	}
	u.UseOwn(func() (*tls.Certificate, error) { return &own, nil })
	if got, err := u.ownCertificate(); err != nil || got != &own {
		t.Errorf("%v", err)
	}
}

func TestAVaultCarriesWhatItsModeDoes(t *testing.T) {
	for mode, want := range map[*Vault]func(policy.Capabilities) bool{
		{}:               func(c policy.Capabilities) bool { return c.Alone && c.Attribute("2.5.4.3") && !c.Extensions },
		{CEL: true}:      func(c policy.Capabilities) bool { return c.Alone && c.SAN && c.Extensions },
		{Verbatim: true}: func(c policy.Capabilities) bool { return c.Verbatim && !c.Attribute("2.5.4.3") },
	} {
		if can := mode.CarriesAsWritten(); !want(can) || can.Serial {
			t.Errorf("%+v carries %+v", mode, can)
		}
	}
}
