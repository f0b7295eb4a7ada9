// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/crl"
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

func TestThreat_RevocationFailsClosed(t *testing.T) {
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

// step-ca drops an entry an hour after the certificate's notAfter (RFC 5280
// section 3.3 lets it): not listed doesn't mean not revoked then.
func TestThreat_ARevokedCertificateStaysRevokedWhenItHasExpired(t *testing.T) {
	upstream := ratest.NewCA(t)
	clock := newClock()
	ca := upstream.Known("x")
	ca.Now, ca.UseCRL = clock.now, true
	ca.Upstream = forgetfulCRL{upstream, clock.now}
	until := func(name string) *x509.Certificate {
		return upstream.Intermediate.Device(t, name, func(c *x509.Certificate) { c.NotAfter = begin.Add(time.Minute) }).Leaf
	}
	good, bad := until("good.example"), until("bad.example")
	if err := upstream.Revoke(t.Context(), bad, 1); err != nil {
		t.Fatal(err)
	}
	if revoked, err := ca.Revoked(t.Context(), bad); !revoked || err != nil {
		t.Errorf("while it was valid: %v, %v", revoked, err)
	}
	clock.pass(2 * time.Minute)
	if revoked, err := ca.Revoked(t.Context(), good); revoked || err != nil {
		t.Errorf("a good one, expired since the list was issued: %v, %v", revoked, err)
	}
	clock.pass(2 * time.Hour)
	if _, err := ca.Revoked(t.Context(), bad); !errors.Is(err, crl.ErrExpired) {
		t.Errorf("after its entry is gone: %v", err)
	}
}

// forgetfulCRL issues a list at each question, and leaves everything out when
// it is more than an hour past begin.
type forgetfulCRL struct {
	*ratest.CA
	now func() time.Time
}

func (f forgetfulCRL) CRL(context.Context) ([]byte, error) {
	list := &x509.RevocationList{
		Number: big.NewInt(f.now().Unix()), ThisUpdate: f.now(), NextUpdate: f.now().Add(time.Hour),
	}
	if f.now().Before(begin.Add(time.Hour)) {
		list.RevokedCertificateEntries = f.Revoked()
	}
	return x509.CreateRevocationList(rand.Reader, list, f.Intermediate.Certificate, f.Intermediate.Key)
}

// wholeCRL has the certificates of every key.
type wholeCRL struct{ *ratest.CA }

func (wholeCRL) ListsEveryKey() bool { return true }

type brokenCRL struct{ *ratest.CA }

func (brokenCRL) CRL(context.Context) ([]byte, error) { return []byte{0x30, 0}, nil }

// A CA that has changed its issuing key publishes the list of the new one alone,
// under another name or the same. Only a CA that says so has the certificates of its
// former keys in that.
func TestACertificateOfAFormerIssuerIsJudgedByItsOwnList(t *testing.T) {
	for name, test := range map[string]struct {
		next   string // the name of the next issuer; empty: the same
		whole  bool
		asked  bool // the former list was read
		answer bool // there is one about the former issuer
	}{
		"its list was read before":                             {next: "Next Issuing CA", asked: true, answer: true},
		"its list was never read":                              {next: "Next Issuing CA"},
		"under one name, its list was read before":             {asked: true, answer: true},
		"under one name, its list was never read":              {},
		"under one name, with one list for every key":          {whole: true, answer: true},
		"under another name, with one list for every key":      {next: "Next Issuing CA", whole: true},
		"with one list for every key, and another name before": {next: "Next Issuing CA", whole: true, asked: true, answer: true},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := ratest.NewCA(t)
			clock := newClock()
			ca := upstream.Known("x")
			ca.Now, ca.UseCRL = clock.now, true
			if test.whole {
				ca.Upstream = wholeCRL{upstream}
			}
			good := upstream.Intermediate.Device(t, "good.example").Leaf
			bad := upstream.Intermediate.Device(t, "bad.example").Leaf
			if err := errors.Join(upstream.Revoke(t.Context(), bad, 1), ca.Start(t.Context())); err != nil {
				t.Fatal(err)
			}
			if test.asked {
				if _, err := ca.Revoked(t.Context(), good); err != nil {
					t.Fatal(err)
				}
			}
			upstream.Intermediate = upstream.Root.Sub(t, cmp.Or(test.next, upstream.Intermediate.Certificate.Subject.CommonName))
			upstream.Publish(upstream.Root.Certificate, upstream.Intermediate.Certificate)
			clock.pass(2 * time.Hour)
			if err := ca.Refresh(t.Context()); err != nil {
				t.Fatal(err)
			}
			if revoked, err := ca.Revoked(t.Context(), upstream.Intermediate.Device(t, "new.example").Leaf); revoked || err != nil {
				t.Errorf("a certificate of the new issuer: %v, %v", revoked, err)
			}
			revoked, err := ca.Revoked(t.Context(), bad)
			if revoked != test.answer || crl.ForGood(err) == test.answer {
				t.Errorf("a revoked certificate of the former issuer: %v, %v", revoked, err)
			}
			revoked, err = ca.Revoked(t.Context(), good)
			if revoked || crl.ForGood(err) == test.answer {
				t.Errorf("a good certificate of the former issuer: %v, %v", revoked, err)
			}
		})
	}
}
