// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/binding"
)

// linkedTo is a CSR that carries the value of a connection, as a client
// computes it on its side.
func linkedTo(t testing.TB, conn *tls.Conn, oid string) string {
	t.Helper()
	cs := conn.ConnectionState()
	value := binding.FromTLS(&cs).Value()
	if value == "" {
		t.Fatal("the connection has no binding")
	}
	return csrBody(t, csrtest.Attribute(oid, csrtest.Printable(value)))
}

const identityLinking = "1.2.840.113549.1.9.16.2.58"

func TestLinkingEndToEnd(t *testing.T) {
	x := newSite(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, oid := range []string{csrtest.ChallengePassword, identityLinking} {
			t.Run(tls.VersionName(version)+" "+oid, func(t *testing.T) {
				l := x.dial(t, version)
				csr := linkedTo(t, l.Conn, oid)
				// A 401 doesn't use the binding up: libest posts first without
				// credentials (RFC 9266 section 4.1, requirement 56).
				l.send(posting("devices/simpleenroll", csr))
				if s := l.read(); s.status != 401 {
					t.Fatalf("%q", s.head)
				}
				l.send(posting("linked/simpleenroll", csr, basic))
				s := l.read()
				id, _ := s.get("X-Request-Id")
				record, rep := x.last(id)
				if s.status != 200 || record.TLS.Linked != "matched" {
					t.Fatalf("%q %v", s.head, rep.Err)
				}
				if v, _ := s.get("Connection"); v != "close" || !l.closed() {
					t.Errorf("Connection %q; the connection is to be closed", v)
				}
			})
		}
	}
}

// Elsewhere a certificate for id-kp-cmcRA (RFC 6402 section 2.10), of any
// issuer that is trusted, has switched the comparison off (RFC 7030 section 3.7
// lets an RA's requests pass unlinked). Here its holder is a client as any.
func TestThreat_ARegistrationAuthoritysCertificateIsNoLicenceToSkipLinking(t *testing.T) {
	x := newSite(t)
	ra := x.device("device.example", func(c *x509.Certificate) {
		c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}}
	})
	wrong := csrBody(t, csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable("AAAAAAAAAAAAAAAA")))
	foreign := linkedTo(t, x.dial(t, tls.VersionTLS13, ra).Conn, csrtest.ChallengePassword)
	for _, path := range []string{"linked/simpleenroll", "cert/simpleenroll"} {
		for _, user := range []string{"", right} {
			for _, body := range []string{wrong, foreign} {
				g := x.do(call{path: path, certs: certOf(ra), user: user, body: body})
				x.refused(t, g, 403, "link_failed", "linking of identity and proof of possession failed (RFC 7030 section 3.5)")
				if record, _ := x.last(g.Header.Get("X-Request-Id")); record.Who == nil || record.TLS.Linked != "mismatched" {
					t.Errorf("%s: who %+v, linked %q", path, record.Who, record.TLS.Linked)
				}
			}
		}
	}
	x.refused(t, x.do(call{path: "linked/simpleenroll", certs: certOf(ra)}), 403, "link_required",
		"linking of identity and proof of possession is required (RFC 7030 section 3.5)")
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
	// It is the linking alone that was refused.
	l := x.dial(t, tls.VersionTLS13, ra)
	l.send(posting("linked/simpleenroll", linkedTo(t, l.Conn, csrtest.ChallengePassword)))
	if s := l.read(); s.status != 200 {
		t.Errorf("%d %q with the right value", s.status, s.body)
	}
}

func TestALinkingValueOfAnotherConnectionFails(t *testing.T) {
	x := newSite(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		csr := linkedTo(t, x.dial(t, version).Conn, csrtest.ChallengePassword)
		for _, path := range []string{"simpleenroll", "linked/simpleenroll"} {
			l := x.dial(t, version)
			l.send(posting(path, csr, basic))
			if s := l.read(); s.status != 403 || !strings.Contains(s.body, "failed (RFC 7030 section 3.5)") {
				t.Errorf("%s: %d %q", path, s.status, s.body)
			}
		}
	}
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

func TestThreat_ALinkingValueIsComparedInFull(t *testing.T) {
	x := newSite(t)
	for name, change := range map[string]func(string) string{
		"a prefix":         func(v string) string { return v[:8] },
		"nothing":          func(string) string { return "" },
		"a longer one":     func(v string) string { return v + "A" },
		"it twice":         func(v string) string { return v + v },
		"in lower case":    strings.ToLower,
		"with a final NUL": func(v string) string { return v + "\x00" },
	} {
		l := x.dial(t, tls.VersionTLS13)
		cs := l.ConnectionState()
		value := change(binding.FromTLS(&cs).Value())
		l.send(posting("simpleenroll", csrBody(t, csrtest.Attribute(csrtest.ChallengePassword, csrtest.UTF8(value))), basic))
		if s := l.read(); s.status == 200 {
			t.Errorf("%s: %d", name, s.status)
		}
	}
}

// Two requests are on their way before the connection is closed.
func TestAChannelServesOneLinkedRequest(t *testing.T) {
	x := newSite(t)
	l := x.dial(t, tls.VersionTLS13)
	cs := l.ConnectionState()
	csr := linkedTo(t, l.Conn, csrtest.ChallengePassword)
	for i, want := range []int{200, 403} {
		r := httptest.NewRequest("POST", root+"/simpleenroll", strings.NewReader(csr))
		r.Header.Set("Content-Type", "application/pkcs10")
		r.SetBasicAuth("estuser", "estpwd")
		r.TLS = &cs // the client's side has the same exporter value
		w := httptest.NewRecorder()
		x.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("request %d: %d %q", i, w.Code, w.Body)
		}
		if got := w.Header().Get("Connection"); got != "close" {
			t.Errorf("request %d: Connection %q", i, got)
		}
	}
	if n := len(x.ca.Orders()); n != 1 {
		t.Errorf("%d orders", n)
	}
}

