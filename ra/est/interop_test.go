// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/wire"
)

// The requests of real clients, byte for byte as they came.
func TestRecordedClients(t *testing.T) {
	x := newSite(t)
	device := []tls.Certificate{x.device("device.example")}
	cases := []struct {
		file    string
		certs   []tls.Certificate
		status  int
		kind    string
		wrapped bool
		armour  bool
	}{
		{file: "libest-3.2.0-enroll-before-challenge", status: 401, kind: "unauthenticated"},
		{file: "libest-3.2.0-enroll-basic", status: 200, kind: "ok", wrapped: true},
		{file: "libest-3.2.0-enroll-label", status: 200, kind: "ok", wrapped: true},
		{file: "libest-3.2.0-enroll-with-csrattrs", status: 403, kind: "refused"},
		{file: "libest-3.2.0-enroll-tls-unique", status: 403, kind: "link_failed"},
		{file: "libest-3.2.0-serverkeygen-basic", status: 404, kind: "operation_off"},
		{file: "bouncycastle-1.72-serverkeygen-basic", status: 404, kind: "operation_off"},
		{file: "bouncycastle-1.72-enroll", status: 401, kind: "unauthenticated"},
		{file: "bouncycastle-1.72-enroll", certs: device, status: 200, kind: "ok"},
		{file: "thales-estclient-enroll", status: 401, kind: "unauthenticated"},
		{file: "thales-estclient-enroll", certs: device, status: 200, kind: "ok"},
		{file: "rfc7030-est-client-enroll", status: 401, kind: "unauthenticated"},
		{file: "rfc7030-est-client-enroll", certs: device, status: 200, kind: "ok"},
		{file: "rfc7030-est-client-enroll-pem", status: 401, kind: "unauthenticated"},
		{file: "rfc7030-est-client-enroll-pem", certs: device, status: 200, kind: "ok", armour: true},
		{file: "strongswan-5.9.8-enroll-basic", status: 200, kind: "ok"},
		{file: "thales-estclient-enroll-basic", status: 200, kind: "ok"},
		{file: "est-client-python-enroll-basic", status: 200, kind: "ok"},
		{file: "est-client-python-enroll-basic-pem", status: 200, kind: "ok", armour: true},
		{file: "curl-enroll-chunked", status: 200, kind: "ok"},
	}
	var replayed []string
	for _, c := range cases {
		replayed = append(replayed, c.file)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(c.file+" on "+tls.VersionName(version), func(t *testing.T) {
				request, err := os.ReadFile(filepath.Join("testdata", "clients", c.file+".http"))
				if err != nil {
					t.Fatal(err)
				}
				l := x.dial(t, version, c.certs...)
				l.send(string(request))
				s := l.read()
				id, _ := s.get("X-Request-Id")
				record, rep := x.last(id)
				if s.status != c.status || rep.Kind != c.kind {
					t.Fatalf("%d %s (%v), want %d %s", s.status, rep.Kind, rep.Err, c.status, c.kind)
				}
				if rep.PEMArmoured != c.armour {
					t.Errorf("PEM armour: %v", rep.PEMArmoured)
				}
				if c.status == 403 && (record.Decision == nil || len(record.Decision.Findings) == 0) {
					t.Errorf("no findings in %+v", record)
				}
				if c.status == 200 {
					checkEnrolled(t, s, c.wrapped)
				}
			})
		}
	}
	files, _ := filepath.Glob(filepath.Join("testdata", "clients", "*.http"))
	for _, f := range files {
		if name := strings.TrimSuffix(filepath.Base(f), ".http"); !slices.Contains(replayed, name) {
			t.Errorf("%s is not replayed", name)
		}
	}
}

// libest copies the attributes of /csrattrs into its request, here another
// server's. A policy that lists them takes it.
func TestLibestsCopiesOfCSRAttrsCanBeAllowed(t *testing.T) {
	const next = "  both:\n"
	x := newSite(t, under(strings.Replace(strings.ReplaceAll(rules, "BODY", strings.Trim(body, "\n")), next,
		`    attributes: {allow: [emailAddress, "2.16.840.1.101.3.4.2.2"]}`+"\n"+next, 1)))
	request, err := os.ReadFile(filepath.Join("testdata", "clients", "libest-3.2.0-enroll-with-csrattrs.http"))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		l := x.dial(t, version)
		l.send(string(request))
		s := l.read()
		if s.status != 200 {
			id, _ := s.get("X-Request-Id")
			record, _ := x.last(id)
			t.Fatalf("%d %+v", s.status, record.Decision)
		}
		checkEnrolled(t, s, true)
		if leaf := (got{body: s.body}).certs(t)[0]; len(leaf.EmailAddresses) != 0 || leaf.Subject.String() != "CN=EST-client" {
			t.Errorf("the certificate has %v %v", leaf.Subject, leaf.EmailAddresses)
		}
	}
}

