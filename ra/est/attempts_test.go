// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/certless"
)

// soonOver is a context for those who shall not wait long.
func soonOver(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// try makes one attempt and says how long the client has to wait for it.
func (a *Attempts) try(t *testing.T, remote, user string, now time.Time, o outcome) time.Duration {
	t.Helper()
	made, fail := a.begin(t.Context(), certless.NetworkOf(netip.MustParseAddr(remote)), user, now)
	if fail != nil {
		if fail.Kind != ra.Throttled || fail.RetryAfter <= 0 {
			t.Errorf("refused with %v, after %s", fail, fail.RetryAfter)
		}
		return fail.RetryAfter
	}
	made.end(o)
	return 0
}

func TestAttempts(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	a := NewAttempts(2, time.Minute)
	steps := []struct {
		name string
		user string
		at   time.Duration
		o    outcome
		wait time.Duration // 0: allowed
	}{
		{"the first", "a", 0, failed, 0},
		{"the second", "a", 10 * time.Second, failed, 0},
		{"the third", "a", 15 * time.Second, failed, 45 * time.Second},
		{"another user", "b", 15 * time.Second, failed, 0},
		{"still", "a", 59 * time.Second, failed, time.Second},
		{"a minute after the first", "a", time.Minute, failed, 0},
		{"the right one clears the count", "a", time.Minute, succeeded, 0},
		{"wrong", "a", time.Minute, failed, 0},
		{"taken back", "a", time.Minute, returned, 0},
		{"taken back again", "a", time.Minute, returned, 0},
		{"wrong again", "a", time.Minute, failed, 0},
		{"no more", "a", 61 * time.Second, succeeded, 59 * time.Second},
	}
	for _, s := range steps {
		if wait := a.try(t, "192.0.2.1", s.user, start.Add(s.at), s.o); wait != s.wait {
			t.Errorf("%s: %v, want %v", s.name, wait, s.wait)
		}
	}
	for name, n := range map[string]int{"none": 0, "fewer than none": -1} {
		a := NewAttempts(n, time.Minute)
		if a.try(t, "192.0.2.1", "a", start, failed) != 0 || a.try(t, "192.0.2.1", "a", start, failed) == 0 {
			t.Errorf("%s isn't one", name)
		}
	}
	if NewAttempts(math.MaxInt, time.Minute).try(t, "192.0.2.1", "a", start, succeeded) != 0 {
		t.Error("no attempt of very many")
	}
}

// A password that is common, tried for one user name after the other.
func TestThreat_GuessingForManyUserNamesIsSlow(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	a := NewAttempts(2, time.Minute)
	for n := range 2 * attemptsOfAddress {
		remote := fmt.Sprintf("2001:db8::%x", n) // one /64
		if wait := a.try(t, remote, fmt.Sprint("user", n), start, failed); wait != 0 {
			t.Fatalf("the guess %d has to wait for %s", n, wait)
		}
		// An account of his own, or no attempt at all, clears nothing.
		a.try(t, remote, "own", start, succeeded)
		a.try(t, remote, "broken", start, returned)
	}
	kept := len(a.clients.kept)
	for n := range 100 {
		if wait := a.try(t, "2001:db8::1", fmt.Sprint("another", n), start, failed); wait != time.Minute {
			t.Fatalf("one guess more has to wait for %s", wait)
		}
	}
	if len(a.clients.kept) != kept || kept != 2*attemptsOfAddress {
		t.Errorf("%d windows of clients, %d before the refusals", len(a.clients.kept), kept)
	}
	if wait := a.try(t, "2001:db8:0:1::1", "user1", start, succeeded); wait != 0 {
		t.Error("another network has to wait")
	}
	if wait := a.try(t, "2001:db8::1", "user1", start.Add(time.Minute), succeeded); wait != 0 {
		t.Error("there is no end of it")
	}
}

// Who is under way doesn't count as failed, and yet leaves no more guesses.
func TestAttemptsUnderWayAreWaitedFor(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	from := netip.MustParseAddr("192.0.2.1")
	for _, first := range []outcome{failed, returned, succeeded} {
		a := NewAttempts(1, time.Minute)
		one, fail := a.begin(t.Context(), from, "a", now)
		if fail != nil {
			t.Fatal(fail)
		}
		if _, fail := a.begin(soonOver(t), from, "a", now); fail == nil || fail.Kind != ra.Busy || fail.RetryAfter != time.Second {
			t.Errorf("while one is under way: %v", fail)
		}
		next := make(chan *ra.Error)
		go func() {
			two, fail := a.begin(t.Context(), from, "a", now)
			two.end(returned)
			next <- fail
		}()
		one.end(first)
		if fail := <-next; (fail != nil) != (first == failed) {
			t.Errorf("after outcome %d the next one gets %v", first, fail)
		}
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	s, at := newWindows(1, time.Hour), time.Unix(1_700_000_000, 0)
	key := func(n int) [32]byte { return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	enter := func(n int, o outcome) *ra.Error {
		w, fail := s.enter(t.Context(), key(n), at)
		if fail == nil {
			s.leave(w, o)
		}
		return fail
	}
	for n := range attemptsKept + 5 {
		enter(n, failed)
	}
	if len(s.kept) != attemptsKept || s.order.Len() != attemptsKept {
		t.Errorf("%d and %d kept", len(s.kept), s.order.Len())
	}
	if enter(attemptsKept, failed) == nil {
		t.Error("a new window was forgotten")
	}
	// One that is forgotten while an attempt is under way.
	s = newWindows(1, time.Hour)
	w, _ := s.enter(t.Context(), key(0), at)
	for n := range attemptsKept {
		enter(n+1, failed)
	}
	s.leave(w, failed)
	if len(s.kept) != attemptsKept || s.order.Len() != attemptsKept {
		t.Errorf("%d and %d kept", len(s.kept), s.order.Len())
	}
}

// Requests that are given up in time cost an attacker nothing: they must not
// push out the windows of his failures.
func TestThreat_AttemptsGivenUpLeaveNoWindow(t *testing.T) {
	a, now := NewAttempts(1, time.Hour), time.Unix(1_700_000_000, 0)
	from := netip.MustParseAddr("192.0.2.1")
	held, _ := a.begin(t.Context(), from, "held", now)
	if _, fail := a.begin(soonOver(t), from, "held", now); fail == nil {
		t.Error("two at once of one")
	}
	held.end(returned)
	for _, o := range []outcome{returned, succeeded} {
		a.try(t, "192.0.2.1", "a", now, o)
	}
	if n := len(a.clients.kept) + a.clients.order.Len() + len(a.addresses.kept) + a.addresses.order.Len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

func TestWhoCountsAsOneClient(t *testing.T) {
	of := func(remote, user string) [32]byte {
		return client(certless.NetworkOf(netip.MustParseAddr(remote)), user)
	}
	one, six := of("192.0.2.1", "u"), of("2001:db8::1", "u")
	if of("::ffff:192.0.2.1", "u") != one {
		t.Error("IPv4 in IPv6 is another client")
	}
	if six != of("2001:db8::ffff:1%eth0", "u") || six == of("2001:db8:0:1::1", "u") {
		t.Error("an IPv6 client is not its /64")
	}
	if one == of("192.0.2.2", "u") || one == of("192.0.2.1", "v") {
		t.Error("two clients are one")
	}
	if client(certless.NetworkOf(netip.Addr{}), "u") == one {
		t.Error("no address is an address")
	}
}

func TestThrottledGuessesAreNotVerified(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	x := newSite(t, func(x *site) {
		x.Attempts = NewAttempts(2, time.Minute)
		x.Now = func() time.Time { return now }
	})
	bearer := http.Header{"Authorization": {"Bearer x"}}
	for i, step := range []struct {
		name    string
		after   time.Duration
		call    call
		status  int
		checked int
	}{
		{"a wrong password", 0, call{user: "estuser:1"}, 401, 1},
		{"the right one clears the count", 0, call{user: right}, 200, 1},
		{"wrong", 0, call{user: "estuser:1"}, 401, 1},
		{"nobody does not count", 0, call{}, 401, 0},
		{"wrong again", 0, call{user: "estuser:2"}, 401, 1},
		{"too many", 0, call{user: "estuser:3"}, 429, 0},
		{"the right one comes too late", 20500 * time.Millisecond, call{user: right}, 429, 0},
		{"nobody is still asked for a password", 0, call{}, 401, 0},
		{"another user", 0, call{user: "other:1"}, 401, 1},
		{"a scheme that nobody knows", 0, call{header: bearer}, 401, 1},
		{"the same", 0, call{header: bearer}, 401, 1},
		{"once too often", 0, call{header: bearer}, 429, 0},
		{"nobody from there", 0, call{}, 401, 0},
		{"cacerts goes on", 0, call{method: "GET", path: "cacerts", user: "estuser:4"}, 200, 0},
		{"the right one after the window", 40 * time.Second, call{user: right}, 200, 1},
	} {
		now = now.Add(step.after)
		x.checked = 0
		g := x.do(step.call)
		if g.StatusCode != step.status || x.checked != step.checked {
			t.Errorf("%d %s: %d with %d checks, want %d", i, step.name, g.StatusCode, x.checked, step.status)
		}
		if g.StatusCode == 429 {
			x.refused(t, g, 429, "throttled", "too many attempts")
			if wait := g.Header.Get("Retry-After"); wait != "60" && wait != "40" {
				t.Errorf("Retry-After %q", wait)
			}
		}
	}
}

func TestAProviderThatIsBrokenCountsForNobody(t *testing.T) {
	x := newSite(t, func(x *site) { x.Attempts = NewAttempts(1, time.Minute) })
	x.provider = func(http.ResponseWriter, *http.Request) ([]policy.Account, error) {
		return nil, errors.New("directory is down")
	}
	for range 3 {
		x.refused(t, x.do(call{user: right}), 500, "fault", "the authority could not issue")
	}
	x.provider = nil
	if g := x.do(call{user: right}); g.StatusCode != 200 {
		t.Error(g.StatusCode, g.body)
	}
}

func TestAttemptsElsewhereCountAsInRequests(t *testing.T) {
	a, remote, now := NewAttempts(2, time.Minute), netip.MustParseAddr("192.0.2.1"), time.Unix(1e9, 0)
	for i, step := range []struct {
		user           string
		guessed, right bool
		throttled      bool
	}{
		{user: "alice", guessed: true},
		{user: "alice"}, // gave up
		{user: "alice", right: true},
		{user: "alice", guessed: true},
		{user: "alice", guessed: true},
		{user: "alice", right: true, throttled: true},
		{user: "bob", right: true},
	} {
		end, fail := a.Begin(t.Context(), remote, step.user, now)
		if (fail != nil) != step.throttled || fail != nil && fail.Kind != ra.Throttled {
			t.Fatalf("attempt %d: %v", i, fail)
		}
		if fail == nil {
			end(step.guessed, step.right)
		}
	}
}
