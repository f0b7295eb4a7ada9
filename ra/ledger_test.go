// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/store"
)

// bySerial is a CA that revokes what nobody has seen.
type bySerial struct {
	*ratest.CA
	mu      sync.Mutex
	revoked []string
	fails   error
}

func (b *bySerial) RevokeSerial(_ context.Context, serial *big.Int, _ *x509.Certificate, _ time.Time, _ int) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails == nil {
		b.revoked = append(b.revoked, fmt.Sprintf("%x", serial.Bytes()))
	}
	return b.fails
}

// inProcess is a CA that signs here.
type inProcess struct{ *ratest.CA }

func (inProcess) SignsInProcess() {}

// A book is a scene with a ledger, whose time stands still.
type book struct {
	*scene
	store store.Store
	ids   int
	now   time.Time
}

func newBook(t *testing.T) *book {
	t.Helper()
	s, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &book{scene: newScene(t), store: s, now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)}
	b.authority.Ledger, b.authority.Node = s.Certificates(), "one"
	b.authority.Now = func() time.Time { return b.now }
	return b
}

// request is one by a user, whose CSR is made anew each time. Its key stays.
func (b *book) request(t *testing.T, user string, options ...csrtest.Option) ra.Request {
	t.Helper()
	b.ids++
	r := request(t, policy.SimpleEnroll, user, append(options, csrtest.Attribute("1.2.840.113549.1.9.7", csrtest.UTF8(fmt.Sprint(b.ids))))...)
	r.ID = fmt.Sprintf("%032d", b.ids)
	return r
}

func (b *book) enroll(t *testing.T, r ra.Request) (ra.Outcome, error) {
	t.Helper()
	return b.authority.Enroll(t.Context(), b.profile, r)
}

// states are the ids of entries without their zeros, with their states, oldest first.
func (b *book) states(t *testing.T) string {
	t.Helper()
	all, err := b.store.Certificates().List(t.Context(), store.CertificateQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, c := range all {
		mark := ""
		if !c.Revoked.IsZero() {
			mark = " revoked"
		}
		text = append([]string{strings.TrimLeft(c.ID, "0") + " " + string(c.State) + mark}, text...)
	}
	return strings.Join(text, ", ")
}

func (b *book) want(t *testing.T, what, states string) {
	t.Helper()
	if got := b.states(t); got != states {
		t.Errorf("%s: the ledger has %q, want %q", what, got, states)
	}
}

func issued(t *testing.T, out ra.Outcome, err error) *x509.Certificate {
	t.Helper()
	if err != nil || out.Certificate == nil {
		t.Fatalf("not issued: %v", err)
	}
	return out.Certificate
}

func TestARequestThatIsSentAgainGetsItsCertificate(t *testing.T) {
	for name, local := range map[string]bool{"a CA elsewhere": false, "a CA in this process": true} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			if local {
				b.ca.Upstream = inProcess{b.upstream}
			}
			out, err := b.enroll(t, b.request(t, ratest.User))
			first := issued(t, out, err)
			if out.Replays != "" {
				t.Error("the first one is a replay")
			}
			b.now = b.now.Add(23 * time.Hour)
			out, err = b.enroll(t, b.request(t, ratest.User))
			if again := issued(t, out, err); !again.Equal(first) || out.Replays != fmt.Sprintf("%032d", 1) || out.Serial != nil {
				t.Errorf("the repeat has the serial number %x, of %q", again.SerialNumber, out.Replays)
			}
			if n := len(b.upstream.Issued()); n != 1 {
				t.Errorf("the CA was asked %d times", n)
			}
			other := b.request(t, ratest.User, csrtest.Signer(csrtest.NewKey(t, "P-256")))
			out, err = b.enroll(t, other)
			if issued(t, out, err).Equal(first) {
				t.Error("another key gets the same certificate")
			}
			b.now = b.now.Add(2 * time.Hour)
			out, err = b.enroll(t, b.request(t, ratest.User))
			if issued(t, out, err).Equal(first) {
				t.Error("after the window it is the same certificate")
			}
			b.want(t, "in the end", "1 issued, 3 issued, 4 issued")
		})
	}
}

func TestARevokedCertificateIsNotGivenAgain(t *testing.T) {
	b := newBook(t)
	out, err := b.enroll(t, b.request(t, ratest.User))
	first := issued(t, out, err)
	if err := b.upstream.Revoke(t.Context(), first, 1); err != nil {
		t.Fatal(err)
	}
	b.ca.UseCRL = true
	out, err = b.enroll(t, b.request(t, ratest.User))
	if issued(t, out, err).Equal(first) {
		t.Error("a certificate that the CA has revoked is given again")
	}
	b.want(t, "by the CRL", "1 issued revoked, 2 issued")
	if err := b.store.Certificates().Block(t.Context(), fmt.Sprintf("%032d", 2), store.Mark{At: b.now, By: "ann"}); err != nil {
		t.Fatal(err)
	}
	out, err = b.enroll(t, b.request(t, ratest.User))
	if issued(t, out, err).Equal(first) || out.Replays != "" {
		t.Error("a certificate that is blocked is given again")
	}
}