func TestConnectionCloseIsNeverSentOnHTTP3(t *testing.T) {
	x := newSite(t)
	for major, want := range map[int]string{1: "close", 2: "close", 3: ""} {
		l := x.dial(t, tls.VersionTLS13)
		cs := l.ConnectionState()
		r := httptest.NewRequest("POST", root+"/simpleenroll", strings.NewReader(linkedTo(t, l.Conn, csrtest.ChallengePassword)))
		r.Header.Set("Content-Type", "application/pkcs10")
		r.SetBasicAuth("estuser", "estpwd")
		r.TLS, r.ProtoMajor = &cs, major
		w := httptest.NewRecorder()
		x.ServeHTTP(w, r)
		if got := w.Header().Get("Connection"); w.Code != 200 || got != want {
			t.Errorf("HTTP/%d: %d, Connection %q", major, w.Code, got)
		}
	}
}

func TestALinkingValueWithoutTLSFails(t *testing.T) {
	x := newSite(t)
	csr := linkedTo(t, x.dial(t, tls.VersionTLS13).Conn, csrtest.ChallengePassword)
	r := httptest.NewRequest("POST", root+"/simpleenroll", strings.NewReader(csr))
	r.TLS = nil
	r.Header.Set("Content-Type", "application/pkcs10")
	r.SetBasicAuth("estuser", "estpwd")
	w := httptest.NewRecorder()
	if x.ServeHTTP(w, r); w.Code != 403 {
		t.Errorf("%d %q", w.Code, w.Body)
	}
}

// RFC 7030 section 3.2.3: HTTP credentials go over TLS alone.
func TestThreat_NoCredentialsWithoutTLS(t *testing.T) {
	x := newSite(t)
	for _, exposed := range []bool{true, false} {
		x.exposed = exposed
		r := httptest.NewRequest("POST", root+"/simpleenroll", strings.NewReader(csrBody(t)))
		r.Header.Set("Content-Type", "application/pkcs10")
		r.SetBasicAuth("estuser", "estpwd")
		w := httptest.NewRecorder()
		x.ServeHTTP(w, r)
		if want := map[bool]int{true: 403, false: 200}[exposed]; w.Code != want || len(challengesOf(w.Header())) > 0 {
			t.Errorf("no proxy: %v: %d %v", exposed, w.Code, w.Header())
		}
		record, _ := x.last(w.Header().Get("X-Request-Id"))
		if exposed && (record.Who != nil || !strings.Contains(string(record.Reason), "without TLS")) {
			t.Errorf("the record says %+v, %q", record.Who, record.Reason)
		}
		w = httptest.NewRecorder()
		if x.ServeHTTP(w, httptest.NewRequest("GET", root+"/cacerts", nil)); w.Code != 200 {
			t.Errorf("/cacerts: %d", w.Code)
		}
	}
}

// A connection may reach two servers of a process, and its binding serves once.
func TestAChannelIsSpentForAllServersOfTheProcess(t *testing.T) {
	x, y := newSite(t), newSite(t)
	l := x.dial(t, tls.VersionTLS13)
	cs := l.ConnectionState()
	body := linkedTo(t, l.Conn, csrtest.ChallengePassword)
	for i, s := range []*site{x, y} {
		r := httptest.NewRequest("POST", root+"/simpleenroll", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/pkcs10")
		r.SetBasicAuth("estuser", "estpwd")
		r.TLS = &cs
		w := httptest.NewRecorder()
		if s.ServeHTTP(w, r); w.Code != []int{200, 403}[i] {
			t.Errorf("server %d: %d %s", i+1, w.Code, w.Body)
		}
	}
}

func TestEarlyDataIsSentBack(t *testing.T) {
	x := newSite(t)
	for method, want := range map[string]int{"POST": 425, "GET": 200} {
		path := map[string]string{"POST": "/simpleenroll", "GET": "/cacerts"}[method]
		r := httptest.NewRequest(method, root+path, nil)
		r.SetBasicAuth("estuser", "estpwd")
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
		w := httptest.NewRecorder()
		if x.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s: %d", method, w.Code)
		}
		r.TLS, w = nil, httptest.NewRecorder() // behind a proxy
		r.Header.Set("Early-Data", "1")
		if x.ServeHTTP(w, r); w.Code != want {
			t.Errorf("%s with Early-Data: %d", method, w.Code)
		}
	}
	if x.checked != 0 {
		t.Error("a password in early data was checked")
	}
}

