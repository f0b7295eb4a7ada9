// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"testing"

	"github.com/caddy-est/estra/ra"
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

func TestRealPebble(t *testing.T) {
	responder := acmetest.NewResponder(t)
	ca := acmetest.Start(t, acmetest.Options{HTTPPort: responder.Port})
	for name, c := range map[string]func(*acme.Config){
		"by http-01": func(*acme.Config) {},
		"by dns-01":  func(c *acme.Config) { c.Challenge, c.Solver = acme.DNS01, acmetest.TXT{CA: ca} },
		"with a CN":  func(c *acme.Config) { c.Profile, c.CommonName = acmetest.Named, true },
	} {
		t.Run(name, func(t *testing.T) {
			upstreamtest.Run(t, func(t testing.TB) ra.Upstream {
				cfg := ca.Config(acme.HTTP01, responder)
				c(&cfg)
				return withUsage{open(t, cfg)}
			}, ca.Roots[0])
		})
	}
	if n := responder.Left(); n != 0 {
		t.Errorf("%d answers are left", n)
	}
	if t.Failed() {
		t.Log(ca.Log())
	}
}
