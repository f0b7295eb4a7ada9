// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-est/estra/ra/upstream"
)

func FuzzParseJWK(f *testing.F) {
	f.Add([]byte(`{"kty":"oct","k":"AAAA"}`))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"AA","y":"AA","d":"AA"}`))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"","d":""}`))
	f.Add([]byte(`eyJhbGciOiJkaXIifQ....`))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, err := ParseJWK(data, nil)
		if err == nil && (key.KeyID == "" || key.IsPublic()) {
			t.Errorf("%q gave the key %v", data, key.KeyID)
		}
	})
}

func FuzzParseX5C(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, certs, key []byte) {
		if x, err := ParseX5C(certs, key); err == nil && (len(x.Chain) == 0 || x.Key == nil) {
			t.Error("neither a credential nor an error")
		}
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"crt":"","certChain":["-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]}`))
	f.Add([]byte(`{"certChain":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		u := &Upstream{client: newClient([]*url.URL{{Scheme: "https", Host: "ca.example"}}, Config{MaxConns: 1})}
		if got, err := u.issued(body); err == nil && got.Certificate == nil {
			t.Error("neither a certificate nor an error")
		}
	})
}

func FuzzWords(f *testing.F) {
	f.Add([]byte(`{"message":"no\nway"}`), "a.b.c")
	f.Add([]byte("\x1b[31m\xff\u2028"+strings.Repeat("é", 600)), "")
	f.Fuzz(func(t *testing.T, body []byte, token string) {
		line := words(body, token)
		if line == "" || len(line) > upstream.MaxText+len("…") || !utf8.ValidString(line) {
			t.Errorf("%d bytes of %q", len(line), line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("%q isn't printable", line)
		}
	})
}
