// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/acme"
	"github.com/caddy-est/estra/ra/upstream/acme/acmetest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

func open(t testing.TB, cfg acme.Config) *acme.Upstream {
	t.Helper()
	up, err := acme.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// withUsage tells the suite what pebble gives every certificate.
type withUsage struct{ *acme.Upstream }

func (withUsage) OneUsage() string { return acmetest.Usage }

// subject is a configuration for the suite.
func subject(ca *acmetest.CA, solver acme.Solver, change func(*acme.Config)) upstreamtest.Subject {
	at := func(t testing.TB, place upstreamtest.Place) ra.Upstream {
		cfg := ca.Config(acme.HTTP01, solver)
		cfg.Directory = place.URL + "/dir"
		if place.Timeout > 0 {
			cfg.Timeout, cfg.Wait = place.Timeout, 4*time.Second
		}
		change(&cfg)
		return withUsage{open(t, cfg)}
	}
	fronted := ca.Fronted()
	// finalizing is at a front that answers who finalizes an order; nil: the CA does.
	finalizing := func(t testing.TB, answer func() *problem) ra.Upstream {
		return at(t, upstreamtest.Place{URL: upstreamtest.NewFront(t, fronted.Server, fronted.TLS, func() string { return fronted.URL }, func(a *upstreamtest.Asked) {
			p := answer()
			if p == nil || !fronted.Signs(a.Request) {
				a.Relay()
				return
			}
			a.Status, a.Body = p.status, []byte(p.text)
			a.Header.Set("Content-Type", "application/problem+json")
			a.Answer()
		}).URL})
	}
	return upstreamtest.Subject{
		Open: at, Pins: ca.Roots[:1], CA: fronted,
		Revoked: func(_ testing.TB, c *x509.Certificate) (bool, int) { return ca.Revoked(c) },
		Refuse: func(t testing.TB) upstreamtest.Refusal {
			up := at(t, upstreamtest.Place{URL: fronted.URL})
			return upstreamtest.Refusal{Upstream: up, Order: upstreamtest.Named(t, up, acmetest.Blocked), Says: "rejectedIdentifier"}
		},
		Defer: func(t testing.TB) (ra.Upstream, func(bool)) {
			var says atomic.Pointer[problem]
			says.Store(&problem{500, "{}"})
			return finalizing(t, says.Load), func(grant bool) {
				if says.Store(nil); !grant {
					says.Store(&problem{403, `{"type": "urn:ietf:params:acme:error:badCSR", "status": 403, "detail": "no"}`})
				}
			}
		},
	}
}

// A problem is what a CA says in place of a certificate.
type problem struct {
	status int
	text   string
}

func TestRealPebble(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port})
	t.Run("by http-01", func(t *testing.T) { upstreamtest.Run(t, subject(ca, responder, func(*acme.Config) {})) })
	for name, c := range map[string]func(*acme.Config){
		"by dns-01": func(c *acme.Config) { c.Challenge, c.Solver = acme.DNS01, acmetest.TXT{CA: ca} },
		"with a CN": func(c *acme.Config) { c.Profile, c.CommonName = acmetest.Named, true },
	} {
		t.Run(name, func(t *testing.T) {
			upstreamtest.Issues(t, subject(ca, responder, c))
		})
	}
	if n := responder.Left(); n != 0 {
		t.Errorf("%d answers are left", n)
	}
	if t.Failed() {
		t.Log(ca.Log())
	}
}

func BenchmarkOverhead(b *testing.B) {
	responder := acmetest.NewResponder(b)
	ca := acmetest.Start(b, acmetest.Options{HTTPPort: responder.Port})
	key := ratest.NewKey(b)
	upstreamtest.Overhead(b, subject(ca, responder, func(*acme.Config) {}), func(sent, _ []byte) {
		// RFC 8555 section 6.2: each request is signed.
		hash := sha256.Sum256(sent)
		if _, err := key.Sign(rand.Reader, hash[:], crypto.SHA256); err != nil {
			b.Fatal(err)
		}
	})
}
