// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	theirs "github.com/smallstep/certificates/webhook"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
)

const key = "a key of thirty-two bytes, or so."

func testRequest(t *testing.T) ra.Consulted {
	t.Helper()
	parsed, err := csr.Parse(csrtest.New(t, csrtest.Subject(csrtest.CN("device.example")), csrtest.SAN(csrtest.DNS("device.example"))))
	if err != nil {
		t.Fatal(err)
	}
	return ra.Consulted{ID: "request-1", Profile: "routers", CSR: parsed, Who: policy.Identity{
		Accounts: []policy.Account{{Method: "http_basic", User: "anna"}}, Cert: ratest.NewRoot(t, "Vendor").Device(t, "device.example").Leaf,
	}}
}

// service answers with a text, and hands the request to look.
func service(t *testing.T, answer http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(answer)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func hookTo(t *testing.T, s *httptest.Server, change ...func(*Hook)) *Hook {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	h := Hook{URL: s.URL + "/est", ID: "hook-1", Secret: key, TLS: &tls.Config{RootCAs: roots}}
	for _, c := range change {
		c(&h)
	}
	made, err := New(h)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// A service that step-ca asks reads the types of step-ca's own package, and
// checks the signature over the bytes.
func TestAServiceOfStepCAReadsWhatIsSent(t *testing.T) {
	req := testRequest(t)
	var got theirs.RequestBody
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write(raw)
		if r.Header.Get("X-Smallstep-Signature") != hex.EncodeToString(mac.Sum(nil)) || r.Header.Get("X-Smallstep-Webhook-ID") != "hook-1" ||
			r.Header.Get("X-Request-Id") != "request-1" || r.Method != http.MethodPost {
			t.Errorf("%s %v", r.Method, r.Header)
		}
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(theirs.ResponseBody{Allow: true, Data: map[string]any{"site": "berlin", "n": 3}})
	})
	advice, err := hookTo(t, s).Consult(t.Context(), req)
	if err != nil || !advice.Allow || string(advice.Data.JSON()) != `{"n":3,"site":"berlin"}` {
		t.Fatalf("%+v: %v", advice, err)
	}
	parsed, err := x509.ParseCertificateRequest(req.CSR.Raw)
	if err != nil {
		t.Fatal(err)
	}
	want, err := theirs.NewRequestBody(theirs.WithX509CertificateRequest(parsed))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(asJSON(t, got.X509CertificateRequest), asJSON(t, want.X509CertificateRequest)) {
		t.Errorf("step-ca would send\n%s\nand we send\n%s", asJSON(t, want.X509CertificateRequest), asJSON(t, got.X509CertificateRequest))
	}
	if got.ProvisionerName != "routers" || !strings.Contains(got.AuthorizationPrincipal, "anna") || got.Timestamp.IsZero() ||
		got.X5CCertificate == nil || string(got.X5CCertificate.Raw) != string(req.Who.Cert.Raw) {
		t.Errorf("%+v", got)
	}
}

