// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/secret"
)

func TestThreat_AMACKeyIsInNoError(t *testing.T) {
	for _, text := range []string{"", "\n", "hunter2 hunter2", "=", "a+b/"} {
		if key, err := ParseMACKey([]byte(text)); err == nil || len(strings.TrimSpace(text)) > 1 && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %d bytes, %v", text, len(key), err)
		}
	}
	if key, err := ParseMACKey([]byte(" aGk= \n")); err != nil || string(key) != "hi" {
		t.Error(err)
	}
}

func FuzzParseMACKey(f *testing.F) {
	f.Add([]byte("aGk="))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := ParseMACKey(text); err == nil && len(key) == 0 {
			t.Error("neither a key nor an error")
		}
	})
}

func FuzzParseAccount(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	text, err := formatAccount(key, "https://ca.example/account/7")
	if err != nil {
		f.Fatal(err)
	}
	if again, url, err := parseAccount(text); err != nil || url != "https://ca.example/account/7" || !key.Equal(again) {
		f.Fatalf("%q, %v", url, err)
	}
	f.Add([]byte(text))
	f.Add([]byte(`{"key":"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"}`))
	f.Add(bytes.Replace(text, []byte("PRIVATE"), []byte("PUBLIC"), 2))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, _, err := parseAccount(secret.Bytes(text)); err == nil && key == nil {
			t.Error("neither a key nor an error")
		}
	})
}
