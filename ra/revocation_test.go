// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

func TestRevokedAsksTheCAsList(t *testing.T) {
	upstream := ratest.NewCA(t)
	clock := newClock()
	ca := upstream.Known("x")
	ca.Now, ca.UseCRL = clock.now, true
	good := upstream.Intermediate.Device(t, "good.example").Leaf
	bad := upstream.Intermediate.Device(t, "bad.example").Leaf
	stranger := upstream.Root.Sub(t, "Sibling").Device(t, "x").Leaf
	if err := upstream.Revoke(t.Context(), bad, 1); err != nil {
		t.Fatal(err)
	}
	if revoked, err := ca.Revoked(t.Context(), good); revoked || err != nil {
		t.Errorf("a good one: %v, %v", revoked, err)
	}
	if revoked, err := ca.Revoked(t.Context(), bad); !revoked || err != nil {
		t.Errorf("a revoked one: %v, %v", revoked, err)
	}
	if _, err := ca.Revoked(t.Context(), stranger); err == nil {
		t.Error("the list answers for another issuer's certificate")
	}

	if err := upstream.Revoke(t.Context(), good, 1); err != nil {
		t.Fatal(err)
	}
	clock.pass(5 * time.Minute)
	if revoked, err := ca.Revoked(t.Context(), good); !revoked || err != nil {
		t.Errorf("revoked five minutes ago: %v, %v", revoked, err)
	}

	upstream.Set(ratest.Knobs{Down: true})
	clock.pass(9 * time.Minute)
	if revoked, err := ca.Revoked(t.Context(), good); !revoked || err != nil {
		t.Errorf("down, the list nine minutes old: %v, %v", revoked, err)
	}
	clock.pass(time.Minute)
	if _, err := ca.Revoked(t.Context(), good); err == nil {
		t.Error("down, the list ten minutes old: it still answers")
	}
	upstream.Set(ratest.Knobs{})
	clock.pass(2 * time.Second)
	if revoked, err := ca.Revoked(t.Context(), good); !revoked || err != nil {
		t.Errorf("up again: %v, %v", revoked, err)
	}
}

func TestRevokedFailsClosed(t *testing.T) {
	upstream := ratest.NewCA(t)
	leaf := upstream.Intermediate.Device(t, "device.example").Leaf
	known := func() *ra.CA {
		ca := upstream.Known("x")
		ca.UseCRL = true
		if err := ca.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return ca
	}
	for name, test := range map[string]struct {
		upstream ra.Upstream
		want     string
	}{
		"an upstream without CRL": {upstream: struct{ ra.Upstream }{upstream}, want: "publishes none"},
		"a list that isn't one":   {upstream: brokenCRL{upstream}, want: "crl:"},
		"a panic":                 {upstream: panicking{upstream}, want: "panic"},
	} {
		t.Run(name, func(t *testing.T) {
			ca := known()
			ca.Upstream = test.upstream
			_, err := ca.Revoked(t.Context(), leaf)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	off := known()
	off.UseCRL = false
	off.Upstream = brokenCRL{upstream}
	if revoked, err := off.Revoked(t.Context(), leaf); revoked || err != nil {
		t.Errorf("without UseCRL: %v, %v", revoked, err)
	}
}

type brokenCRL struct{ *ratest.CA }

func (brokenCRL) CRL(context.Context) ([]byte, error) { return []byte{0x30, 0}, nil }
