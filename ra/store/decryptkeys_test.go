// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/secret"
)

func TestASealedKeyOpensForItsDeviceAlone(t *testing.T) {
	key := secret.Text(strings.Repeat("0a", 32))
	s, err := NewSealer(key)
	if err != nil {
		t.Fatal(err)
	}
	plain := bytes.Repeat([]byte{7}, 32)
	password := PFXPassword()
	password.Value = bytes.Clone(plain)
	list := []Device{{Issuer: "aa", Identity: "serialNumber:1", Keys: []DecryptKey{
		{ID: []byte("k"), Value: bytes.Clone(plain)}, {ID: []byte("p"), Asymmetric: true, Value: []byte("public")}, password,
	}}}
	if err := s.Seal("routers", list); err != nil {
		t.Fatal(err)
	}
	sealed := list[0].Keys[0]
	if bytes.Contains(sealed.Value, plain) || string(list[0].Keys[1].Value) != "public" {
		t.Errorf("sealed: %x, %x", []byte(sealed.Value), []byte(list[0].Keys[1].Value))
	}
	if got, err := s.Open("routers/aa/serialNumber:1", sealed); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("opened: %v", err)
	}
	if kept := list[0].Keys[2]; bytes.Contains(kept.Value, plain) {
		t.Errorf("a password was kept in clear: %x", []byte(kept.Value))
	} else if got, err := s.Open("routers/aa/serialNumber:1", kept); err != nil || !bytes.Equal(got, plain) {
		t.Errorf("the password: %v", err)
	}
	other, _ := NewSealer(secret.Text(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{1}, 32))))
	for name, open := range map[string]func() (secret.Bytes, error){
		"another device": func() (secret.Bytes, error) { return s.Open("routers/aa/serialNumber:2", sealed) },
		"another identifier": func() (secret.Bytes, error) {
			return s.Open("routers/aa/serialNumber:1", DecryptKey{ID: []byte("l"), Value: sealed.Value})
		},
		"a password as a key": func() (secret.Bytes, error) {
			return s.Open("routers/aa/serialNumber:1", DecryptKey{ID: PFXPassword().ID, Value: list[0].Keys[2].Value})
		},
		"another key": func() (secret.Bytes, error) { return other.Open("routers/aa/serialNumber:1", sealed) },
		"no key":      func() (secret.Bytes, error) { return Sealer{}.Open("routers/aa/serialNumber:1", sealed) },
		"what was cut short": func() (secret.Bytes, error) {
			return s.Open("routers/aa/serialNumber:1", DecryptKey{ID: sealed.ID, Value: sealed.Value[:5]})
		},
	} {
		if got, err := open(); err == nil || got != nil {
			t.Errorf("%s: opened", name)
		}
	}
	if err := (Sealer{}).Seal("routers", []Device{{Keys: []DecryptKey{{ID: []byte("k"), Value: plain}}}}); err == nil {
		t.Error("a key was kept in clear")
	}
	for _, wrong := range []secret.Text{"", "abc", secret.Text(strings.Repeat("0a", 16)), secret.Text(base64.StdEncoding.EncodeToString(make([]byte, 31)))} {
		if _, err := NewSealer(wrong); err == nil || strings.Contains(err.Error(), string(wrong)) && wrong != "" {
			t.Errorf("a key of %d characters: %v", len(wrong), err)
		}
	}
}

func TestReadDevicesReadsKeys(t *testing.T) {
	public, _, _ := ed25519.GenerateKey(rand.Reader)
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	aes, pub := base64.StdEncoding.EncodeToString(make([]byte, 32)), base64.StdEncoding.EncodeToString(spki)
	head := "serial_number,decrypt_key_id,decrypt_key,asymm_decrypt_key_id,asymm_decrypt_key,pkcs12_password\n"
	for name, c := range map[string]struct {
		line string
		keys int
		err  string
	}{
		"both":                      {"1,6B:31," + aes + ",0102," + pub, 2, ""},
		"one":                       {"1,6b31," + aes + ",,", 1, ""},
		"none":                      {"1,,,,", 0, ""},
		"a password":                {"1,,,,,0123456789abcdef", 1, ""},
		"a password beside a key":   {"1,6b31," + aes + ",,,0123456789abcdef", 2, ""},
		"a short password":          {"1,,,,,0123456789abcde", 0, "pkcs12_password"},
		"a long password":           {"1,,,,," + strings.Repeat("x", 129), 0, "pkcs12_password"},
		"a password with a space":   {"1,,,,,0123456789abc ef", 0, "printable ASCII"},
		"a password beyond ASCII":   {"1,,,,,0123456789abcdéf", 0, "printable ASCII"},
		"an identifier alone":       {"1,6b31,,,", 0, "decrypt_key_id stands without decrypt_key"},
		"a key alone":               {"1,," + aes + ",,", 0, "identifier"},
		"a public key alone":        {"1,,,," + pub, 0, "identifier"},
		"a key of another length":   {"1,6b31,AAAA,,", 0, "AES"},
		"no base64":                 {"1,6b31,%%,,", 0, "base64"},
		"no hexadecimal":            {"1,xy," + aes + ",,", 0, "hexadecimal"},
		"no certificate and no key": {"1,,,01,AAAA", 0, "neither a certificate"},
	} {
		if strings.Count(c.line, ",") == 4 {
			c.line += ","
		}
		list, err := ReadDevices(strings.NewReader(head+c.line+"\n"), "aa")
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), aes) || strings.Contains(err.Error(), "0123456789abc") {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || len(list) != 1 || len(list[0].Keys) != c.keys {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
}
