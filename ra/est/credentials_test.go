// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/bearer"
	"github.com/caddy-est/estra/ra/digest"
)

// logins are what a site verifies itself: an account of Digest, and tokens.
type logins struct {
	answers *digest.Server
	tokens  *bearer.Verifier
	signer  jose.Signer
	late    time.Duration // how far Digest's clock is ahead
}

func newLogins(t testing.TB) *logins {
	t.Helper()
	l := &logins{}
	account, err := digest.NewAccount("estuser", digest.Realm, digest.SHA256, "secret")
	if err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Now().Add(l.late) }
	if l.answers, err = digest.New([]digest.Account{account}, digest.Options{Now: now}); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	l.tokens = &bearer.Verifier{Issuer: "https://id.example.net", Audience: "estra"}
	if err := l.tokens.SetKeys(set); err != nil {
		t.Fatal(err)
	}
	l.signer, err = jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// verify finds whose answer or token a request has.
func (l *logins) verify(r *http.Request) (found Proven) {
	header := r.Header.Get(HeaderAuthorization)
	if user, err := l.answers.Verify(r.Method, r.RequestURI, header); err == nil {
		found.Accounts = append(found.Accounts, policy.Account{Method: "digest", User: user})
	}
	if token, ok := bearer.Token(header); ok {
		if subject, claims, err := l.tokens.Verify(token); err == nil {
			found.Accounts, found.Claims = append(found.Accounts, policy.Account{Method: policy.BearerMethod("staff"), User: subject}), claims
		}
	}
	return found
}

// answer makes the header of a Digest client, to a new challenge.
func (l *logins) answer(path, user, password string) string {
	challenge := l.answers.Challenge()[0]
	_, after, _ := strings.Cut(challenge, `nonce="`)
	nonce, _, _ := strings.Cut(after, `"`)
	hash := func(parts ...string) string {
		sum := sha256.Sum256([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(sum[:])
	}
	target := "/.well-known/est/" + path
	response := hash(hash(user, digest.Realm, password), nonce, "00000001", "c", "auth", hash(http.MethodPost, target))
	return fmt.Sprintf(`Digest username="%s", realm="estra", nonce="%s", uri="%s", algorithm=SHA-256, response="%s", qop=auth, nc=00000001, cnonce="c"`,
		user, nonce, target, response)
}

// token makes a token; a claim that is nil is left out.
func (l *logins) token(change map[string]any) string {
	claims := map[string]any{"iss": "https://id.example.net", "sub": "sensor-7", "aud": "estra", "exp": time.Now().Add(time.Hour).Unix(), "group": "sensors"}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	jws, err := l.signer.Sign(payload)
	if err != nil {
		panic(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return text
}

func bearing(token string) call {
	return call{header: http.Header{HeaderAuthorization: {"Bearer " + token}}}
}

func answering(answer func(path, user, password string) string) call {
	return call{answer: func(path string) string { return answer(path, "estuser", "secret") }}
}

// credentialStates are those of Digest and of bearer tokens.
func credentialStates(x *site, device []tls.Certificate) []authState {
	stranger := [11]int{401, 403, 403, 403, 401, 403, 403, 401, 401, 401, 401}
	digested, withDevice := stranger, [11]int{200, 401, 200, 403, 401, 403, 403, 401, 401, 401, 401}
	digested[7], digested[8] = 200, 403 // there is no certificate to renew
	tokened := stranger
	tokened[9], tokened[10] = 200, 403
	otherClaim, otherSubject := tokened, tokened
	otherClaim[9], otherSubject[9] = 403, 401
	both := withDevice
	both[7], both[8] = 200, 403
	right := answering(x.answer)
	guess := func(answer func(path string) string) call { return call{answer: answer} }
	token := x.token(nil)
	parts := strings.Split(token, ".")
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	states := []authState{
		{"the right Digest answer", right, digested, true, nil},
		{"the right Digest answer and the right certificate", call{answer: right.answer, certs: device}, both, true, nil},
		{"a Digest answer with a wrong password", guess(func(path string) string { return x.answer(path, "estuser", "wrong") }), stranger, false, nil},
		{"a Digest answer with a wrong password and the right certificate", call{certs: device, answer: func(path string) string { return x.answer(path, "estuser", "wrong") }}, withDevice, true, nil},
		{"a Digest answer of a user that is unknown", guess(func(path string) string { return x.answer(path, "berta", "secret") }), stranger, false, nil},
		{"a Digest answer for another path", guess(func(string) string { return x.answer("csrattrs", "estuser", "secret") }), stranger, false, nil},
		{"a Digest answer that is spent", guess(func(path string) string {
			spent := x.answer(path, "estuser", "secret")
			x.do(call{path: path, header: http.Header{HeaderAuthorization: {spent}}})
			return spent
		}), stranger, false, nil},
		{"a Digest answer to an old nonce", guess(func(path string) string {
			x.late = -time.Hour
			defer func() { x.late = 0 }()
			return x.answer(path, "estuser", "secret")
		}), stranger, false, nil},
		{"a Digest header that can't be read", guess(func(string) string { return "Digest username=estuser" }), stranger, false, nil},
		{"the password of Digest, sent as Basic", call{user: "estuser:secret"}, stranger, false, nil},
		{"the right token", bearing(token), tokened, true, nil},
		{"the right token and the right certificate", call{header: bearing(token).header, certs: device}, [11]int{200, 401, 200, 403, 401, 403, 403, 401, 401, 200, 403}, true, nil},
		{"a token with another claim", bearing(x.token(map[string]any{"group": "printers"})), otherClaim, true, nil},
		{"a token of another subject", bearing(x.token(map[string]any{"sub": "printer-1"})), otherSubject, true, nil},
		{"a token whose subject is an account", bearing(x.token(map[string]any{"sub": "estuser"})), otherSubject, true, nil},
	}
	for name, bad := range map[string]string{
		"an expired token": x.token(map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}), "a token without an end": x.token(map[string]any{"exp": nil}),
		"a token for others": x.token(map[string]any{"aud": "other"}), "a token of another issuer": x.token(map[string]any{"iss": "https://other.example"}),
		"a token that isn't signed": unsigned, "a token with another signature": parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), "a token that is none": "x",
	} {
		states = append(states, authState{name, bearing(bad), stranger, false, nil})
	}
	return states
}
