// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
)

const key = secret.Text("a key of thirty-two bytes, or so.")

// A service answers as a test says, and keeps what it was sent.
type service struct {
	*Upstream

	status int
	text   string

	path, signature string
	body            []byte
	peers           []*x509.Certificate
}

func serviceOf(t *testing.T, change ...func(*Config)) *service {
	t.Helper()
	s := &service{status: http.StatusOK}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.path, s.signature, s.peers = r.URL.Path, r.Header.Get(SignatureHeader), r.TLS.PeerCertificates
		s.body, _ = io.ReadAll(r.Body)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.text)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	cfg := Config{URL: server.URL, Roots: []*x509.Certificate{server.Certificate()}, Secret: func() secret.Text { return key }, Revoke: true, CACerts: true}
	for _, f := range change {
		f(&cfg)
	}
	var err error
	if s.Upstream, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	return s
}

func pemOf(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}

func TestWhatAServiceIsToldOfAnOrder(t *testing.T) {
	device := ratest.NewRoot(t, "RA").Device(t, "est-ra")
	s := serviceOf(t, func(c *Config) { c.Certificate = func() (*tls.Certificate, error) { return &device, nil } })
	order := ratest.Order(t, ratest.Case{
		CSR: csrtest.New(t, csrtest.Subject(csrtest.CN("a.example"), csrtest.SerialNumber("7")), csrtest.SAN(csrtest.DNS("a.example"), csrtest.IP("192.0.2.7"))),
		Now: time.Now(), Linked: true,
	})
	s.text = `{"certificate": "` + strings.ReplaceAll(pemOf(device.Leaf), "\n", `\n`) + `", "ref": "T-1\n"}`
	issued, err := s.Issue(t.Context(), order)
	if err != nil || issued.Ref != "T-1" || !issued.Certificate.Equal(device.Leaf) {
		t.Fatalf("%+v: %v", issued, err)
	}
	if s.path != "/issue" || s.signature != hex.EncodeToString(secret.MAC([]byte(key), s.body)) || len(s.peers) == 0 || !s.peers[0].Equal(device.Leaf) {
		t.Errorf("%s, signed %s, by %d certificates", s.path, s.signature, len(s.peers))
	}
	var got issueRequest
	if err := json.Unmarshal(s.body, &got); err != nil {
		t.Fatal(err)
	}
	c := got.Certificate
	if got.Schema != "estra-ca/1" || got.Time.IsZero() || got.RequestID != "ratest" || !strings.Contains(got.CSR, "CERTIFICATE REQUEST") ||
		string(got.PublicKey) != string(order.CSR().RawSPKI) || got.Plan == nil || string(got.Plan.Subject) != "CN=a.example, serialNumber=7" {
		t.Errorf("%s", s.body)
	}
	if c.Serial != order.Serial().String() || !c.NotAfter.Equal(order.NotAfter()) || len(c.Extensions) != 3 || len(c.ExtensionsDER) == 0 ||
		len(c.RDNs) != 2 || c.RDNs[0][0].Value != "a.example" || c.RDNs[0][0].Tag != 12 || c.RDNs[1][0].Tag != 19 || c.RDNs[1][0].Type != "2.5.4.5" {
		t.Errorf("%+v", c)
	}
	if got.Evidence != (evidence{Linking: "matched", Binding: "tls-exporter"}) {
		t.Errorf("%+v", got.Evidence)
	}
}

func TestAServiceThatNumbersCertificatesIsToldNoNumber(t *testing.T) {
	s := serviceOf(t, func(c *Config) { c.OwnSerials = true })
	_, _ = s.Issue(t.Context(), ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true}))
	if s.Carries().Serial || strings.Contains(string(s.body), `"serial"`) {
		t.Errorf("%s", s.body)
	}
}

func TestWhatAnAnswerToAnOrderMeans(t *testing.T) {
	order := ratest.Order(t, ratest.Case{Now: time.Now()})
	for name, c := range map[string]struct {
		status     int
		text       string
		kind       ra.Kind
		want       string
		wait       time.Duration
		credential bool
	}{
		"pending":                     {200, `{"pending": {"retry_after": 90, "ref": "T-1"}}`, ra.Pending, "decides later", 90 * time.Second, false},
		"pending for no time":         {200, `{"pending": {"retry_after": -7}}`, ra.Pending, "decides later", 0, false},
		"pending by a name of lines":  {200, `{"pending": {"ref": "T-1\n"}}`, ra.UpstreamTimeout, "a ref that isn't one line", 0, false},
		"pending for too long":        {200, `{"pending": {"retry_after": 9223372036854775807}}`, ra.Pending, "decides later", 24 * time.Hour, false},
		"refused":                     {200, `{"refused": {"reason": "not in the\ninventory"}}`, ra.UpstreamRefused, `refuses: not in the\ninventory`, 0, false},
		"refused by the status":       {422, "no", ra.UpstreamRefused, "answered 422: no", 0, false},
		"a signature that is wrong":   {401, "", ra.UpstreamDown, "answered 401", 7 * time.Second, true},
		"a certificate that is wrong": {403, "", ra.UpstreamDown, "answered 403", 7 * time.Second, true},
		"no member":                   {200, `{}`, ra.UpstreamTimeout, "0 of certificate, pending and refused", 0, false},
		"two members":                 {200, `{"pending": {}, "refused": {}}`, ra.UpstreamTimeout, "2 of certificate", 0, false},
		"no certificate":              {200, `{"certificate": "hello"}`, ra.UpstreamTimeout, "can't be read", 0, false},
		"another type":                {200, `{"certificate": 7}`, ra.UpstreamTimeout, "isn't the JSON", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serviceOf(t)
			s.status, s.text = c.status, c.text
			_, err := s.Issue(t.Context(), order)
			var e *ra.Error
			if want := map[bool]string{true: "T-1"}[name == "pending"]; errors.As(err, &e) && e.Ref != want {
				t.Errorf("the reference is %q, want %q", e.Ref, want)
			}
			if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(e.Reason, c.want) || errors.Is(err, ra.ErrCredential) != c.credential || c.wait > 0 && e.RetryAfter != c.wait {
				t.Errorf("%+v, want the kind %v, %q, %s", e, c.kind, c.want, c.wait)
			}
		})
	}
}

