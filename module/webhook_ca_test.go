// SPDX-License-Identifier: Apache-2.0

package module

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestAWebhookCAOfFiles(t *testing.T) {
	dir, own, _ := estFiles(t)
	t.Setenv("ESTRA_DIR", dir)
	t.Setenv("ESTRA_SECRET", "c2l4dGVlbiBieXRlcyBsb25nIQ==")
	u := &WebhookCA{
		addressOptions: addressOptions{URL: "https://ca.example", Root: "{env.ESTRA_DIR}/root.pem"},
		clientOptions:  clientOptions{TLSRoot: "{env.ESTRA_DIR}/root.pem", Certificate: "{env.ESTRA_DIR}/ra.pem", Key: "{env.ESTRA_DIR}/ra.key"},
		chainOption:    chainOption{Chain: "{env.ESTRA_DIR}/intermediate.pem"},
		Secret:         "{env.ESTRA_SECRET}",
		OwnSerials:     true,
	}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if certs, err := u.CACerts(t.Context()); err != nil || len(certs) != 2 || u.Identity() != "webhook https://ca.example" || len(u.Pins()) != 1 {
		t.Errorf("%d certificates of %s: %v", len(certs), u.Identity(), err)
	}
	if end := u.Expiries()["ra_certificate"]; !end.Equal(own.Leaf.NotAfter) {
		t.Errorf("it ends on %s, want %s", end, own.Leaf.NotAfter)
	}
	if can := u.CarriesAsWritten(); can.Serial || !can.Subject || !can.Extensions {
		t.Errorf("it carries %+v", can)
	}
}

func TestAWebhookCASaysWhatToWrite(t *testing.T) {
	dir, _, _ := estFiles(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	const good = "c2l4dGVlbiBieXRlcyBsb25nIQ=="
	for name, c := range map[string]struct {
		change func(*WebhookCA)
		want   string
	}{
		"no root":                {func(u *WebhookCA) { u.Root = "" }, "upstream webhook needs `root FILE`"},
		"no secret":              {func(u *WebhookCA) { u.Secret = "" }, "needs one of `secret S` and `secret_file FILE`"},
		"two secrets":            {func(u *WebhookCA) { u.SecretFile = at("ra.key") }, "needs one of `secret S` and `secret_file FILE`"},
		"a short secret":         {func(u *WebhookCA) { u.Secret = "aHVudGVyMg==" }, "not base64 of at least 16 bytes"},
		"a file without one":     {func(u *WebhookCA) { u.Secret, u.SecretFile = "", at("none.pem") }, "none.pem: the secret is not base64"},
		"an address without TLS": {func(u *WebhookCA) { u.URL = "http://ca.example" }, "isn't an https URL: write https://HOST"},
		"an address with a path": {func(u *WebhookCA) { u.URL = "https://ca.example/sign" }, "more than a host and a port"},
		"a key alone":            {func(u *WebhookCA) { u.Key = at("ra.key") }, "write both, or none"},
		"a chain that isn't":     {func(u *WebhookCA) { u.Chain = at("none.pem") }, "chain: "},
		"a TLS root that isn't":  {func(u *WebhookCA) { u.TLSRoot = at("none.pem") }, "tls_root: "},
	} {
		u := &WebhookCA{addressOptions: addressOptions{URL: "https://ca.example", Root: at("root.pem")}, Secret: good}
		c.change(u)
		if err := u.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "aHVudGVyMg") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
