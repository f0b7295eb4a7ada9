// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/ratest"
)

var begin = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// A clock that a test moves.
type clock struct{ at atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.at.Store(begin.UnixNano())
	return c
}

func (c *clock) now() time.Time       { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) pass(d time.Duration) { c.at.Add(int64(d)) }

// memory is a ra.Memory.
type memory struct {
	mu   sync.Mutex
	kept map[string]certs
	err  error
}

func (m *memory) Remember(_ context.Context, upstream string, c *x509.Certificate) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	if m.kept == nil {
		m.kept = map[string]certs{}
	}
	m.kept[upstream] = append(m.kept[upstream], c)
	return nil
}

func (m *memory) Recall(_ context.Context, upstream string) ([]*x509.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept[upstream], m.err
}

func isKind(err error, kind ra.Kind) bool {
	var e *ra.Error
	return errors.As(err, &e) && e.Kind == kind
}

func TestThreat_ASiblingCAIsAStranger(t *testing.T) {
	upstream := ratest.NewCA(t)
	ca := upstream.Known("x")
	sibling := upstream.Root.Sub(t, "Sibling CA")
	namesake := upstream.Root.Sub(t, upstream.Intermediate.Certificate.Subject.CommonName)
	below := upstream.Intermediate.Sub(t, "Below")
	set := anchor.Set{Anchors: []anchor.Anchor{{Name: "ours", Source: ca.Source()}}}
	for name, test := range map[string]struct {
		signer ratest.Signer
		ours   bool
	}{
		"issued by the issuing CA":             {upstream.Intermediate, true},
		"issued by a sibling":                  {sibling, false},
		"issued by a sibling of the same name": {namesake, false},
		"issued by the root":                   {upstream.Root, false},
		"issued by a CA below the issuing one": {below, false},
		"issued by a stranger":                 {ratest.NewRoot(t, "Test Issuing CA"), false},
	} {
		t.Run(name, func(t *testing.T) {
			leaf := test.signer.Device(t, "device.example").Leaf
			if got, err := ca.Issued(t.Context(), leaf); got != test.ours || err != nil {
				t.Errorf("Issued: %v, %v", got, err)
			}
			result := set.Verify(t.Context(), certs{leaf, test.signer.Certificate, upstream.Intermediate.Certificate}, begin)
			if got := len(result.Names) == 1; got != test.ours || len(result.Unavailable) > 0 {
				t.Errorf("the anchor: %+v", result)
			}
		})
	}
	issuer := certs{upstream.Intermediate.Certificate}
	if result := set.Verify(t.Context(), issuer, begin); len(result.Names) != 0 {
		t.Errorf("the issuing certificate itself passes as a client's: %+v", result)
	}
}

func TestAnUpstreamAnchorIsUnavailableUntilTheCAIsKnown(t *testing.T) {
	upstream := ratest.NewCA(t)
	upstream.Set(ratest.Knobs{Down: true})
	clock := newClock()
	ca := upstream.Known("x")
	ca.Now = clock.now
	set := anchor.Set{Anchors: []anchor.Anchor{{Name: "ours", Source: ca.Source()}}}
	leaf := upstream.Intermediate.Device(t, "device.example").Leaf
	if got := set.Verify(t.Context(), certs{leaf}, begin); len(got.Unavailable) != 1 || len(got.Names) != 0 {
		t.Errorf("while down: %+v", got)
	}
	upstream.Set(ratest.Knobs{})
	clock.pass(2 * time.Second)
	if got := set.Verify(t.Context(), certs{leaf}, begin); len(got.Names) != 1 {
		t.Errorf("when up again: %+v", got)
	}
}

