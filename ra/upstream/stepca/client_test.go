// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// server stands in for a CA that misbehaves in ways step-ca doesn't.
func server(t *testing.T, handler http.HandlerFunc, change ...func(*stepca.Config)) (*stepca.Upstream, *atomic.Int32) {
	t.Helper()
	var calls atomic.Int32
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		handler(w, r)
	}))
	t.Cleanup(s.Close)
	cfg := stepca.Config{
		URL: s.URL, Roots: []*x509.Certificate{s.Certificate()}, Provisioner: "est-ra",
		JWK: newJWK(t), Timeout: 2 * time.Second,
	}
	for _, f := range change {
		f(&cfg)
	}
	return open(t, cfg), &calls
}

func newJWK(t testing.TB) *jose.JSONWebKey {
	t.Helper()
	key, _, err := stepca.NewJWK()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestAnswersBecomeKinds(t *testing.T) {
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	cases := []struct {
		name    string
		handler http.HandlerFunc
		issue   ra.Kind // of a signing call
		reason  string
	}{
		{"400 is the CSR's fault", answer(400, `{"status":400,"message":"missing csr"}`), ra.UpstreamRefused, "step-ca answered 400: missing csr"},
		{"403 is a policy of the CA", answer(403, `{"message":"no"}`), ra.UpstreamRefused, "answered 403: no"},
		{"401 is between the CA and us", answer(401, `{}`), ra.UpstreamDown, "401: {}"},
		{"404 is another kind of server", answer(404, "<html>\r\n<b>\x1b[31mgone"), ra.UpstreamDown, `<html>\r\n<b>\x1b[31mgone`},
		{"500 is the CA's fault", answer(500, ""), ra.UpstreamDown, "500: nothing more"},
		{"201 without JSON leaves the outcome open", answer(201, "hello"), ra.UpstreamTimeout, "isn't JSON"},
		{"201 without a certificate leaves the outcome open", answer(201, `{}`), ra.UpstreamTimeout, "can't be read"},
		{"201 with a broken certificate leaves the outcome open", answer(201, `{"crt":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n","crts":["x"]}`), ra.UpstreamTimeout, "can't be read"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			up, _ := server(t, c.handler)
			_, err := up.Issue(t.Context(), order(t))
			e := upstreamtest.Fails(t, err, c.issue)
			if !strings.Contains(e.Reason, c.reason) {
				t.Errorf("the reason is %q, want %q in it", e.Reason, c.reason)
			}
			_, err = up.CACerts(t.Context())
			upstreamtest.Fails(t, err, ra.UpstreamDown)
			if err := up.Health(t.Context()); err == nil {
				t.Error("it counts as healthy")
			}
		})
	}
}

func TestTheTokenIsInNoError(t *testing.T) {
	for name, echo := range map[string]func(token string) string{
		"whole":     func(token string) string { return `{"message":"bad token ` + token + `"}` },
		"in part":   func(token string) string { return "payload " + strings.Split(token, ".")[1] },
		"cut short": func(token string) string { return strings.Repeat("x", 450) + token },
	} {
		t.Run(name, func(t *testing.T) {
			var token string
			up, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
				token = sent(t, r).OTT
				w.WriteHeader(400)
				_, _ = io.WriteString(w, echo(token))
			})
			_, err := up.Issue(t.Context(), order(t))
			e := upstreamtest.Fails(t, err, ra.UpstreamRefused)
			for _, part := range strings.Split(token, ".") {
				if strings.Contains(e.Error(), part[:20]) {
					t.Errorf("%q shows a part of the token", e.Error())
				}
			}
		})
	}
}

type request struct {
	CSR string `json:"csr"`
	OTT string `json:"ott"`
}

func sent(t *testing.T, r *http.Request) request {
	var body request
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields() // notBefore and notAfter would win over the template's
	if err := decoder.Decode(&body); err != nil {
		t.Errorf("the body of %s: %v", r.URL, err)
	}
	return body
}

func TestTokensAreShortLivedAndNeverAlike(t *testing.T) {
	key := newJWK(t)
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	seen := map[string]bool{}
	der := csrtest.New(t, csrtest.Subject(csrtest.CN("cn.example")),
		csrtest.SAN(csrtest.DNS("a.example"), csrtest.IP("192.0.2.1"), csrtest.Email("x@a.example"), csrtest.URI("https://a.example/x")))
	up, _ := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/1.0/sign" || r.Header.Get("X-Request-Id") != "ratest" {
			t.Errorf("%s with the request id %q", r.URL.Path, r.Header.Get("X-Request-Id"))
		}
		token, err := jose.ParseSigned(sent(t, r).OTT)
		if err != nil {
			t.Error(err)
			return
		}
		var c struct {
			jose.Claims
			SANs  []string          `json:"sans"`
			Cnf   map[string]string `json:"cnf"`
			Estra map[string]any    `json:"estra"`
		}
		if err := jose.Verify(token, key.Public().Key, &c); err != nil {
			t.Error(err)
		}
		if c.Issuer != "est-ra" || c.Subject != "cn.example" || c.Audience[0] != "https://"+r.Host+"/1.0/sign" {
			t.Errorf("iss %q, sub %q, aud %q", c.Issuer, c.Subject, c.Audience)
		}
		if got := fmt.Sprint(c.SANs); got != "[a.example x@a.example 192.0.2.1 https://a.example/x]" {
			t.Errorf("sans are %s, not the CSR's", got)
		}
		if life := c.Expiry.Time().Sub(now); life <= 0 || life > 5*time.Minute {
			t.Errorf("it lives for %s", life)
		}
		if token.Headers[0].KeyID != key.KeyID {
			t.Errorf("kid is %q", token.Headers[0].KeyID)
		}
		if len(c.ID) < 22 || seen[c.ID] {
			t.Errorf("jti %q is short, or was there before", c.ID)
		}
		seen[c.ID] = true
		if sum, err := base64.RawURLEncoding.DecodeString(c.Cnf["x5rt#S256"]); err != nil || len(sum) != 32 {
			t.Errorf("cnf is %v", c.Cnf)
		}
		if evidence, _ := c.Estra["evidence"].(map[string]any); evidence["requestId"] != "ratest" {
			t.Errorf("evidence is %v", c.Estra["evidence"])
		}
		w.WriteHeader(403)
	}, func(c *stepca.Config) { c.JWK, c.Now = key, func() time.Time { return now } })
	for range 3 {
		_, err := up.Issue(t.Context(), ratest.Order(t, ratest.Case{CSR: der, Now: now}))
		upstreamtest.Fails(t, err, ra.UpstreamRefused)
	}
}

func TestAFullPoolIsBusy(t *testing.T) {
	release := make(chan struct{})
	up, calls := server(t, func(w http.ResponseWriter, _ *http.Request) {
		<-release
		w.WriteHeader(500)
	}, func(c *stepca.Config) { c.MaxConns, c.Timeout = 1, 300*time.Millisecond })
	defer close(release)
	first := make(chan error)
	go func() { first <- up.Health(context.Background()) }()
	for calls.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	_, err := up.Issue(t.Context(), order(t))
	if e := upstreamtest.Fails(t, err, ra.Busy); e.RetryAfter == 0 {
		t.Error("busy, without a Retry-After")
	}
	upstreamtest.Fails(t, <-first, ra.UpstreamDown) // a read that took too long has issued nothing
	if n := calls.Load(); n != 1 {
		t.Errorf("there were %d calls over one connection", n)
	}
}
