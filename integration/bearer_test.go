// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// An issuerOfTokens is an identity provider.
type issuerOfTokens struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuerOfTokens {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuerOfTokens{key: key}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(i.set(t)) }))
	t.Cleanup(i.Close)
	return i
}

func (i *issuerOfTokens) set(t *testing.T) []byte {
	t.Helper()
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: "one", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func (i *issuerOfTokens) token(t *testing.T, subject, audience string, life time.Duration) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: i.key, KeyID: "one"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload := fmt.Sprintf(`{"iss":"https://id.example.net","sub":%q,"aud":%q,"exp":%d,"groups":["sensors"]}`, subject, audience, time.Now().Add(life).Unix())
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var bearerPolicy = strings.Replace(devices, "- http_basic: {users: [estuser], shared: true}", `- bearer: {name: staff, subjects: ["sensor-*"]}
          checks: [{id: group, rule: '"sensors" in who.claims.groups', message: the token is not for sensors}]`, 1)

func TestADeviceEnrolsWithABearerToken(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	for name, jwks := range map[string]string{"a URL": i.URL, "a file": "keys.json"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, config{
				site:   strings.Replace(smallest, "basic {", "bearer staff {\n\t\t\tjwks "+jwks+"\n\t\t\taudience estra\n\t\t\tissuer https://id.example.net\n\t\t\troot id.pem\n\t\t}\n\t\tbasic {", 1),
				policy: bearerPolicy,
				files: map[string]string{
					"keys.json": string(i.set(t)),
					"id.pem":    string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})),
				},
			})
			client, body := s.client(nil), request(t, "a.example.net")
			post := func(authorization string) (int, string) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url("simpleenroll"), strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", "application/pkcs10")
				if authorization != "" {
					req.Header.Set("Authorization", authorization)
				}
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close()
				return res.StatusCode, strings.Join(res.Header.Values("WWW-Authenticate"), ", ")
			}
			good := i.token(t, "sensor-7", "estra", time.Minute)
			deadline := time.Now().Add(10 * time.Second)
			status, _ := post("Bearer " + good)
			for status == http.StatusUnauthorized && time.Now().Before(deadline) { // the keys come after the start
				time.Sleep(100 * time.Millisecond)
				status, _ = post("Bearer " + good)
			}
			if status != http.StatusOK {
				t.Fatalf("status %d\n%s", status, s.log)
			}
			late, foreign := i.token(t, "sensor-7", "estra", -time.Hour), i.token(t, "sensor-7", "other", time.Minute)
			for state, c := range map[string]struct{ header, challenge string }{
				"nobody":           {"", `Bearer realm="estra"`},
				"an expired token": {"Bearer " + late, `Bearer realm="estra", error="invalid_token"`},
				"one for others":   {"Bearer " + foreign, `Bearer realm="estra", error="invalid_token"`},
				"another subject":  {"Bearer " + i.token(t, "printer-1", "estra", time.Minute), `Bearer realm="estra", error="invalid_token"`},
			} {
				if status, challenge := post(c.header); status != http.StatusUnauthorized || challenge != c.challenge {
					t.Errorf("%s: %d %q", state, status, challenge)
				}
			}
			for _, r := range s.audits() {
				if fmt.Sprint(r["status"]) != "200" {
					continue
				}
				who, _ := r["who"].(map[string]any)
				input, _ := r["input"].(map[string]any)
				if who["method"] != "bearer:staff" || who["id"] != "sensor-7" || !strings.Contains(fmt.Sprint(input["claims"]), "sensors") {
					t.Errorf("who %v, claims %v", who, input["claims"])
				}
			}
			s.noSecrets(t, good, late, foreign)
		})
	}
}