func TestSpentChannelsAreRememberedInABoundedSet(t *testing.T) {
	var s spent
	now := time.Unix(1_800_000_000, 0)
	for n := range spentKept + 10 {
		if !s.spend(numbered(n), now) || s.spend(numbered(n), now) {
			t.Fatalf("channel %d", n)
		}
	}
	if len(s.seen) != spentKept || len(s.queue) != spentKept {
		t.Errorf("%d and %d kept", len(s.seen), len(s.queue))
	}
	if s.spend(numbered(10), now) || !s.spend(numbered(9), now) {
		t.Error("another than the oldest was forgotten")
	}
	unique := binding.Channel{Version: tls.VersionTLS12, Unique: []byte{1, 2}}
	exporter := binding.Channel{Version: tls.VersionTLS12, Unique: []byte{1}, Exporter: []byte{2}}
	if !s.spend(unique, now) || !s.spend(exporter, now) {
		t.Error("two channels are taken for one")
	}
}

func TestSpentChannelsAreForgottenInTime(t *testing.T) {
	var s spent
	now := time.Unix(1_800_000_000, 0)
	for n := range 100 {
		s.spend(numbered(n), now.Add(time.Duration(n)*time.Minute))
	}
	if s.spend(numbered(0), now.Add(spentLife-time.Second)) {
		t.Error("the first was forgotten too early")
	}
	if later := now.Add(spentLife + 50*time.Minute); s.spend(numbered(51), later) || len(s.seen) != 49 || len(s.queue) != 49 {
		t.Errorf("%d and %d are kept, want those of the last %s", len(s.seen), len(s.queue), spentLife)
	}
	if s.spend(numbered(0), now.Add(3*spentLife)); len(s.seen) != 1 || len(s.queue) != 1 {
		t.Errorf("%d and %d are kept, want the newest alone", len(s.seen), len(s.queue))
	}
}

func numbered(n int) binding.Channel {
	return binding.Channel{Version: tls.VersionTLS13, Exporter: []byte{byte(n >> 16), byte(n >> 8), byte(n)}}
}

// A TLS 1.2 session that was resumed without extended master secret has no
// tls-unique (RFC 7627). The client is told what helps, and the connection is
// closed for it.
func TestAValueOnAResumedConnectionWithoutBindingAsksToReconnect(t *testing.T) {
	x := newSite(t)
	for _, path := range []string{"simpleenroll", "linked/simpleenroll"} {
		r := httptest.NewRequest("POST", root+"/"+path, strings.NewReader(
			csrBody(t, csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable("AAAAAAAAAAAAAAAA")))))
		r.Header.Set("Content-Type", "application/pkcs10")
		r.SetBasicAuth("estuser", "estpwd")
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS12, HandshakeComplete: true, DidResume: true}
		w := httptest.NewRecorder()
		x.ServeHTTP(w, r)
		record, rep := x.last(w.Header().Get("X-Request-Id"))
		if w.Code != 403 || rep.Kind != "link_failed" || record.TLS.Linked != "uncomputable" {
			t.Errorf("%s: %d, kind %s, linked %s", path, w.Code, rep.Kind, record.TLS.Linked)
		}
		if !strings.Contains(w.Body.String(), "connect again, by a full handshake with this server") || w.Header().Get("Connection") != "close" {
			t.Errorf("%s: %q, Connection %q", path, w.Body, w.Header().Get("Connection"))
		}
	}
}

// Without TLS here there is nothing that a client could compute.
func TestLinkingThatIsRequiredNamesNoBindingWithoutTLS(t *testing.T) {
	x := newSite(t)
	r := httptest.NewRequest("POST", root+"/linked/simpleenroll", strings.NewReader(csrBody(t)))
	r.TLS = nil
	r.Header.Set("Content-Type", "application/pkcs10")
	r.SetBasicAuth("estuser", "estpwd")
	w := httptest.NewRecorder()
	x.ServeHTTP(w, r)
	if _, there := w.Header()[binding.HeaderRequired]; w.Code != 403 || there { //nolint:staticcheck // it is spelled so
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// RFC 7894: each attribute that is there must succeed, and this version can
// honour neither of these.
func TestOtherChallengesAreRefusedByName(t *testing.T) {
	x := newSite(t)
	for name, oid := range map[string]string{
		"otpChallenge": binding.OTPChallenge.String(), "revocationChallenge": binding.RevocationChallenge.String(),
	} {
		g := x.do(call{user: right, body: csrBody(t, csrtest.Attribute(oid, csrtest.UTF8("s3cret")))})
		record, _ := x.last(g.Header.Get("X-Request-Id"))
		if g.StatusCode != 403 || !strings.Contains(string(record.Reason), "the attribute "+name) || strings.Contains(fmt.Sprintf("%+v", record), "s3cret") {
			t.Errorf("%s: %d, reason %s", name, g.StatusCode, record.Reason)
		}
	}
}