func TestWhatIsRevokedOrBlockedHereIsNotRenewed(t *testing.T) {
	for name, mark := range map[string]func(*book, *x509.Certificate) error{
		"blocked": func(b *book, _ *x509.Certificate) error {
			return b.store.Certificates().Block(context.Background(), fmt.Sprintf("%032d", 1), store.Mark{At: b.now, By: "ann"})
		},
		"revoked": func(b *book, _ *x509.Certificate) error {
			return b.store.Certificates().Revoked(context.Background(), fmt.Sprintf("%032d", 1), store.Mark{At: b.now, By: "ann"})
		},
		"revoked, and issued before there was a ledger": func(b *book, c *x509.Certificate) error {
			c.Raw = append([]byte{}, c.Raw...)
			return b.store.Certificates().RevokedCertificate(context.Background(), ra.InventoryEntry(c, "test", b.now), store.Mark{At: b.now, By: "ann"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			out, err := b.enroll(t, b.request(t, ratest.User))
			cert := issued(t, out, err)
			again := renewal(t, cert)
			again.ID = "renewal"
			out, err = b.enroll(t, again)
			issued(t, out, err)
			if err := mark(b, cert); err != nil {
				t.Fatal(err)
			}
			out, err = b.enroll(t, again)
			check(t, out, err, ra.BadRenewal, ra.StatusRefused)
			by := b.request(t, "", csrtest.Signer(csrtest.NewKey(t, "P-256")))
			by.Who = again.Who
			out, err = b.enroll(t, by)
			check(t, out, err, ra.BadRenewal, ra.StatusRefused)
		})
	}
}

func TestWhatSurelyWasNotIssuedLeavesNothing(t *testing.T) {
	b := newBook(t)
	b.upstream.Set(ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, "no", nil)})
	out, err := b.enroll(t, b.request(t, ratest.User))
	check(t, out, err, ra.UpstreamRefused, ra.StatusFailed)
	b.want(t, "refused", "")
	b.upstream.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Hour) }})
	out, err = b.enroll(t, b.request(t, ratest.User))
	check(t, out, err, ra.Nonconforming, ra.StatusFailed)
	b.want(t, "another certificate than was ordered", "2 withheld revoked")
	b.upstream.Set(ratest.Knobs{})
	out, err = b.enroll(t, b.request(t, ratest.User))
	issued(t, out, err)
	b.want(t, "then", "2 withheld revoked, 3 issued")
}

func TestADoubtIsRevokedBeforeAnotherCertificateIsIssued(t *testing.T) {
	b := newBook(t)
	up := &bySerial{CA: b.upstream}
	b.ca.Upstream = up
	b.upstream.Set(ratest.Knobs{Err: ra.Fail(ra.UpstreamTimeout, "no answer", nil)})
	out, err := b.enroll(t, b.request(t, ratest.User))
	check(t, out, err, ra.UpstreamTimeout, ra.StatusUnknown)
	b.want(t, "no answer", "1 unknown")
	serial := fmt.Sprintf("%x", out.Serial.Bytes())

	up.fails = ra.Fail(ra.UpstreamDown, "down", nil)
	out, err = b.enroll(t, b.request(t, ratest.User))
	check(t, out, err, ra.UpstreamDown, ra.StatusFailed)
	if n := len(b.upstream.Orders()); n != 1 {
		t.Errorf("the CA was asked %d times, while the doubt couldn't be revoked", n)
	}
	b.want(t, "it can't be revoked now", "1 unknown")

	up.fails = nil
	b.upstream.Set(ratest.Knobs{})
	out, err = b.enroll(t, b.request(t, ratest.User))
	issued(t, out, err)
	if len(out.Doubts) != 1 || !out.Doubts[0].Revoked || out.Doubts[0].Serial != serial || len(up.revoked) != 1 || up.revoked[0] != serial {
		t.Errorf("doubts %+v, and revoked are %q, want %s", out.Doubts, up.revoked, serial)
	}
	b.want(t, "in the end", "1 unknown revoked, 3 issued")
}

