// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"crypto/x509"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/store"
)

// testLater has an authority ask until the CA has decided: one certificate comes of
// it, or none.
func (s Subject) testLater(t *testing.T) {
	up := s.open(t)
	deferrer, is := up.(ra.Deferrer)
	is = is && deferrer.Defers()
	if is != (s.Defer != nil) {
		t.Fatalf("it says that its CA may decide later: %t; the test has a CA that does: %t", is, s.Defer != nil)
	}
	if !is {
		s.testNeverLater(t)
		return
	}
	for name, grants := range map[string]bool{"the CA grants it": true, "the CA refuses it": false} {
		t.Run(name, func(t *testing.T) {
			up, decide := s.Defer(t)
			d := newDesk(t, up)
			first := d.waits(t)
			if first.RetryAfter <= 0 {
				t.Errorf("a device may come again after %s", first.RetryAfter)
			}
			s.private(t, first)
			_ = d.waits(t) // by what it is called there, or by the request itself
			decide(grants)
			out, err := d.enroll(t)
			if !grants {
				_ = Fails(t, err, ra.UpstreamRefused)
				return
			}
			if err != nil || out.Certificate == nil {
				t.Fatalf("%v, %+v", err, out)
			}
			again, err := d.enroll(t)
			if err != nil || again.Certificate == nil || !again.Certificate.Equal(out.Certificate) {
				t.Errorf("asked again: %v, %+v", err, again)
			}
		})
	}
}

// testNeverLater: whatever comes with 202, it isn't taken for a decision that comes
// later, since nobody would ask for it.
func (s Subject) testNeverLater(t *testing.T) {
	if s.CA == nil {
		return
	}
	front := s.line(t)
	up := s.Open(t, Place{URL: front.URL})
	order := plain(t, up)
	for _, body := range []string{"", "{}", "accepted"} {
		front.spoil(says(202, body, "Retry-After", "60"))
		if _, err := up.Issue(t.Context(), order); err == nil {
			t.Errorf("202 with %q gave a certificate", body)
		} else if kind, _ := kindOf(err); kind == ra.Pending {
			t.Errorf("202 with %q: %v", body, err)
		}
	}
}

// A desk is an authority with a store, where one device asks for one certificate.
type desk struct {
	authority *ra.Authority
	profile   *policy.Profile
	csr       []byte
}

func newDesk(t testing.TB, up ra.Upstream) *desk {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	p := ratest.Policy(t, permissive(up))
	profile, ok := p.Profile("")
	if !ok {
		t.Fatal("the policy has no default")
	}
	trusted := caCerts(t, up)
	ca := &ra.CA{Name: ratest.Upstream, Upstream: up, Pins: func() []*x509.Certificate { return trusted }}
	return &desk{profile: profile, csr: named(t, up.Carries(), "later.example"), authority: &ra.Authority{
		Policy: p, CAs: map[string]*ra.CA{ratest.Upstream: ca}, Ledger: db.Certificates(), Node: "one",
	}}
}

// enroll sends the request once more.
func (d *desk) enroll(t testing.TB) (ra.Outcome, error) {
	t.Helper()
	request, err := csr.Parse(d.csr)
	if err != nil {
		t.Fatal(err)
	}
	return d.authority.Enroll(t.Context(), d.profile, ra.Request{ID: ra.NewID(time.Now()), Request: policy.Request{
		Op: policy.SimpleEnroll, CSR: request, Linking: policy.Absent,
		Who: policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: ratest.User}}},
	}})
}

func (d *desk) waits(t testing.TB) *ra.Error {
	t.Helper()
	out, err := d.enroll(t)
	var e *ra.Error
	if !errors.As(err, &e) || e.Kind != ra.Pending || out.Certificate != nil {
		t.Fatalf("got %v, want %v", err, ra.Pending)
	}
	return e
}
