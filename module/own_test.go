// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// pairFor is a self-signed certificate for a name.
func pairFor(t *testing.T, name string, usages ...x509.ExtKeyUsage) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now, NotAfter: now.Add(90 * 24 * time.Hour), ExtKeyUsage: usages,
		UnknownExtKeyUsage: ra.SelfUsages(),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// keeping is an app that keeps a certificate for each name.
func keeping(t *testing.T, names ...string) *App {
	t.Helper()
	a := &App{own: ownCertificates{byName: map[string]*ownCertificate{}}}
	upstream := &authority{ca: ratest.NewCA(t).Known("x")}
	for _, name := range names {
		a.own.byName[name] = &ownCertificate{name: name, upstream: upstream, held: pairFor(t, name), tried: make(chan struct{})}
	}
	return a
}

func TestTheOwnCertificateOfAName(t *testing.T) {
	a := keeping(t, "est.example.net", "*.w.example.net", "192.0.2.10")
	for name, want := range map[string]string{
		"est.example.net": "est.example.net", "EST.example.net.": "est.example.net", "a.w.example.net": "*.w.example.net", "192.0.2.10": "192.0.2.10",
		"": "", "a.b.w.example.net": "", "w.example.net": "", "other.example.net": "",
	} {
		cert, err := a.OwnCertificate(t.Context(), name)
		switch {
		case want == "" && !errors.Is(err, errNoOwn):
			t.Errorf("%q: got %v", name, err)
		case want != "" && (err != nil || cert.Leaf.Subject.CommonName != want):
			t.Errorf("%q: got %v, want that of %s", name, err, want)
		}
	}
}

func TestAHandshakeWaitsForTheFirstAttemptAlone(t *testing.T) {
	a := keeping(t, "est.example.net")
	own := a.own.byName["est.example.net"]
	cert := own.held
	own.held = nil
	go func() {
		time.Sleep(20 * time.Millisecond)
		own.mu.Lock()
		own.held = cert
		own.mu.Unlock()
		close(own.tried)
	}()
	if got, err := a.OwnCertificate(t.Context(), own.name); err != nil || got != cert {
		t.Errorf("got %v", err)
	}
	own.held, own.failure = nil, errors.New("the CA is down")
	begin := time.Now()
	if _, err := a.OwnCertificate(t.Context(), own.name); err == nil || !strings.Contains(err.Error(), "the CA is down") || time.Since(begin) > time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
	own.tried = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.OwnCertificate(ctx, own.name); err == nil {
		t.Error("a client that hung up gets one")
	}
}

func TestTheHookServesOurNamesAndLeavesTheRest(t *testing.T) {
	a := keeping(t, "est.example.net")
	caddys := pairFor(t, "caddy.example.net")
	var asked atomic.Int32
	next := func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked.Add(1)
		return caddys, nil
	}
	none := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("no certificate") }
	hello := func(name string, protos ...string) *tls.ClientHelloInfo {
		return &tls.ClientHelloInfo{
			ServerName: name, SupportedProtos: protos, SupportedVersions: []uint16{tls.VersionTLS13},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.CurveP256},
		}
	}
	onlyRSA := hello("est.example.net")
	onlyRSA.SignatureSchemes = []tls.SignatureScheme{tls.PSSWithSHA256}
	for name, c := range map[string]struct {
		hello *tls.ClientHelloInfo
		pol   caddytls.ConnectionPolicy
		next  func(*tls.ClientHelloInfo) (*tls.Certificate, error)
		want  string // of the certificate; empty: an error
	}{
		"our name":                   {hello("est.example.net"), caddytls.ConnectionPolicy{}, next, "est.example.net"},
		"another name":               {hello("caddy.example.net"), caddytls.ConnectionPolicy{}, next, "caddy.example.net"},
		"no name, and our default":   {hello(""), caddytls.ConnectionPolicy{DefaultSNI: "est.example.net"}, next, "est.example.net"},
		"no name, and no default":    {hello(""), caddytls.ConnectionPolicy{}, next, "caddy.example.net"},
		"a challenge of ACME":        {hello("est.example.net", "acme-tls/1"), caddytls.ConnectionPolicy{}, next, "caddy.example.net"},
		"a client for RSA keys":      {onlyRSA, caddytls.ConnectionPolicy{}, next, "caddy.example.net"},
		"an unknown name, a default": {hello("x.example"), caddytls.ConnectionPolicy{FallbackSNI: "est.example.net"}, none, "est.example.net"},
		"an unknown name, no more":   {hello("x.example"), caddytls.ConnectionPolicy{}, none, ""},
	} {
		cert, err := a.choose(c.hello, &c.pol, c.next)
		if got := ""; (c.want == "") != (err != nil) {
			t.Errorf("%s: got %v", name, err)
		} else if err == nil {
			if got = cert.Leaf.Subject.CommonName; got != c.want {
				t.Errorf("%s: got %s, want %s", name, got, c.want)
			}
		}
	}
}

// scripted is a keeper that gives what a test says.
type scripted struct {
	give   func(force bool) (*tls.Certificate, error)
	forced int
}

func (s *scripted) current(_ context.Context, force bool) (*tls.Certificate, error) {
	if force {
		s.forced++
	}
	return s.give(force)
}
func (*scripted) close() {}