func TestADoubtThatCannotBeRevokedStaysListed(t *testing.T) {
	b := newBook(t)
	b.upstream.Set(ratest.Knobs{OwnSerials: true, Err: ra.Fail(ra.UpstreamTimeout, "no answer", nil)})
	out, err := b.enroll(t, b.request(t, ratest.User))
	check(t, out, err, ra.UpstreamTimeout, ra.StatusUnknown)
	b.upstream.Set(ratest.Knobs{OwnSerials: true})
	out, err = b.enroll(t, b.request(t, ratest.User))
	issued(t, out, err)
	if len(out.Doubts) != 1 || out.Doubts[0].Revoked || out.Doubts[0].Err == nil {
		t.Errorf("doubts are %+v", out.Doubts)
	}
	all, err := b.store.Certificates().List(t.Context(), store.CertificateQuery{Doubtful: true, Now: b.now})
	if err != nil || len(all) != 1 || all[0].ID != fmt.Sprintf("%032d", 1) {
		t.Errorf("in doubt are %d, %v", len(all), err)
	}
}

func TestOfTheSameRequestSeveralTimesAtOnceOneIsIssued(t *testing.T) {
	for name, local := range map[string]bool{"a CA elsewhere": false, "a CA in this process": true} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			if local {
				b.ca.Upstream = inProcess{b.upstream}
			}
			b.upstream.Set(ratest.Knobs{Delay: 100 * time.Millisecond})
			requests := make([]ra.Request, 16)
			for i := range requests {
				requests[i] = b.request(t, ratest.User)
			}
			var all sync.WaitGroup
			got := make([]*x509.Certificate, len(requests))
			for i, r := range requests {
				all.Go(func() {
					out, err := b.authority.Enroll(context.Background(), b.profile, r)
					if err != nil {
						t.Error(err)
					}
					got[i] = out.Certificate
				})
			}
			all.Wait()
			for _, c := range got {
				if c == nil || !c.Equal(got[0]) {
					t.Fatal("they have several certificates")
				}
			}
			if n := len(b.upstream.Issued()); !local && n != 1 {
				t.Errorf("the CA was asked %d times", n)
			}
		})
	}
}

func TestWhoWaitsForTheSameRequestTooLongIsSentAway(t *testing.T) {
	b := newBook(t)
	b.ca.Timeout = 200 * time.Millisecond
	b.upstream.Set(ratest.Knobs{Err: ra.Fail(ra.UpstreamTimeout, "no answer", nil)})
	out, err := b.enroll(t, b.request(t, ratest.User))
	check(t, out, err, ra.UpstreamTimeout, ra.StatusUnknown)
	first, err := b.store.Certificates().Get(t.Context(), fmt.Sprintf("%032d", 1))
	if err != nil {
		t.Fatal(err)
	}
	first.ID, first.State, first.Closed, first.Lease = "another node's", store.CertificateAsked, time.Time{}, b.now.Add(time.Hour)
	if _, err := b.store.Certificates().Intend(t.Context(), first, b.now); err != nil {
		t.Fatal(err)
	}
	out, err = b.enroll(t, b.request(t, ratest.User))
	if e := check(t, out, err, ra.Busy, ra.StatusFailed); e.RetryAfter == 0 || len(b.upstream.Orders()) != 1 {
		t.Errorf("%v after %s; the CA was asked %d times", e, e.RetryAfter, len(b.upstream.Orders()))
	}
}

// illLedger fails where it is told to.
type illLedger struct {
	store.Ledger
	intend, ended error
}

func (i illLedger) Intend(ctx context.Context, c store.Certificate, since time.Time) (store.Intended, error) {
	if i.intend != nil {
		return store.Intended{}, i.intend
	}
	return i.Ledger.Intend(ctx, c, since)
}

func (i illLedger) Ended(ctx context.Context, e store.CertificateEnd) error {
	if i.ended != nil {
		return i.ended
	}
	return i.Ledger.Ended(ctx, e)
}

func TestWhatCannotBeWrittenDownIsNotGivenOut(t *testing.T) {
	full := errors.New("the disk is full")
	for name, c := range map[string]struct {
		ledger illLedger
		local  bool
		orders int
		states string
	}{
		"the intent":                             {illLedger{intend: full}, false, 0, ""},
		"the end":                                {illLedger{ended: full}, false, 1, "1 asked"},
		"the certificate of a CA in the process": {illLedger{intend: full}, true, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			if c.local {
				b.ca.Upstream = inProcess{b.upstream}
			}
			c.ledger.Ledger = b.authority.Ledger
			b.authority.Ledger = c.ledger
			out, err := b.enroll(t, b.request(t, ratest.User))
			if e := check(t, out, err, ra.Busy, ra.StatusFailed); !errors.Is(e, full) || out.Certificate != nil {
				t.Errorf("%v, with a certificate: %v", e, out.Certificate != nil)
			}
			if n := len(b.upstream.Orders()); n != c.orders {
				t.Errorf("the CA was asked %d times, want %d", n, c.orders)
			}
			b.want(t, name, c.states)
		})
	}
}
