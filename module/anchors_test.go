// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/ratest"
)

// A certificate that its CA has revoked vouches for nobody, whatever the
// operation.
func TestAnAnchorOfAnUpstreamAsksItsCRL(t *testing.T) {
	upstream := ratest.NewCA(t)
	known := upstream.Known("step_ca")
	known.UseCRL = true
	h := &Handler{upstreams: map[string]*authority{"step_ca": {ca: known}}}
	made, err := h.loadAnchor(AnchorConfig{Name: ours, Upstream: "step_ca"})
	if err != nil {
		t.Fatal(err)
	}
	good := upstream.Intermediate.Device(t, "good.example").Leaf
	bad := upstream.Intermediate.Device(t, "bad.example").Leaf
	if err := upstream.Revoke(t.Context(), bad, 1); err != nil {
		t.Fatal(err)
	}
	if revoked, err := made.Revocation.Revoked(t.Context(), []*x509.Certificate{good}, time.Now()); revoked != nil || err != nil {
		t.Errorf("a good certificate: %v, %v", revoked, err)
	}
	if revoked, err := made.Revocation.Revoked(t.Context(), []*x509.Certificate{bad}, time.Now()); revoked == nil || err != nil {
		t.Errorf("a revoked certificate: %v, %v", revoked, err)
	}
	known.UseCRL = false
	if revoked, err := made.Revocation.Revoked(t.Context(), []*x509.Certificate{bad}, time.Now()); revoked != nil || err != nil {
		t.Errorf("without a CRL that is asked: %v, %v", revoked, err)
	}
}

// A trust file that is missing or empty means nobody's roots, and never the
// system's (CVE-2026-27586).
func TestThreat_AMissingOrEmptyTrustFileStopsTheStart(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, filepath.Join(t.TempDir(), "gone.pem")} {
		if _, err := new(Handler).loadAnchor(AnchorConfig{Name: "idevid", Files: []string{file}}); err == nil || !strings.Contains(err.Error(), filepath.Base(file)) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestAnchorsOfFilesTellWhenTheyEnd(t *testing.T) {
	first := ratest.NewRoot(t, "One")
	early := first.Device(t, "early", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) }).Leaf
	name := filepath.Join(t.TempDir(), "x.pem")
	var data []byte
	for _, c := range []*x509.Certificate{first.Certificate, early} {
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	h := &Handler{}
	if _, err := h.loadAnchor(AnchorConfig{Name: "idevid", Files: []string{name}}); err != nil {
		t.Fatal(err)
	}
	if ends := h.files[0].expiries(); len(ends) != 1 || !ends["anchor/idevid"].Equal(early.NotAfter) {
		t.Errorf("%v", ends)
	}
	if reasons, shut := h.files[0].failures(time.Now()); len(reasons) > 0 || shut {
		t.Errorf("%q", reasons)
	}
}

func TestMistakesInRevocationStopTheStart(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.pem")
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ratest.NewRoot(t, "One").Certificate.Raw})
	if err := os.WriteFile(name, root, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, cfg := range map[string]AnchorConfig{
		`revocation "never" is none of`:                   {OCSP: "http://x", Revocation: "never"},
		"revocation require: there is nobody to ask":      {Revocation: "require"},
		"revocation prefer: there is nobody to ask":       {Revocation: "prefer"},
		"crl missing.crl: ":                               {CRL: []string{"missing.crl"}},
		"crl ldap://x/y: this is no address":              {CRL: []string{"ldap://x/y"}},
		"crl http://u:p@x/y: this is no address":          {CRL: []string{"http://u:p@x/y"}},
		"ocsp x.example: this is no address":              {OCSP: "x.example"},
		"ocsp ftp://x: this is no address":                {OCSP: "ftp://x", Revocation: "off"},
		"an anchor is either files or an upstream":        {Upstream: "internal", OCSP: "http://x"},
		"an anchor is either files or an upstream (whose": {Upstream: "internal", Revocation: "off"},
	} {
		cfg.Name, cfg.Files = "a", []string{name}
		if _, err := (&Handler{}).loadAnchor(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