// RFC 7030 section 4.4.1: nobody looks at the key and the signature of a request for
// a key, also where crypto/x509 couldn't read them.
func TestARequestForAKeyIsToldWhateverItsKeyIs(t *testing.T) {
	good := csrtest.New(t, csrtest.Subject(csrtest.CN("a.example")), csrtest.SAN(csrtest.DNS("a.example")))
	parsed, err := csr.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	// Any DER may stand there: this is no key that crypto/x509 reads.
	spki := slices.Clone(parsed.RawSPKI)
	spki[2] = 0x31 // the algorithm: a SET
	other := bytes.Replace(good, parsed.RawSPKI, spki, 1)
	if _, err := x509.ParseCertificateRequest(other); err == nil {
		t.Fatal("crypto/x509 reads it")
	}
	keyless, err := csr.ParseKeyless(other)
	if err != nil {
		t.Fatal(err)
	}
	req := testRequest(t)
	req.CSR = keyless.Unkeyed()
	var got theirs.RequestBody
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		_ = json.NewEncoder(w).Encode(theirs.ResponseBody{Allow: true})
	})
	if advice, err := hookTo(t, s).Consult(t.Context(), req); err != nil || !advice.Allow {
		t.Fatalf("%+v: %v", advice, err)
	}
	told := got.X509CertificateRequest
	if told.Subject.CommonName != "a.example" || len(told.DNSNames) != 1 || told.PublicKeyAlgorithm != "" || len(told.PublicKey) != 0 || !bytes.Equal(told.Raw, other) {
		t.Errorf("%s", asJSON(t, told))
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestThreat_OnlyAClearYesAllows(t *testing.T) {
	req := testRequest(t)
	elsewhere := service(t, says(`{"allow": true}`))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		reason string // of a no
		err    string
	}{
		"no":                     {says(`{"allow": false}`), "it said no", ""},
		"no with a reason":       {says(`{"allow": false, "error": {"code": "x1", "message": "not on the list"}}`), "not on the list (x1)", ""},
		"no with data":           {says(`{"data": {"a": 1}}`), "it said no", ""},
		"nothing":                {says(``), "", "isn't the JSON"},
		"no JSON":                {says(`yes`), "", "isn't the JSON"},
		"another type of allow":  {says(`{"allow": "true"}`), "", "isn't the JSON"},
		"data that is no object": {says(`{"allow": true, "data": [1]}`), "", "its data: it is JSON, and not an object"},
		"a name twice":           {says(`{"allow": true, "data": {"a": 1, "a": 2}}`), "", "stands twice"},
		"too much":               {says(`{"allow": true, "data": {"a": "` + strings.Repeat("x", maxAnswer) + `"}}`), "", "more than 65536 bytes"},
		"a broken service":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, "", "status 500"},
		"not known there":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, "", "status 404"},
		"an answer that breaks off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, `{"allow": true}`)
		}, "", "broke off"},
		"to another place": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "", "status 307"},
		"too late": {func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, "", "no answer within 1s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hookTo(t, service(t, c.answer), func(h *Hook) { h.Timeout = time.Second })
			advice, err := h.Consult(t.Context(), req)
			if advice.Allow || advice.Reason != c.reason || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%+v, %v", advice, err)
			}
		})
	}
}

func TestThreat_OnlyTheConfiguredServiceIsAsked(t *testing.T) {
	s := service(t, says(`{"allow": true}`))
	h := hookTo(t, s, func(h *Hook) { h.TLS = nil })
	advice, err := h.Consult(t.Context(), testRequest(t))
	if advice.Allow || err == nil || !strings.Contains(err.Error(), "certificate") || strings.Contains(err.Error(), s.URL) {
		t.Errorf("a certificate of nobody: %+v %v", advice, err)
	}
	for _, address := range []string{"", "http://hooks.example.net", "hooks.example.net", "https://user:hunter2@hooks.example.net", "https://"} {
		if _, err := New(Hook{URL: address, Secret: key}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := New(Hook{URL: s.URL}); err == nil {
		t.Error("there is no secret")
	}
}

func TestAClientCertificateIsPresented(t *testing.T) {
	device := ratest.NewRoot(t, "RA").Device(t, "est.example.net")
	s := service(t, func(w http.ResponseWriter, r *http.Request) {
		if n := len(r.TLS.PeerCertificates); n == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "est.example.net" {
			t.Errorf("%d certificates", n)
		}
		_, _ = io.WriteString(w, `{"allow": true}`)
	})
	h := hookTo(t, s, func(h *Hook) { h.TLS.Certificates = []tls.Certificate{device} })
	if advice, err := h.Consult(t.Context(), testRequest(t)); err != nil || !advice.Allow {
		t.Errorf("%+v: %v", advice, err)
	}
}

func TestThreat_TheSecretIsNotFormatted(t *testing.T) {
	h := Hook{URL: "https://hooks.example.net", Secret: secret.Text(key)}
	shown := fmt.Sprintf("%v %+v %#v", h, &h, h)
	for _, form := range []string{key, hex.EncodeToString([]byte(key)), base64.StdEncoding.EncodeToString([]byte(key))} {
		if strings.Contains(shown, form) {
			t.Errorf("shown: %s", shown)
		}
	}
}
