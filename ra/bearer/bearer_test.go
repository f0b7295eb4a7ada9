// SPDX-License-Identifier: Apache-2.0

package bearer

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-est/estra/ra/secret"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func set(t testing.TB, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	source, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func public(key crypto.Signer, kid string) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig", Algorithm: "ES256"}
}

// sign makes a token; a claim that is nil is left out.
func sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any, kid string, change map[string]any) secret.Text {
	t.Helper()
	claims := map[string]any{"iss": "https://id.example.net", "sub": "sensor-7", "aud": "estra", "exp": now.Add(time.Minute).Unix(), "site": "berlin"}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return signBytes(t, algorithm, key, kid, payload)
}

func signBytes(t testing.TB, algorithm jose.SignatureAlgorithm, key any, kid string, payload []byte) secret.Text {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return secret.Text(text)
}

func verifier(t testing.TB, keys ...jose.JSONWebKey) *Verifier {
	t.Helper()
	v := &Verifier{Issuer: "https://id.example.net", Audience: "estra", Now: func() time.Time { return now }}
	if err := v.SetKeys(set(t, keys...)); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestATokenOfTheIssuerForUsProvesItsSubject(t *testing.T) {
	key := newKey(t)
	v := verifier(t, public(key, "one"))
	for name, change := range map[string]map[string]any{
		"plain": nil, "several audiences": {"aud": []string{"other", "estra"}},
		"a fraction of a second": {"exp": float64(now.Unix()) + 10.5}, "clocks that differ": {"exp": now.Add(-10 * time.Second).Unix(), "nbf": now.Add(10 * time.Second).Unix()},
	} {
		subject, claims, err := v.Verify(sign(t, jose.ES256, key, "one", change))
		if err != nil || subject != "sensor-7" || !strings.Contains(string(claims.JSON()), `"site":"berlin"`) {
			t.Errorf("%s: %q %s %v", name, subject, claims.JSON(), err)
		}
	}
	if _, _, err := v.Verify(sign(t, jose.ES256, key, "", nil)); err != nil {
		t.Errorf("no kid and one key: %v", err)
	}
}

func TestThreat_NoOtherTokenProvesAnything(t *testing.T) {
	key, other := newKey(t), newKey(t)
	v := verifier(t, public(key, "one"), public(newKey(t), "two"))
	asked := 0
	v.Unknown = func() { asked++ }
	es := func(change map[string]any) secret.Text { return sign(t, jose.ES256, key, "one", change) }
	good := string(es(nil))
	parts := strings.Split(good, ".")
	for name, c := range map[string]struct {
		token secret.Text
		want  error
	}{
		"nothing":               {"", ErrMalformed},
		"rubbish":               {"a.b.c", ErrMalformed},
		"no algorithm":          {secret.Text("eyJhbGciOiJub25lIn0." + parts[1] + "."), ErrMalformed},
		"an HMAC":               {sign(t, jose.HS256, []byte(strings.Repeat("k", 32)), "one", nil), ErrMalformed},
		"another payload":       {secret.Text(parts[0] + "." + parts[1][:len(parts[1])-4] + "." + parts[2]), ErrSignature},
		"another key":           {sign(t, jose.ES256, other, "one", nil), ErrSignature},
		"a key nobody knows":    {sign(t, jose.ES256, other, "three", nil), ErrNoKey},
		"no kid among several":  {sign(t, jose.ES256, key, "", nil), ErrNoKey},
		"another issuer":        {es(map[string]any{"iss": "https://evil.example"}), ErrClaims},
		"no issuer":             {es(map[string]any{"iss": nil}), ErrClaims},
		"an issuer in capitals": {es(map[string]any{"iss": nil, "ISS": "https://id.example.net"}), ErrClaims},
		"another audience":      {es(map[string]any{"aud": "other"}), ErrClaims},
		"no audience":           {es(map[string]any{"aud": nil}), ErrClaims},
		"expired":               {es(map[string]any{"exp": now.Add(-time.Minute).Unix()}), ErrClaims},
		"without an end":        {es(map[string]any{"exp": nil}), ErrClaims},
		"not valid yet":         {es(map[string]any{"nbf": now.Add(time.Minute).Unix()}), ErrClaims},
		"issued in the future":  {es(map[string]any{"iat": now.Add(time.Minute).Unix()}), ErrClaims},
		"no subject":            {es(map[string]any{"sub": nil}), ErrClaims},
		"a subject with space":  {es(map[string]any{"sub": " sensor-7"}), ErrClaims},
		"a time that is none":   {es(map[string]any{"exp": 1e300}), ErrMalformed},
		"a claim twice":         {signBytes(t, jose.ES256, key, "one", []byte(`{"sub":"a","sub":"b"}`)), ErrMalformed},
		"no object":             {signBytes(t, jose.ES256, key, "one", []byte(`["sub"]`)), ErrMalformed},
		"too long":              {es(map[string]any{"x": strings.Repeat("x", maxToken)}), ErrMalformed},
	} {
		subject, claims, err := v.Verify(c.token)
		if !errors.Is(err, c.want) || subject != "" || claims.JSON() != nil {
			t.Errorf("%s: %q %v, want %v", name, subject, err, c.want)
		}
		if err != nil && c.token != "" && strings.Contains(err.Error(), parts[1][:20]) {
			t.Errorf("%s: the reason has the token", name)
		}
	}
	if asked != 2 {
		t.Errorf("the keys were asked for %d times, want 2", asked)
	}
	if shown := fmt.Sprintf("%v %+v %#v", es(nil), es(nil), es(nil)); strings.Contains(shown, ".") {
		t.Errorf("a token shows: %s", shown)
	}
}

func TestThreat_WithoutFreshKeysNobodyIsProven(t *testing.T) {
	key := newKey(t)
	v := &Verifier{Issuer: "https://id.example.net", Audience: "estra", Now: func() time.Time { return now }}
	if _, _, err := v.Verify(sign(t, jose.ES256, key, "one", nil)); !errors.Is(err, ErrNoKeys) {
		t.Errorf("no keys yet: %v", err)
	}
	if err := v.SetKeys(set(t, public(key, "one"))); err != nil {
		t.Fatal(err)
	}
	at := now
	v.Now = func() time.Time { return at }
	at = now.Add(keysLife + time.Second)
	if _, _, err := v.Verify(sign(t, jose.ES256, key, "one", map[string]any{"exp": at.Add(time.Minute).Unix()})); !errors.Is(err, ErrNoKeys) {
		t.Errorf("keys that are too old: %v", err)
	}
	// Rotation: the old key is gone with the next set.
	at = now
	if err := v.SetKeys(set(t, public(newKey(t), "two"))); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Verify(sign(t, jose.ES256, key, "one", nil)); !errors.Is(err, ErrNoKey) {
		t.Errorf("a key that is gone: %v", err)
	}
}

func TestAKeySetWithAMistakeLeavesTheOneBefore(t *testing.T) {
	key := newKey(t)
	v := verifier(t, public(key, "one"))
	var many []jose.JSONWebKey
	for i := range maxKeys + 1 {
		many = append(many, public(key, fmt.Sprint(i)))
	}
	for name, source := range map[string][]byte{
		"no JSON": []byte("x"), "empty": []byte(`{"keys":[]}`), "for encryption": set(t, jose.JSONWebKey{Key: key.Public(), KeyID: "e", Use: "enc"}),
		"a private key": set(t, jose.JSONWebKey{Key: key, KeyID: "p"}), "a shared key": set(t, jose.JSONWebKey{Key: []byte("kkkkkkkkkkkkkkkk"), KeyID: "s"}),
		"too many": set(t, many...),
	} {
		if err := v.SetKeys(source); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, _, err := v.Verify(sign(t, jose.ES256, key, "one", nil)); err != nil {
		t.Error(err)
	}
}

// Whose token it is counts before it is verified, and for counting alone.
func TestATokenNamesItsIssuerAndSubject(t *testing.T) {
	es := func(change map[string]any) secret.Text { return sign(t, jose.ES256, newKey(t), "any", change) }
	one := Claimed(es(nil))
	if len(one) != len("bearer:")+64 || strings.Contains(one, "sensor") || Claimed(es(map[string]any{"exp": 1, "aud": "other"})) != one {
		t.Errorf("%q", one)
	}
	for name, token := range map[string]secret.Text{
		"another subject": es(map[string]any{"sub": "sensor-8"}), "another issuer": es(map[string]any{"iss": "https://other.example"}),
		"no issuer": es(map[string]any{"iss": nil}), "the two run together": es(map[string]any{"iss": "https://id.example.net\x00sensor", "sub": "-7"}),
	} {
		if got := Claimed(token); got == one || got == "" {
			t.Errorf("%s: %q", name, got)
		}
	}
	for name, token := range map[string]secret.Text{
		"nothing": "", "no token": "x", "two parts": "a.b", "no base64": "a.!.c", "no JSON": "a.YQ.c", "no subject": es(map[string]any{"sub": nil}),
		"too long": es(map[string]any{"x": strings.Repeat("x", maxToken)}),
	} {
		if got := Claimed(token); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func FuzzToken(f *testing.F) {
	key := newKey(f)
	v := verifier(f, public(key, "one"))
	good := string(sign(f, jose.ES256, key, "one", nil))
	f.Add("Bearer " + good)
	f.Add("bearer  a.b.c")
	f.Add("Basic x")
	f.Fuzz(func(t *testing.T, header string) {
		token, ok := Token(header)
		if !ok {
			return
		}
		if user := Claimed(token); user != "" && len(user) != len("bearer:")+64 {
			t.Errorf("%q counts as %q", header, user)
		}
		subject, _, err := v.Verify(token)
		if err == nil && subject != "sensor-7" {
			t.Errorf("%q was taken", header)
		}
	})
}
