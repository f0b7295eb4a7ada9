// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// object is JSON as somebody with the RA's key could write it: these tests
// sign tokens by themselves, with nothing of the adapter.
type object = map[string]any

// attempt posts a CSR with a token, and returns step-ca's status and words.
func attempt(t *testing.T, ca *stepcatest.CA, header, claims object, key crypto.Signer) (int, string) {
	t.Helper()
	request := csrtest.New(t)
	sum := sha256.Sum256(request)
	payload := object{
		"iss": stepcatest.JWKProvisioner, "aud": ca.URL + "/1.0/sign", "sub": "device.example",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		"jti": rand.Text(),
		"cnf": object{"x5rt#S256": base64.RawURLEncoding.EncodeToString(sum[:])},
	}
	maps.Copy(payload, claims)
	options := new(jose.SignerOptions).WithType("JWT")
	for name, value := range header {
		options = options.WithHeader(jose.HeaderKey(name), value)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jose.Signed(signer).Claims(payload).CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request})
	body, err := json.Marshal(object{"csr": string(block), "ott": token})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.Root)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	response, err := client.Post(ca.URL+"/1.0/sign", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// with is a complete decision, changed.
func with(change object) object {
	now := time.Now().UTC().Truncate(time.Second)
	decision := object{
		"subject":   object{"der": csrtest.Name(csrtest.CN("by the template"))},
		"notBefore": now, "notAfter": now.Add(time.Hour), "serial": strconv.FormatInt(time.Now().UnixNano(), 10),
		"keyUsage": []string{"digitalSignature"},
	}
	maps.Copy(decision, change)
	for name, value := range decision {
		if value == nil {
			delete(decision, name)
		}
	}
	return object{"estra": decision}
}

func testTemplate(t *testing.T, ca *stepcatest.CA) {
	extension := func(name, id string) object {
		return object{"extensions": []object{{name: id, "value": csrtest.SEQ()}}}
	}
	jwkHeader := object{"kid": ca.JWK.KeyID}
	jwkSigner := ca.JWK.Key.(crypto.Signer)
	cases := []struct {
		name   string
		claims object
		status int
		says   string
	}{
		{"issues what a complete decision says", with(nil), 201, ""},
		{"refuses a token without a decision", nil, 400, "no decision of a registration authority"},
		{"refuses a serial number of another base", with(object{"serial": "0x1g"}), 500, ""},
		{"refuses an empty decision", object{"estra": object{}}, 400, "no decision"},
		{"refuses a decision without a serial number", with(object{"serial": nil}), 400, "not complete"},
		{"refuses a decision without an end", with(object{"notAfter": nil}), 400, "not complete"},
		{"refuses a decision without a subject", with(object{"subject": nil}), 400, "not complete"},
		{"refuses a token that any CSR could use", join(with(nil), object{"cnf": object{}}), 400, "not bound"},
		{"refuses another CSR than the token's", join(with(nil), object{"cnf": object{"x5rt#S256": strings.Repeat("A", 43)}}), 403, ""},
		{"makes no CA by key usage", with(object{"keyUsage": []string{"certSign"}}), 400, "key usage"},
		{"makes no CA by key usage in another spelling", with(object{"keyUsage": []string{"CERT_SIGN"}}), 400, "key usage"},
		{"makes no CA by basicConstraints", with(extension("id", "2.5.29.19")), 400, "2.5.29.19"},
		{"makes no CA by basicConstraints with a zero before", with(extension("id", "2.5.29.019")), 400, "proper OID"},
		{"makes no CA by basicConstraints under another key", with(extension("ID", "2.5.29.19")), 400, "proper OID"},
		{"sets no authorityKeyIdentifier", with(extension("id", "2.5.29.35")), 400, "2.5.29.35"},
		{"sets no extended key usage past its own list", with(extension("id", "2.5.29.37")), 400, "2.5.29.37"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			status, text := attempt(t, ca, jwkHeader, c.claims, jwkSigner)
			if status != c.status || !strings.Contains(text, c.says) {
				t.Errorf("step-ca answered %d %s, want %d and %q", status, text, c.status, c.says)
			}
		})
	}
	t.Run("wants id-kp-cmcRA of an X5C certificate", func(t *testing.T) {
		for _, x := range []struct {
			credential *stepca.X5C
			status     int
		}{{ca.X5C, 201}, {ca.X5CWithoutRA, 400}} {
			header := object{"x5c": []string{base64.StdEncoding.EncodeToString(x.credential.Chain[0].Raw)}}
			claims := join(with(nil), object{
				"iss": stepcatest.X5CProvisioner, "aud": ca.URL + "/1.0/sign#x5c/" + stepcatest.X5CProvisioner,
			})
			status, text := attempt(t, ca, header, claims, x.credential.Key)
			if status != x.status || x.status == 400 && !strings.Contains(text, "id-kp-cmcRA") {
				t.Errorf("step-ca answered %d %s, want %d", status, text, x.status)
			}
		}
	})
}

func join(a, b object) object {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
