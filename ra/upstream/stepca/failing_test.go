// SPDX-License-Identifier: Apache-2.0

package stepca_test

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

func TestRealStepCAThatFails(t *testing.T) {
	ca := stepcatest.Start(t, stepcatest.Options{MaxDuration: 24 * time.Hour})
	t.Run("a refusal is UpstreamRefused, with step-ca's words for operators only", func(t *testing.T) {
		up := open(t, ca.Config())
		_, err := up.Issue(t.Context(), upstreamtest.Rewritten(t, up)) // 50 hours
		e := upstreamtest.Fails(t, err, ra.UpstreamRefused)
		if !strings.Contains(e.Reason, "403") {
			t.Errorf("the reason is %q", e.Reason)
		}
		if strings.Contains(e.Public, "403") || strings.Contains(strings.ToLower(e.Public), "step-ca") {
			t.Errorf("the client would read %q", e.Public)
		}
	})
	t.Run("a token that step-ca doesn't accept is UpstreamDown", func(t *testing.T) {
		for name, change := range map[string]func(*stepca.Config){
			"another provisioner": func(c *stepca.Config) { c.Provisioner = "nobody" },
			"another key":         func(c *stepca.Config) { k := *ca.Plain; k.KeyID = ca.JWK.KeyID; c.JWK = &k },
			"a clock that is off": func(c *stepca.Config) { c.Now = func() time.Time { return time.Now().Add(time.Hour) } },
		} {
			cfg := ca.Config()
			change(&cfg)
			_, err := open(t, cfg).Issue(t.Context(), order(t))
			e := upstreamtest.Fails(t, err, ra.UpstreamDown)
			if e.RetryAfter == 0 {
				t.Errorf("%s: no Retry-After", name)
			}
		}
	})
	t.Run("without a CRL at the CA the CRL is an error", func(t *testing.T) {
		_, err := open(t, ca.Config()).CRL(t.Context())
		upstreamtest.Fails(t, err, ra.UpstreamDown)
		cfg := ca.Config()
		cfg.CRL = true
		_, err = open(t, cfg).CRL(t.Context())
		upstreamtest.Fails(t, err, ra.UpstreamDown)
	})
	t.Run("a frozen CA is UpstreamTimeout where it may have issued, else UpstreamDown", func(t *testing.T) {
		cfg := ca.Config()
		cfg.Timeout = 400 * time.Millisecond
		warm, cold := open(t, cfg), open(t, cfg)
		if err := warm.Health(t.Context()); err != nil {
			t.Fatal(err)
		}
		ca.Pause()
		defer ca.Resume()
		_, err := warm.Issue(t.Context(), order(t))
		if e := upstreamtest.Fails(t, err, ra.UpstreamTimeout); !strings.Contains(e.Reason, "may have issued") {
			t.Errorf("on an open connection: %q", e.Reason)
		}
		_, err = cold.Issue(t.Context(), order(t))
		if e := upstreamtest.Fails(t, err, ra.UpstreamDown); e.RetryAfter == 0 || !strings.Contains(e.Reason, "no answer in time") {
			t.Errorf("without a connection: %q, Retry-After %s", e.Reason, e.RetryAfter)
		}
		_, err = warm.CACerts(t.Context())
		upstreamtest.Fails(t, err, ra.UpstreamDown)
	})
	t.Run("once it goes on it issues again", func(t *testing.T) {
		upstreamtest.Issue(t, open(t, ca.Config()), order(t))
	})
	t.Run("a stopped CA is UpstreamDown with a Retry-After", func(t *testing.T) {
		warm := open(t, ca.Config())
		if err := warm.Health(t.Context()); err != nil {
			t.Fatal(err)
		}
		ca.Stop()
		for name, up := range map[string]*stepca.Upstream{"warm": warm, "cold": open(t, ca.Config())} {
			_, err := up.Issue(t.Context(), order(t))
			e := upstreamtest.Fails(t, err, ra.UpstreamDown)
			if e.RetryAfter == 0 {
				t.Errorf("%s: no Retry-After", name)
			}
			_, err = up.CACerts(t.Context())
			upstreamtest.Fails(t, err, ra.UpstreamDown)
		}
	})
	if t.Failed() {
		t.Log(ca.Log())
	}
}