// libest sends `Connection: close` with every request, and waits for the end.
func TestAConnectionThatTheClientClosesIsClosedAfterTheAnswer(t *testing.T) {
	x := newSite(t)
	csr := csrBody(t)
	for name, c := range map[string]struct {
		request string
		status  int
	}{
		"enrolled": {posting("simpleenroll", csr, basic, "Connection: close"), 200},
		"401":      {posting("simpleenroll", csr, "Connection: close"), 401},
		"403":      {posting("linked/simpleenroll", csr, basic, "Connection: close"), 403},
		"cacerts":  {"GET " + root + "/cacerts HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200},
	} {
		l := x.dial(t, tls.VersionTLS12)
		l.send(c.request)
		s := l.read()
		if v, _ := s.get("Connection"); s.status != c.status || v != "close" || !l.closed() {
			t.Errorf("%s: %d with Connection %q", name, s.status, v)
		}
		if c.status == 200 && len((got{body: s.body}).certs(t)) == 0 {
			t.Errorf("%s: %q", name, s.body)
		}
	}
	l := x.dial(t, tls.VersionTLS12)
	for range 2 {
		l.send(posting("simpleenroll", csr, basic))
		if s := l.read(); s.status != 200 || slices.Contains(s.head, "Connection: close") {
			t.Errorf("a connection that nobody closes: %q", s.head)
		}
	}
}

// checkEnrolled holds a success against interop.md's rows.
func checkEnrolled(t *testing.T, s said, wrapped bool) {
	t.Helper()
	for name, want := range map[string]string{
		"Content-Type":              "application/pkcs7-mime; smime-type=certs-only",
		"Content-Transfer-Encoding": "base64",
	} {
		if v, _ := s.get(name); v != want {
			t.Errorf("%s: %q, want %q", name, v, want)
		}
	}
	lines := strings.Split(strings.TrimSuffix(s.body, "\n"), "\n")
	if !strings.HasSuffix(s.body, "\n") || (len(lines) > 1) != wrapped || wrapped && len(lines[0]) != 64 {
		t.Errorf("%d lines, the first of %d columns", len(lines), len(lines[0]))
	}
	if certs := (got{body: s.body}).certs(t); len(certs) != 1 || certs[0].IsCA {
		t.Errorf("%d certificates, want the issued one alone", len(certs))
	}
}

func TestEveryAnswerFitsSmallClients(t *testing.T) {
	long := `Digest realm="estra", nonce="` + strings.Repeat("n", 1000) + `"`
	x := newSite(t)
	x.Challenge = always(basicChallenge, `Digest realm="estra", nonce="x", qop="auth"`, long)
	for name, request := range map[string]string{
		"enroll":     posting("simpleenroll", csrBody(t), basic),
		"401":        posting("simpleenroll", csrBody(t)),
		"403":        posting("linked/simpleenroll", csrBody(t), basic),
		"404":        posting("nowhere/simpleenroll", csrBody(t)),
		"cacerts":    "GET " + root + "/cacerts HTTP/1.1\r\nHost: x\r\n\r\n",
		"csrattrs":   "GET " + root + "/csrattrs HTTP/1.1\r\nHost: x\r\n\r\n",
		"bad method": "GET " + root + "/simpleenroll HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		l := x.dial(t, tls.VersionTLS12)
		l.send(request)
		s := l.read()
		if s.size >= 1024 {
			t.Errorf("%s: %d bytes of header", name, s.size)
		}
		if v, ok := s.get("Transfer-Encoding"); ok {
			t.Errorf("%s: Transfer-Encoding %s", name, v)
		}
		if v, _ := s.get("Cache-Control"); v != "no-store" {
			t.Errorf("%s: Cache-Control %q", name, v)
		}
	}
}

func TestTheChallengeIsAsLibestAndBouncyCastleNeedIt(t *testing.T) {
	x := newSite(t)
	l := x.dial(t, tls.VersionTLS12)
	for range 2 { // the connection serves on: no 401 uses it up
		l.send(posting("simpleenroll", csrBody(t), "User-Agent: libest 3.2.0p"))
		s := l.read()
		challenge, ok := s.get("WWW-Authenticate")
		length, _ := s.get("Content-Length")
		kind, _ := s.get("Content-Type")
		if s.status != 401 || !ok || challenge != basicChallenge || length != "0" || kind != wire.TypeText {
			t.Errorf("%q", s.head)
		}
	}
	l.send(posting("simpleenroll", csrBody(t), basic))
	if s := l.read(); s.status != 200 {
		t.Errorf("%q", s.head)
	}
}

func TestBodiesThatClientsSend(t *testing.T) {
	x := newSite(t)
	der := csrtest.New(t)
	line := strings.TrimSuffix(string(wire.EncodeBody(der, false)), "\n")
	wrapped := string(wire.EncodeBody(der, true))
	for name, c := range map[string]call{
		"one line":                     {body: line},
		"CRLF":                         {body: strings.ReplaceAll(wrapped, "\n", "\r\n")},
		"spaces and tabs":              {body: strings.ReplaceAll(wrapped, "\n", " \t\n")},
		"a type with parameters":       {body: line, header: http.Header{"Content-Type": {"Application/PKCS10; charset=utf-8; name=x"}}},
		"transfer encoding binary":     {body: line, header: http.Header{"Content-Transfer-Encoding": {"binary"}}},
		"transfer encoding nonsense":   {body: line, header: http.Header{"Content-Transfer-Encoding": {"x"}}},
		"a query that means nothing":   {body: line, path: "simpleenroll?x=../y"},
		"a request id of the client":   {body: line, header: http.Header{"X-Request-Id": {"mine"}}},
		"HTTP/2":                       {body: line, http2: true},
		"a 100-continue is waited for": {body: line, header: http.Header{"Expect": {"100-continue"}}},
		"an Accept of text":            {body: line, header: http.Header{"Accept": {"text/plain"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c.user = right
			g := x.do(c)
			if g.StatusCode != 200 {
				t.Fatal(g.StatusCode, g.body)
			}
			if c.http2 != (g.ProtoMajor == 2) {
				t.Error(g.Proto)
			}
			if g.Header.Get("X-Request-Id") == "mine" {
				t.Error("the client's request id is taken over")
			}
		})
	}
}

func TestQuirks(t *testing.T) {
	x := newSite(t)
	x.Quirks = wire.Quirks{NoTransferEncoding: true, CACertsSMIMEType: true, Wrapped: []string{"acme"}}
	g := x.do(call{user: right, header: http.Header{"User-Agent": {"Acme/1"}}})
	if g.Header.Get("Content-Transfer-Encoding") != "" || strings.Count(g.body, "\n") < 5 {
		t.Errorf("%v %q", g.Header, g.body)
	}
	if g := x.do(call{method: "GET", path: "cacerts"}); g.Header.Get("Content-Type") != wire.TypeCertsOnly {
		t.Error(g.Header)
	}
}

func TestCACertsHasTheRootAndHEADHasItsHeader(t *testing.T) {
	x := newSite(t)
	g := x.do(call{method: "GET", path: "cacerts"})
	if g.StatusCode != 200 || g.Header.Get("Content-Type") != "application/pkcs7-mime" || g.Header.Get("Content-Transfer-Encoding") != "base64" {
		t.Fatal(g.StatusCode, g.Header)
	}
	certs := g.certs(t)
	if len(certs) != 2 || !slices.ContainsFunc(certs, x.ca.Root.Certificate.Equal) {
		t.Errorf("%d certificates", len(certs))
	}
	head := x.do(call{method: "HEAD", path: "cacerts"})
	if head.StatusCode != 200 || head.body != "" || head.ContentLength != int64(len(g.body)) {
		t.Errorf("HEAD: %d, %d bytes announced, %q", head.StatusCode, head.ContentLength, head.body)
	}
}

func TestCSRAttrsIsNeverEmptyByDefault(t *testing.T) {
	x := newSite(t)
	for path, linked := range map[string]bool{"csrattrs": false, "linked/csrattrs": true} {
		g := x.do(call{method: "GET", path: path})
		if g.StatusCode != 200 || g.Header.Get("Content-Type") != "application/csrattrs" || g.Header.Get("Content-Transfer-Encoding") != "base64" {
			t.Fatal(g.StatusCode, g.Header)
		}
		der, _, err := wire.DecodeBody([]byte(g.body))
		if err != nil {
			t.Fatal(err)
		}
		list, err := csrattrs.Parse(der)
		if err != nil || len(list) == 0 {
			t.Fatalf("%v %v", list, err)
		}
		// RFC 7030 section 4.5.2: required linking is announced.
		if got := slices.ContainsFunc(list, func(a csrattrs.AttrOrOID) bool { return a.OID.String() == csrtest.ChallengePassword }); got != linked {
			t.Errorf("%s: challengePassword %v in %v", path, got, list)
		}
	}
}
