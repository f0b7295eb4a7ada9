// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"strings"
	"testing"
)

var secret = []byte("identifiershared secret")

func authenticated(t testing.TB, c Content, p Password, attributes ...Attribute) []byte {
	t.Helper()
	message, err := Authenticate(c, p, attributes...)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func withSecret(secret []byte) func(Content) ([]byte, error) {
	return func(Content) ([]byte, error) { return secret, nil }
}

func verifyMAC(message, secret []byte) (*Verified, error) {
	a, err := ReadAuthenticated(message)
	if err != nil {
		return nil, err
	}
	return a.Verify(withSecret(secret))
}

func TestWhatWasAuthenticatedVerifies(t *testing.T) {
	extra := Attribute{IDUnsignedData, [][]byte{{0x30, 0}}}
	for _, p := range []Password{
		{}, {MAC: crypto.SHA1}, {MAC: crypto.SHA256}, {Iterations: 1}, {Iterations: 2048}, {PWRIKEK: true}, {MAC: crypto.SHA1, PWRIKEK: true, Iterations: 1},
	} {
		t.Run(fmt.Sprint(p), func(t *testing.T) {
			p.Secret = secret
			v, err := verifyMAC(authenticated(t, pkiData, p, extra), secret)
			if err != nil {
				t.Fatal(err)
			}
			if v.Content().Type != IDPKIData || !bytes.Equal(v.Content().Bytes, pkiData.Bytes) || len(v.Signers()) > 0 || len(v.Unsigned()) != 1 {
				t.Errorf("got %+v", v)
			}
		})
	}
}

func TestTheSecretIsLookedUpByTheContent(t *testing.T) {
	a, err := ReadAuthenticated(authenticated(t, pkiData, Password{Secret: secret, Iterations: 1}))
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.Verify(func(c Content) ([]byte, error) {
		if c.Type != IDPKIData || !bytes.Equal(c.Bytes, pkiData.Bytes) {
			t.Errorf("finder gets %+v", c)
		}
		return secret, nil
	})
	if err != nil || v == nil {
		t.Error(err)
	}
	nobody := errors.New("nobody")
	if v, err := a.Verify(func(Content) ([]byte, error) { return nil, nobody }); !errors.Is(err, nobody) || v != nil {
		t.Errorf("the finder's error is lost: %v", err)
	}
	for _, wrong := range [][]byte{nil, {}, []byte("another")} {
		if v, err := a.Verify(withSecret(wrong)); !errors.Is(err, ErrVerify) || v != nil {
			t.Errorf("secret %q: %v", wrong, err)
		}
	}
}

func TestAChangedByteIsSeen(t *testing.T) {
	message := authenticated(t, pkiData, Password{Secret: secret, Iterations: 1})
	for at := range message {
		changed := bytes.Clone(message)
		changed[at] ^= 2
		if v, err := verifyMAC(changed, secret); err == nil && (v.Content().Type != IDPKIData || !bytes.Equal(v.Content().Bytes, pkiData.Bytes)) {
			t.Errorf("byte %d: %x verifies", at, v.Content().Bytes)
		}
	}
}

func TestReadAuthenticatedRefuses(t *testing.T) {
	good := authenticated(t, pkiData, Password{Secret: secret, Iterations: 1000})
	swap := func(from, to []byte) []byte {
		if !bytes.Contains(good, from) || len(from) != len(to) {
			t.Fatalf("nothing to swap: %x", from)
		}
		return bytes.Replace(good, from, to, 1)
	}
	o := func(dotted string) []byte { return oid(parseOID(t, dotted)) }
	for _, c := range []struct {
		name string
		der  []byte
		is   error
		says string
	}{
		{"nothing", nil, nil, "cut short"},
		{"a SignedData", signedWith(nil, nil), nil, "SignedData"},
		{"no iterations", swap([]byte{2, 2, 3, 0xe8}, []byte{2, 2, 0, 0}), nil, "malformed"},
		{"65000 more iterations", swap([]byte{2, 2, 3, 0xe8}, []byte{2, 2, 0x83, 0xe8}), ErrAlgorithm, "iterations"},
		{"another derivation", swap(o(idPBKDF2), o("1.2.840.113549.1.5.13")), ErrAlgorithm, "PBKDF2"},
		{"another MAC", swap(append(o(idHMACWithSHA256), 0xa1), append(o("1.2.840.113549.2.5"), 0xa1)), ErrAlgorithm, "MAC"},
		{"another wrap", swap(o(wraps[AES256Wrap].oid), o("2.16.840.1.101.3.4.1.25")), ErrAlgorithm, "key encryption"},
		{"another recipient", swap([]byte{0xa3}, []byte{0xa2}), ErrAlgorithm, "one password"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ReadAuthenticated(c.der)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v", err)
			}
		})
	}
	for name, p := range map[string]Password{
		"no secret": {}, "SHA-512": {Secret: secret, MAC: crypto.SHA512}, "100,001 iterations": {Secret: secret, Iterations: 100001}, "-1 iterations": {Secret: secret, Iterations: -1},
	} {
		if _, err := Authenticate(pkiData, p); err == nil {
			t.Errorf("%s: authenticated", name)
		}
	}
}

func FuzzReadAuthenticated(f *testing.F) {
	f.Add(authenticated(f, pkiData, Password{Secret: secret, Iterations: 1}))
	f.Fuzz(func(t *testing.T, message []byte) {
		a, err := ReadAuthenticated(message)
		if err != nil || a.info.iterations > 1000 {
			return
		}
		if v, err := a.Verify(withSecret([]byte("another"))); err == nil {
			t.Error("verifies with another secret: ", fmt.Sprintf("%x", v.Content().Bytes))
		}
	})
}
