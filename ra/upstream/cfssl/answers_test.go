// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
)

// answering is a server whose answers are written here, for what no CFSSL does
// on demand: /info is right, and everything else is this.
func answering(t *testing.T, status int, text string, change ...func(*Config)) *Upstream {
	t.Helper()
	signer := ratest.NewRoot(t, "CFSSL Test Root")
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == infoPath && status != 0 {
			text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signer.Certificate.Raw}))
			_ = json.NewEncoder(w).Encode(map[string]any{"success": true, "result": map[string]any{
				"certificate": text, "usages": []string{"signing", "client auth", "server auth", "nobody's word"}, "expiry": "24h"}})
			return
		}
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(max(status, http.StatusOK))
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	cfg := Config{URL: s.URL, Roots: []*x509.Certificate{s.Certificate()}, Key: func() (secret.Bytes, error) { return ParseKey("00ff") }}
	for _, f := range change {
		f(&cfg)
	}
	u, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func failed(code int, text string) string {
	data, _ := json.Marshal(response{Errors: []message{{code, text}}})
	return string(data)
}

func TestWhatAnAnswerWithoutACertificateMeans(t *testing.T) {
	order := ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true})
	for name, c := range map[string]struct {
		status     int
		text       string
		kind       ra.Kind
		want       string
		credential bool
	}{
		"the policy of CFSSL refuses":     {400, failed(5200, "Invalid or unknown policy"), ra.UpstreamRefused, "answered 400: Invalid or unknown policy (5200)", false},
		"a CSR that it can't read":        {400, failed(9002, "no"), ra.UpstreamRefused, "(9002)", false},
		"a request that it can't read":    {400, failed(400, "Unable to parse sign request"), ra.UpstreamRefused, "(400)", false},
		"an error with a good status":     {200, failed(5200, "no"), ra.UpstreamRefused, "(5200)", false},
		"a token of another key":          {400, failed(400, "invalid token"), ra.UpstreamDown, "invalid token", true},
		"a profile without a key":         {400, failed(400, "no authentication provider"), ra.UpstreamDown, "no authentication provider", true},
		"our certificate isn't for it":    {403, "Invalid CN\n", ra.UpstreamDown, "Invalid CN", true},
		"its key is gone":                 {400, failed(2001, "no key"), ra.UpstreamDown, "(2001)", false},
		"signed, and not recorded":        {400, failed(11100, "insert"), ra.UpstreamTimeout, "couldn't record it", false},
		"another server":                  {404, "404 page not found\n", ra.UpstreamDown, "404 page not found", false},
		"no JSON":                         {200, "hello", ra.UpstreamTimeout, "isn't JSON", false},
		"nothing":                         {200, "{}", ra.UpstreamTimeout, "neither a result nor an error", false},
		"a result of another kind":        {200, `{"success":true,"result":[]}`, ra.UpstreamTimeout, "a result of another kind", false},
		"no certificate":                  {200, `{"success":true,"result":{}}`, ra.UpstreamTimeout, "no certificate in it", false},
		"a certificate that is none":      {200, `{"success":true,"result":{"certificate":"x"}}`, ra.UpstreamTimeout, "can't be read", false},
		"lines that would forge a record": {400, failed(5200, "no\nlevel=info"), ra.UpstreamRefused, `no\nlevel=info`, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := answering(t, c.status, c.text).Issue(t.Context(), order)
			var e *ra.Error
			if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Reason, c.want) || errors.Is(err, ra.ErrCredential) != c.credential {
				t.Errorf("%v, want the kind %v and %q", err, c.kind, c.want)
			}
		})
	}
}

func TestAnInfoThatCantBeReadMakesTheCADown(t *testing.T) {
	order := ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true})
	for _, text := range []string{"", "{}", `{"success":true,"result":{"certificate":"x"}}`, `{"success":true,"result":{"certificate":"x","usages":7}}`, failed(5200, "bad label")} {
		u := answering(t, 0, text)
		for _, err := range []error{func() error { _, err := u.CACerts(t.Context()); return err }(), func() error { _, err := u.Issue(t.Context(), order); return err }()} {
			var e *ra.Error
			if !errors.As(err, &e) || e.Kind != ra.UpstreamDown {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

func TestACRLComesAsBase64InJSON(t *testing.T) {
	on := func(c *Config) { c.CRL = true }
	der, err := answering(t, 200, `{"success":true,"result":"`+base64.StdEncoding.EncodeToString([]byte("DER"))+`"}`, on).CRL(t.Context())
	if err != nil || string(der) != "DER" {
		t.Errorf("%q: %v", der, err)
	}
	for _, text := range []string{`{"success":true,"result":7}`, `{"success":true,"result":""}`, `{"success":true,"result":"?"}`} {
		if der, err := answering(t, 200, text, on).CRL(t.Context()); err == nil {
			t.Errorf("%s gave %q", text, der)
		}
	}
}

func TestAConfigurationThatCantWorkIsRefused(t *testing.T) {
	root := []*x509.Certificate{ratest.NewRoot(t, "Root").Certificate}
	key := func() (secret.Bytes, error) { return nil, nil }
	for want, c := range map[string]Config{
		"isn't an https URL":  {URL: "http://cfssl.example", Roots: root, Key: key},
		"no root certificate": {URL: "https://cfssl.example", Key: key},
		"no key is given":     {URL: "https://cfssl.example", Roots: root},
		"timeout -1s":         {URL: "https://cfssl.example", Roots: root, Key: key, Timeout: -time.Second},
		"backdate -1s":        {URL: "https://cfssl.example", Roots: root, Key: key, Backdate: -time.Second},
		"-1 connections":      {URL: "https://cfssl.example", Roots: root, Key: key, MaxConns: -1},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestThreat_AKeyIsInNoError(t *testing.T) {
	for _, text := range []string{"", " ", "hunter2-hunter2", "00f"} {
		if _, err := ParseKey(text); err == nil || text != "" && text != " " && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("00ff\n")
	f.Fuzz(func(t *testing.T, text string) {
		if key, err := ParseKey(text); err == nil && len(key) == 0 {
			t.Error("neither a key nor an error")
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"certificate":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n","usages":["any"],"expiry":"1h"}`))
	u, err := New(Config{URL: "https://cfssl.example", Roots: []*x509.Certificate{{}}, Key: func() (secret.Bytes, error) { return nil, nil }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, result []byte) {
		if i, err := readInfo(result); err == nil && i.signer == nil {
			t.Error("neither a signer nor an error")
		}
		if got, err := u.issued(result); err == nil && got.Certificate == nil {
			t.Error("neither a certificate nor an error")
		}
	})
}