func TestAServiceIsToldOfRevocationsWhereItIsAsked(t *testing.T) {
	leaf := ratest.NewRoot(t, "Root").Device(t, "a.example").Leaf
	s := serviceOf(t)
	for name, revoke := range map[string]func() error{
		"a certificate":   func() error { return s.Revoke(t.Context(), leaf, 4) },
		"a serial number": func() error { return s.RevokeSerial(t.Context(), leaf.SerialNumber, nil, time.Time{}, 4) },
	} {
		s.status, s.text, s.body = http.StatusNoContent, "", nil
		if err := revoke(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var got revokeRequest
		if err := json.Unmarshal(s.body, &got); err != nil || s.path != "/revoke" || got.Serial != leaf.SerialNumber.String() || got.Reason != 4 || got.Schema != Schema {
			t.Errorf("%s: %s %s: %v", name, s.path, s.body, err)
		}
		if there := got.Certificate == pemOf(leaf); there != (name == "a certificate") {
			t.Errorf("%s: %s", name, s.body)
		}
		s.status, s.text = 200, `{"refused": {"reason": "unknown"}}`
		if err := revoke(); err == nil || !strings.Contains(err.Error(), "unknown") {
			t.Errorf("%s, refused: %v", name, err)
		}
	}
	s.body = nil
	off := serviceOf(t, func(c *Config) { c.Revoke = false })
	for name, err := range map[string]error{
		"no certificate": s.Revoke(t.Context(), nil, 0), "no reason": s.Revoke(t.Context(), leaf, 11), "no number": s.RevokeSerial(t.Context(), big.NewInt(0), nil, time.Time{}, 0),
		"not configured": off.Revoke(t.Context(), leaf, 0),
	} {
		if err == nil || s.body != nil || off.body != nil {
			t.Errorf("%s: %v, asked %s", name, err, s.body)
		}
	}
}

func TestTheCertificatesOfAServiceStandBesideThoseOfFiles(t *testing.T) {
	root, other := ratest.NewRoot(t, "Root").Certificate, ratest.NewRoot(t, "Other").Certificate
	s := serviceOf(t, func(c *Config) { c.Chain = []*x509.Certificate{root} })
	text, _ := json.Marshal(cacertsAnswer{pemOf(root) + pemOf(other)})
	s.text = string(text)
	certs, err := s.CACerts(t.Context())
	if err != nil || len(certs) != 3 || !certs[1].Equal(root) || !certs[2].Equal(other) || s.path != "/cacerts" {
		t.Errorf("%d certificates of %s: %v", len(certs), s.path, err)
	}
	if checks := s.Check(t.Context()); len(checks) != 3 || checks[0].Result != ra.Good || checks[1].Result != ra.Good || checks[2].What != "clock" {
		t.Errorf("%+v", checks)
	}
	for _, answer := range []struct {
		status int
		text   string
	}{{200, `{}`}, {200, `x`}, {200, ``}, {422, `no`}, {401, ``}} {
		s.status, s.text = answer.status, answer.text
		_, err := s.CACerts(t.Context())
		var e *ra.Error
		if !errors.As(err, &e) || e.Kind != ra.UpstreamDown {
			t.Errorf("%+v: %v", answer, err)
		}
	}
	if checks := s.Check(t.Context()); checks[0].Result != ra.Bad {
		t.Errorf("%+v", checks)
	}
	off := serviceOf(t, func(c *Config) { c.CACerts = false })
	if certs, err := off.CACerts(t.Context()); err != nil || len(certs) != 1 || off.body != nil {
		t.Errorf("%d certificates, asked %s: %v", len(certs), off.body, err)
	}
	if checks := off.Check(t.Context()); checks[0].Result != ra.Skipped {
		t.Errorf("%+v", checks)
	}
}

func TestAConfigurationThatCantWorkIsRefused(t *testing.T) {
	root := []*x509.Certificate{ratest.NewRoot(t, "Root").Certificate}
	own := func() secret.Text { return key }
	for want, c := range map[string]Config{
		"isn't an https URL":  {URL: "http://ca.example", Roots: root, Secret: own},
		"no root certificate": {URL: "https://ca.example", Secret: own},
		"no secret is given":  {URL: "https://ca.example", Roots: root},
		"timeout -1s":         {URL: "https://ca.example", Roots: root, Secret: own, Timeout: -time.Second},
	} {
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	f.Add([]byte(`{"certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ref": "x"}`))
	f.Add([]byte(`{"pending": {"retry_after": -1}}`))
	f.Add([]byte(`{"refused": {"reason": "no"}}`))
	u, err := New(Config{URL: "https://ca.example", Roots: []*x509.Certificate{{}}, Secret: func() secret.Text { return key }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var answer issueAnswer
		if json.Unmarshal(text, &answer) != nil {
			return
		}
		if got, err := u.issued(answer); (err == nil) == (got.Certificate == nil) {
			t.Errorf("%+v: %v", got, err)
		}
	})
}