func TestTheChainIsKeptWhileTheCAIsDown(t *testing.T) {
	upstream := ratest.NewCA(t)
	clock := newClock()
	ca := upstream.Known("x")
	ca.Now = clock.now
	if err := ca.Ready(t.Context()); err == nil {
		t.Error("ready before anything was asked")
	}
	if !ca.Next().Before(begin) {
		t.Errorf("the first refresh is due at %s", ca.Next())
	}

	upstream.Set(ratest.Knobs{Down: true})
	if _, err := ca.Chain(t.Context()); !isKind(err, ra.UpstreamDown) || ca.Ready(t.Context()) == nil {
		t.Errorf("down at first: %v, ready: %v", err, ca.Ready(t.Context()))
	}
	upstream.Set(ratest.Knobs{})
	clock.pass(time.Second)
	if _, err := ca.Chain(t.Context()); err == nil {
		t.Error("a failed question is asked again within two seconds")
	}
	clock.pass(time.Second)
	if chain, err := ca.Chain(t.Context()); err != nil || len(chain) != 2 || ca.Ready(t.Context()) != nil {
		t.Errorf("up again: %d, %v, ready: %v", len(chain), err, ca.Ready(t.Context()))
	}
	if want := clock.now().Add(time.Hour); !ca.Next().Equal(want) {
		t.Errorf("the next refresh is due at %s, want %s", ca.Next(), want)
	}

	upstream.Set(ratest.Knobs{Down: true})
	clock.pass(2 * time.Hour)
	if err := ca.Refresh(t.Context()); !isKind(err, ra.UpstreamDown) {
		t.Errorf("a refresh while down: %v", err)
	}
	if chain, err := ca.Chain(t.Context()); err != nil || len(chain) != 2 || ca.Ready(t.Context()) == nil {
		t.Errorf("down later: %d, %v, ready: %v", len(chain), err, ca.Ready(t.Context()))
	}
	if want := clock.now().Add(30 * time.Second); !ca.Next().Equal(want) {
		t.Errorf("after a failure the next refresh is due at %s, want %s", ca.Next(), want)
	}
	if got := strings.Join(ca.Warnings(), "\n"); !strings.Contains(got, "the test CA is down") || !strings.Contains(got, "no CRL") {
		t.Errorf("warnings: %s", got)
	}
	clock.pass(100 * 365 * 24 * time.Hour)
	if chain, err := ca.Chain(t.Context()); !isKind(err, ra.UpstreamDown) || ca.Ready(t.Context()) == nil {
		t.Errorf("when all has ended: %d, %v, ready: %v", len(chain), err, ca.Ready(t.Context()))
	}
}

// counting counts questions, and answers the first when it is let.
type counting struct {
	*ratest.CA
	asked atomic.Int32
	gate  chan struct{}
}

func (c *counting) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	c.asked.Add(1)
	<-c.gate
	return c.CA.CACerts(ctx)
}

func TestQuestionsAtTheSameTimeAreOne(t *testing.T) {
	upstream := &counting{CA: ratest.NewCA(t), gate: make(chan struct{})}
	ca := upstream.Known("x")
	ca.Upstream = upstream
	short, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ctx := t.Context()
			if i == 0 {
				ctx = short
			}
			if _, err := ca.Chain(ctx); (err != nil) != (i == 0) {
				t.Errorf("caller %d: %v", i, err)
			}
		})
	}
	for upstream.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	time.Sleep(20 * time.Millisecond)
	close(upstream.gate)
	wg.Wait()
	if got := upstream.asked.Load(); got != 1 {
		t.Errorf("the CA was asked %d times", got)
	}
}

func TestFormerIssuingCertificatesAreRemembered(t *testing.T) {
	upstream := ratest.NewCA(t)
	kept := &memory{}
	clock := newClock()
	start := func() *ra.CA {
		ca := upstream.Known("x")
		ca.Memory, ca.Now = kept, clock.now
		if err := ca.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return ca
	}
	old := upstream.Intermediate
	leaf := old.Device(t, "device.example").Leaf
	ca := start()
	next := upstream.Root.Sub(t, "Next Issuing CA")
	upstream.Publish(upstream.Root.Certificate, next.Certificate)
	if err := ca.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := certs{upstream.Root.Certificate, next.Certificate, old.Certificate}
	for name, ca := range map[string]*ra.CA{"the same process": ca, "after a restart": start()} {
		if issued, err := ca.Issued(t.Context(), leaf); !issued || err != nil {
			t.Errorf("%s: issued %v, %v", name, issued, err)
		}
		if chain, _ := ca.Chain(t.Context()); !same(chain, want) {
			t.Errorf("%s: chain %s", name, subjects(chain))
		}
	}
	if got := kept.kept["x"]; len(got) != 2 {
		t.Errorf("the memory has %s", subjects(got))
	}

	forgetful := upstream.Known("x")
	if issued, _ := forgetful.Issued(t.Context(), leaf); issued {
		t.Error("an issuer that nobody remembers and nobody publishes counts")
	}
	other := upstream.Known("x")
	other.Memory = kept
	stranger := ratest.NewRoot(t, "New Root")
	other.Pins = func() []*x509.Certificate { return certs{stranger.Certificate} }
	upstream.Publish(stranger.Certificate)
	if issued, err := other.Issued(t.Context(), leaf); issued || err != nil {
		t.Errorf("a remembered issuer under a root that is no longer pinned: %v, %v", issued, err)
	}
}

