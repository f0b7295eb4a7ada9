// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// probed is an upstream that can be asked, and that can refuse the credential.
type probed struct {
	*ratest.CA
	health  error
	asked   int
	refuses bool
}

func (p *probed) Health(context.Context) error {
	p.asked++
	if p.health != nil && p.health.Error() == "panic" {
		panic("in the upstream")
	}
	return p.health
}

func (p *probed) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if p.refuses {
		return ra.Issued{}, ra.Fail(ra.UpstreamDown, "401", ra.ErrCredential)
	}
	return p.CA.Issue(ctx, o)
}

func TestReadyAsksWhatIssuingNeeds(t *testing.T) {
	s := newScene(t)
	clock := newClock()
	up := &probed{CA: s.upstream}
	s.ca.Upstream, s.ca.Now, s.authority.Now = up, clock.now, clock.now
	ready := func(want string) {
		t.Helper()
		err := s.ca.Ready(t.Context())
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	ready("not been read yet")
	if err := s.ca.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ready("")
	up.health = errors.New("no route")
	ready("") // within five seconds
	if up.asked != 1 {
		t.Errorf("asked %d times", up.asked)
	}
	clock.pass(5 * time.Second)
	ready("it doesn't answer: no route")
	up.health = errors.New("panic")
	clock.pass(5 * time.Second)
	ready("panic in the upstream")
	up.health = nil
	clock.pass(5 * time.Second)
	ready("")

	enroll := func() error {
		_, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
		return err
	}
	up.refuses = true
	if err := enroll(); err == nil {
		t.Fatal("issued")
	}
	ready("doesn't accept our credential")
	clock.pass(5 * time.Minute)
	ready("") // nobody may be sent here to try it
	if err := enroll(); err == nil {
		t.Fatal("issued")
	}
	up.refuses = false
	if err := enroll(); err != nil {
		t.Fatal(err)
	}
	ready("")

	s.ca.UseCRL = true
	ready("") // the test CA has one
	s.ca.Upstream = struct {
		ra.Upstream
		ra.Prober
	}{up, up}
	clock.pass(time.Hour)
	ready("its CRL can't be had")
}

// /cacerts is never without a root, whatever of the chain is still valid.
func TestAChainWithoutItsRootIsNoChain(t *testing.T) {
	upstream := ratest.NewCA(t)
	ca := upstream.Known("x")
	if err := ca.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	end := upstream.Root.Certificate.NotAfter
	long := *upstream.Intermediate.Certificate
	long.NotAfter = end.Add(48 * time.Hour)
	key := ratest.NewKey(t)
	outlives := upstream.Root.Sign(t, &long, key.Public())
	upstream.Publish(upstream.Root.Certificate, outlives)
	if err := ca.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	ca.Now = func() time.Time { return end.Add(time.Hour) }
	if chain, err := ca.Chain(t.Context()); !isKind(err, ra.UpstreamDown) {
		t.Errorf("%d certificates, %v", len(chain), err)
	}
}
