// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"
)

func TestThreat_ASecretIsNotFormatted(t *testing.T) {
	const word = "hunter2"
	s := Text(word)
	holder := struct {
		S  Text
		P  *Text
		In map[string]Text
		L  []Text
	}{s, &s, map[string]Text{"k": s}, []Text{s}}
	var out strings.Builder
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb+" "+verb+"\n", s, holder)
	}
	fmt.Fprintln(&out, errors.New(fmt.Sprint(s)), s, holder)
	for _, marshal := range []func(any) ([]byte, error){json.Marshal, xml.Marshal} {
		if text, err := marshal(s); err == nil {
			out.Write(text)
		}
	}
	text, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(text)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "secret", s, "holder", holder)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "secret", s, "holder", holder)
	// %x of the word, too.
	for _, shown := range []string{word, "68756e74657232", "68756E74657232", "aHVudGVyMg"} {
		if strings.Contains(out.String(), shown) {
			t.Errorf("the secret shows as %s in:\n%s", shown, out.String())
		}
	}
	if !strings.Contains(out.String(), hidden) {
		t.Error("nothing says that a secret was there")
	}
}

func TestThreat_APrivateKeyIsNotFormatted(t *testing.T) {
	seed := bytes.Repeat([]byte("hunter2!"), 4)
	signer := ed25519.NewKeyFromSeed(seed)
	key, err := NewKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	type hiding struct{ key Key } // fmt asks no method of such a field
	holder := struct {
		K  Key
		P  *Key
		B  Bytes
		In map[string]Key
		L  []Key
		h  hiding
	}{key, &key, key.PKCS8(), map[string]Key{"k": key}, []Key{key}, hiding{key}}
	var out bytes.Buffer
	for _, verb := range []string{"%s", "%v", "%+v", "%#v", "%q", "%x", "%X", "%d", "%t"} {
		fmt.Fprintf(&out, verb+" "+verb+" "+verb+"\n", key, key.PKCS8(), holder)
	}
	for _, v := range []any{key, key.PKCS8(), holder} {
		if text, err := json.Marshal(v); err == nil {
			out.Write(text)
		}
		_ = gob.NewEncoder(&out).Encode(v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "key", v)
		slog.New(slog.NewTextHandler(&out, nil)).Info("m", "key", v)
	}
	for _, shown := range []string{"hunter2", "68756e74657232", "68756E74657232", "aHVudGVyMi", "104 117 110 116"} {
		if bytes.Contains(out.Bytes(), []byte(shown)) {
			t.Errorf("the key shows as %s in:\n%s", shown, out.String())
		}
	}
}

func TestAKeyThatWasClearedIsGone(t *testing.T) {
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, signer := range []crypto.Signer{ed, ec, rs} {
		key, err := NewKey(signer)
		if err != nil {
			t.Fatal(err)
		}
		der := key.PKCS8()
		if key.Signer() == nil || len(der) == 0 {
			t.Errorf("%T: it isn't held", signer)
		}
		key.Clear()
		key.Clear()
		if key.Signer() != nil || key.PKCS8() != nil || len(bytes.Trim(der, "\x00")) > 0 {
			t.Errorf("%T: it is there still", signer)
		}
	}
	if len(bytes.Trim(ed, "\x00")) > 0 {
		t.Error("the Ed25519 key is there still")
	}
	for _, n := range []*big.Int{ec.D, rs.D, rs.Primes[0], rs.Primes[1]} { //nolint:staticcheck // the field is what is cleared
		if slices.ContainsFunc(n.Bits(), func(w big.Word) bool { return w != 0 }) {
			t.Error("the ECDSA or RSA key is there still")
		}
	}
	var none Key
	none.Clear()
	if none.Signer() != nil || none.PKCS8() != nil {
		t.Error("the zero value has a key")
	}
}
