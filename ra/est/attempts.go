// SPDX-License-Identifier: Apache-2.0

package est

import (
	"container/list"
	"context"
	"crypto/sha256"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/certless"
)

const (
	// attemptsKept bounds the memory of Attempts. Past it the oldest window is
	// forgotten: to clear its own, an attacker has to fail this often
	// elsewhere.
	attemptsKept = 1 << 16
	// attemptsOfAddress is how many times the attempts of one user name one
	// address has for all names together.
	attemptsOfAddress = 10
)

// Attempts bounds how often one client may fail with its HTTP credentials.
// Passwords that devices share are short; guesses must be slow (RFC 7030
// section 6). A client is an address (IPv6: its /64, which one host has to
// itself) together with the user name that it says. Ten times as many failures
// are allowed to the address over all user names, so that guessing one password
// for many names is slow too. Safe for concurrent use.
type Attempts struct {
	clients, addresses windows
}

// NewAttempts allows n failures (at least one) within per, counted from the
// first attempt, and 10 n to an address. A success clears the count of the
// client, and leaves that of the address.
func NewAttempts(n int, per time.Duration) *Attempts {
	n = max(n, 1)
	all := math.MaxInt
	if n < math.MaxInt/attemptsOfAddress {
		all = n * attemptsOfAddress
	}
	return &Attempts{clients: newWindows(n, per), addresses: newWindows(all, per)}
}

// client is who a failure is counted for. It is a hash, so that a long user
// name costs no memory, and none stands here in clear.
func client(network netip.Addr, user string) [32]byte {
	return sha256.Sum256([]byte(network.String() + "\x00" + user))
}

// An attempt is under way. nil is one that nobody counts.
type attempt struct {
	in              *Attempts
	client, address *window
}

// begin says that a password may be verified. While others of the client are
// under way, that are as many as may still fail, it waits until ctx ends: so
// many at once get no more guesses than one after the other, and who is right
// doesn't suffer from others that are. A nil Attempts allows everything.
func (a *Attempts) begin(ctx context.Context, network netip.Addr, user string, now time.Time) (*attempt, *ra.Error) {
	if a == nil {
		return nil, nil
	}
	// The address comes first: where it has failed too often, no more user
	// names take up memory.
	address, fail := a.addresses.enter(ctx, sha256.Sum256([]byte(network.String())), now)
	if fail != nil {
		fail.Reason += ", over all user names"
		return nil, fail
	}
	client, fail := a.clients.enter(ctx, client(network, user), now)
	if fail != nil {
		a.addresses.leave(address, returned)
		return nil, fail
	}
	return &attempt{a, client, address}, nil
}

// Begin is for who verifies passwords elsewhere than in a request, in a TLS
// handshake. end says, once, whether one was tried, and whether it was right.
func (a *Attempts) Begin(ctx context.Context, remote netip.Addr, user string, now time.Time) (end func(guessed, right bool), fail *ra.Error) {
	t, fail := a.begin(ctx, certless.NetworkOf(remote), user, now)
	if fail != nil {
		return nil, fail
	}
	return func(guessed, right bool) {
		switch {
		case right:
			t.end(succeeded)
		case guessed:
			t.end(failed)
		default:
			t.end(returned)
		}
	}, nil
}

// end says what became of an attempt. It is called once.
func (t *attempt) end(o outcome) {
	if t == nil {
		return
	}
	of, all := o, o
	switch o {
	case succeeded:
		all = returned // an account of one's own is no licence to guess others
	case failedBeside:
		of, all = returned, failed
	case failed, returned:
	}
	t.in.clients.leave(t.client, of)
	t.in.addresses.leave(t.address, all)
}

// An outcome is what became of an attempt.
type outcome uint8

const (
	failed    outcome = iota
	returned          // nothing was verified: it doesn't count
	succeeded         // the failures before it are forgotten
	// failedBeside: who is named is proven, and another credential beside it
	// is wrong. It counts for the address alone.
	failedBeside
)

// windows count failures, each key for itself.
type windows struct {
	n   int
	per time.Duration

	mu    sync.Mutex
	kept  map[[32]byte]*list.Element // of *window
	order list.List                  // oldest first
}

// A window counts the failures of one key for a time.
type window struct {
	key  [32]byte
	ends time.Time
	// used holds a token for each failure and for each attempt under way, n at
	// most. Those who wait for a token are served in their order.
	used chan struct{}
	full chan struct{} // closed when all tokens are failures, until the window ends

	failed int // with windows.mu
	inside int // attempts waiting or under way; with windows.mu
}

func newWindows(n int, per time.Duration) windows {
	return windows{n: n, per: per, kept: make(map[[32]byte]*list.Element)}
}

// enter takes a token.
func (s *windows) enter(ctx context.Context, key [32]byte, now time.Time) (*window, *ra.Error) {
	w := s.window(key, now)
	select {
	case w.used <- struct{}{}:
		return w, nil
	case <-w.full:
		s.quit(w)
		return nil, ra.Fail(ra.Throttled, "too many failed HTTP credentials from this address", nil).After(w.ends.Sub(now))
	case <-ctx.Done():
		s.quit(w)
		return nil, ra.Fail(ra.Busy, "other HTTP credentials of this client are being verified", nil).After(time.Second)
	}
}

// window finds the key's window, or begins one.
func (s *windows) window(key [32]byte, now time.Time) *window {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.kept[key]; ok {
		w := e.Value.(*window)
		if now.Before(w.ends) {
			w.inside++
			return w
		}
		s.forget(e)
	}
	if s.order.Len() >= attemptsKept {
		s.forget(s.order.Front())
	}
	w := &window{key: key, ends: now.Add(s.per), used: make(chan struct{}, s.n), full: make(chan struct{}), inside: 1}
	s.kept[key] = s.order.PushBack(w)
	return w
}

// leave ends an attempt that has a token.
func (s *windows) leave(w *window, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o {
	case failed:
		if w.failed++; w.failed == s.n {
			close(w.full)
		}
	case returned, failedBeside: // which end has told apart
		<-w.used
	case succeeded:
		for range w.failed + 1 {
			<-w.used
		}
		w.failed = 0
	}
	s.out(w)
}

// quit ends one that got no token.
func (s *windows) quit(w *window) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out(w)
}

// out forgets a window that holds nothing: else requests given up in time would
// push out the windows of those who failed.
func (s *windows) out(w *window) {
	w.inside--
	if e, ok := s.kept[w.key]; ok && e.Value.(*window) == w && w.inside == 0 && w.failed == 0 {
		s.forget(e)
	}
}

func (s *windows) forget(e *list.Element) {
	delete(s.kept, e.Value.(*window).key)
	s.order.Remove(e)
}