func TestAMemoryThatFailsIsAWarning(t *testing.T) {
	upstream := ratest.NewCA(t)
	kept := &memory{err: errors.New("disk full")}
	ca := upstream.Known("x")
	ca.Memory = kept
	if err := ca.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(ca.Warnings(), "\n"); !strings.Contains(got, "disk full") {
		t.Errorf("warnings: %s", got)
	}
	next := upstream.Root.Sub(t, "Next Issuing CA")
	upstream.Publish(upstream.Root.Certificate, next.Certificate)
	kept.mu.Lock()
	kept.err = nil
	kept.mu.Unlock()
	if err := ca.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _ := ca.Issuers(t.Context()); !same(got, certs{upstream.Intermediate.Certificate, next.Certificate}) {
		t.Errorf("issuers: %s", subjects(got))
	}
	if got := strings.Join(ca.Warnings(), "\n"); strings.Contains(got, "disk full") {
		t.Errorf("warnings stay: %s", got)
	}
}

type panicking struct{ *ratest.CA }

func (panicking) CACerts(context.Context) ([]*x509.Certificate, error) { panic("CACerts") }
func (panicking) Issue(context.Context, ra.Order) (ra.Issued, error)   { panic("Issue") }
func (panicking) CRL(context.Context) ([]byte, error)                  { panic("CRL") }

func TestAPanicInAnUpstreamIsAnError(t *testing.T) {
	ca := ratest.NewCA(t).Known("x")
	ca.Upstream = panicking{}
	if err := ca.Refresh(t.Context()); !isKind(err, ra.UpstreamDown) || !strings.Contains(err.Error(), "panic") {
		t.Errorf("got %v", err)
	}
}

// A device that renews, or reads /cacerts, needs no CA that answers for that.
func TestAfterARestartWhatIsRememberedServesWhileTheCAIsDown(t *testing.T) {
	upstream := ratest.NewCA(t)
	kept := &memory{}
	before := upstream.Known("x")
	before.Memory = kept
	if err := before.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	want, err := before.Chain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	upstream.Set(ratest.Knobs{Down: true})
	device := upstream.Intermediate.Device(t, "device")
	for name, test := range map[string]struct {
		change func(*ra.CA)
		serves bool
	}{
		"by the root and the issuing certificates": {func(*ra.CA) {}, true},
		"not without a memory":                     {func(c *ra.CA) { c.Memory = nil }, false},
		"not of another CA's memory":               {func(c *ra.CA) { c.Name = "y" }, false},
		"not under another root": {func(c *ra.CA) {
			other := ratest.NewRoot(t, "Somebody Else").Certificate
			c.Pins = func() []*x509.Certificate { return []*x509.Certificate{other} }
		}, false},
		"not when the root has ended": {func(c *ra.CA) {
			c.Now = func() time.Time { return upstream.Root.Certificate.NotAfter.Add(time.Hour) }
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			after := upstream.Known("x")
			after.Memory = kept
			test.change(after)
			if err := after.Start(t.Context()); !isKind(err, ra.UpstreamDown) {
				t.Errorf("the start says %v", err)
			}
			chain, err := after.Chain(t.Context())
			issued, _ := after.Issued(t.Context(), device.Leaf)
			if test.serves != (err == nil) || test.serves && len(chain) != len(want) || issued != test.serves {
				t.Errorf("%d certificates of %d, %v, the device's is its own: %t", len(chain), len(want), err, issued)
			}
			if after.Ready(t.Context()) == nil {
				t.Error("it counts as ready")
			}
		})
	}
}
