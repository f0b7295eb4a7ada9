// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestAnEJBCASaysWhatToWrite(t *testing.T) {
	dir, _, _ := estFiles(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	t.Setenv("ESTRA_DIR", dir)
	for name, c := range map[string]struct {
		change func(*EJBCA)
		want   string
	}{
		"nothing is wrong":            {func(*EJBCA) {}, ""},
		"a placeholder":               {func(u *EJBCA) { u.Root = "{env.ESTRA_DIR}/root.pem" }, ""},
		"no root":                     {func(u *EJBCA) { u.Root = "" }, "ejbca needs `root FILE`"},
		"no CA":                       {func(u *EJBCA) { u.CA = "" }, "ejbca needs `ca NAME`"},
		"no end entity profile":       {func(u *EJBCA) { u.EndEntityProfile = "" }, "`end_entity_profile NAME`"},
		"an address without https":    {func(u *EJBCA) { u.URL = "http://ejbca.example:8080" }, "the port at which EJBCA asks for client certificates"},
		"a certificate alone":         {func(u *EJBCA) { u.Key = "" }, "write both, or none"},
		"an intermediate as root":     {func(u *EJBCA) { u.Root = at("intermediate.pem") }, "isn't a root certificate"},
		"a TLS root that is none":     {func(u *EJBCA) { u.TLSRoot = at("none.pem") }, "tls_root: "},
		"a key of another":            {func(u *EJBCA) { u.Key = at("device.key") }, "does not match"},
		"this server's own":           {func(u *EJBCA) { u.Certificate, u.Key = "", "" }, ""},
		"connections that can't be":   {func(u *EJBCA) { u.MaxConnections = -1 }, "-1 connections"},
		"a time-out that is negative": {func(u *EJBCA) { u.Timeout = -1 }, "timeout -1ns"},
	} {
		u := &EJBCA{
			addressOptions:     addressOptions{URL: "https://ejbca.example:8443", Root: at("root.pem")},
			clientOptions:      clientOptions{Certificate: at("ra.pem"), Key: at("ra.key")},
			CA:                 "Devices",
			CertificateProfile: "c",
			EndEntityProfile:   "e",
		}
		c.change(u)
		err := u.Provision(caddy.Context{})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestAnEJBCAMayBeShownOurOwnCertificate(t *testing.T) {
	dir, own, _ := estFiles(t)
	u := &EJBCA{addressOptions: addressOptions{URL: "https://ejbca.example:8443", Root: filepath.Join(dir, "root.pem")}, crlOption: crlOption{AskCRL: true}, CA: "Devices", CertificateProfile: "c", EndEntityProfile: "e"}
	if err := u.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if !u.WantsOwn() || u.BoundByOwn() || u.Expiries() != nil || len(u.Pins()) != 1 || !u.CRLEnabled() || u.Connections() != 16 {
		t.Error("it is shown our own certificate, which bounds nothing")
	}
	if want := "ejbca https://ejbca.example:8443 Devices"; u.Identity() != want {
		t.Errorf("identity %q, want %q", u.Identity(), want)
	}
	if _, err := u.ownCertificate(); err == nil {
		t.Error("nobody has given one")
	}
	u.UseOwn(func() (*tls.Certificate, error) { return &own, nil })
	if got, err := u.ownCertificate(); err != nil || got != &own {
		t.Errorf("%v", err)
	}
	// Two calls and a look have their time.
	if u.IssueTimeout() != 30*time.Second || (&EJBCA{addressOptions: addressOptions{Timeout: caddy.Duration(time.Second)}}).IssueTimeout() != 3*time.Second {
		t.Error(u.IssueTimeout())
	}
	if u.CarriesAsWritten().Extensions || !(&EJBCA{Extensions: true}).CarriesAsWritten().Extensions {
		t.Error("extensions are carried where the profile has them")
	}
}