func TestWhatIsHeldStaysWhenARenewalFails(t *testing.T) {
	a := keeping(t, "est.example.net")
	own := a.own.byName["est.example.net"]
	own.handler = &Handler{app: &App{expiry: newExpirySeconds()}}
	held := own.held
	for name, give := range map[string]func(bool) (*tls.Certificate, error){
		"an error":  func(bool) (*tls.Certificate, error) { return nil, errors.New("down") },
		"a panic":   func(bool) (*tls.Certificate, error) { panic("a bug") },
		"no answer": func(bool) (*tls.Certificate, error) { return held, errors.New("down") },
	} {
		own.keeper = &scripted{give: give}
		if err := own.look(t.Context(), zap.NewNop()); err == nil {
			t.Errorf("%s: no error", name)
		}
		if now, failure := own.state(); now != held || failure == nil {
			t.Errorf("%s: held is another one, or the failure %v is lost", name, failure)
		}
	}
	// The CA didn't issue it: it is made anew, once.
	k := &scripted{give: func(bool) (*tls.Certificate, error) { return held, nil }}
	own.keeper = k
	if err := own.look(t.Context(), zap.NewNop()); err == nil || k.forced != 1 {
		t.Errorf("a stranger's certificate: %v after %d renewals", err, k.forced)
	}
}

func TestThePINIsNowhereToBeRead(t *testing.T) {
	for text, want := range map[string]string{
		"pkcs11:token=ra;object=est?pin-value=hunter2":             "pkcs11:token=ra;object=est?pin-value=…",
		"pkcs11:token=ra?pin-value=hunter2&module-name=x":          "pkcs11:token=ra?pin-value=…&module-name=x",
		"error of PKCS11:token=ra?PIN-VALUE=hunter2":               "error of PKCS11:token=ra?PIN-VALUE=…",
		"pkcs11:token=ra;object=est?pin-source=/etc/caddy/est/pin": "pkcs11:token=ra;object=est?pin-source=/etc/caddy/est/pin",
		"softkms:path=x;password=hunter2;more=1":                   "softkms:path=x;password=…;more=1",
		"https://kms.example/?secret=hunter2":                      "https://kms.example/?secret=…",
	} {
		if got := withoutPIN(text); got != want || strings.Contains(got, "hunter2") {
			t.Errorf("%s became %s", text, got)
		}
	}
	if err := checkKey("nothing:pin-value=hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func FuzzKeyURIs(f *testing.F) {
	for _, uri := range []string{"", "pkcs11:token=ra;object=est?pin-source=/x", "softkms:path=x", "awskms:", "%zz:", "pkcs11:%", "a\x00b"} {
		f.Add(uri)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if err := checkKey(uri); err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
		if text := withoutPIN("pin-value=" + uri); text == "" {
			t.Error("a URI vanishes")
		}
	})
}

func TestRenewalIsDueWhenAThirdIsLeft(t *testing.T) {
	begin := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	c := &x509.Certificate{NotBefore: begin, NotAfter: begin.Add(90 * time.Hour)}
	for after, want := range map[time.Duration]bool{0: false, 59 * time.Hour: false, 61 * time.Hour: true, 100 * time.Hour: true} {
		if due(c, begin.Add(after)) != want {
			t.Errorf("after %s: want %t", after, want)
		}
	}
	for failures, least := range map[int]time.Duration{0: 2 * time.Second, 1: 4 * time.Second, 20: 5 * time.Minute} {
		if wait := backoff(failures); wait < least || wait > least+least/4 {
			t.Errorf("after %d failures it waits %s", failures, wait)
		}
	}
}

func TestASitesCertificateWithoutCMCRAIsWarnedOfOnce(t *testing.T) {
	with, without := pairFor(t, "a.example"), pairFor(t, "a.example")
	without.Leaf.UnknownExtKeyUsage = nil
	public := x509.NewCertPool()
	public.AddCert(without.Leaf)
	for name, c := range map[string]struct {
		certs    []*tls.Certificate
		implicit *x509.CertPool
		all      bool
		said     int
	}{
		"with it":               {[]*tls.Certificate{with}, nil, true, 0},
		"without it":            {[]*tls.Certificate{without}, nil, true, 1},
		"under a public root":   {[]*tls.Certificate{without}, public, true, 0},
		"which isn't there yet": {nil, nil, false, 0},
		"another's public root": {[]*tls.Certificate{without}, x509.NewCertPool(), true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			logs, core := observed()
			a := &App{log: zap.New(core), handlers: []*Handler{{foreign: []string{"a.example"}}}}
			w := newLackWarnings()
			w.certificates = func(string) []*tls.Certificate { return c.certs }
			w.implicit = func() *x509.CertPool { return c.implicit }
			for range 2 {
				if got := w.look(a); got != c.all {
					t.Errorf("nothing is left: %t", got)
				}
			}
			if n := logs(); n != c.said {
				t.Errorf("%d warnings, want %d", n, c.said)
			}
		})
	}
}

// observed counts what is logged.
func observed() (count func() int, core zapcore.Core) {
	var n atomic.Int32
	core = zapcore.NewNopCore()
	return func() int { return int(n.Load()) }, zapcore.RegisterHooks(debugging{core}, func(zapcore.Entry) error { n.Add(1); return nil })
}

// debugging takes every entry, which a no-op core doesn't.
type debugging struct{ zapcore.Core }

func (debugging) Enabled(zapcore.Level) bool { return true }
func (d debugging) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, d)
}
