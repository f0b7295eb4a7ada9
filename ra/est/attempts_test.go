// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
)

func TestAttempts(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	key, other := client(netip.MustParseAddr("192.0.2.1"), "a"), client(netip.MustParseAddr("192.0.2.1"), "b")
	a := NewAttempts(2, time.Minute)
	steps := []struct {
		name string
		key  [32]byte
		at   time.Duration
		wait time.Duration // 0: allowed
	}{
		{"the first", key, 0, 0},
		{"the second", key, 10 * time.Second, 0},
		{"the third", key, 15 * time.Second, 45 * time.Second},
		{"another user", other, 15 * time.Second, 0},
		{"still", key, 59 * time.Second, time.Second},
		{"a minute after the first", key, time.Minute, 0},
		{"and again", key, time.Minute, 0},
		{"no more", key, 61 * time.Second, 59 * time.Second},
	}
	for _, s := range steps {
		wait, ok := a.begin(s.key, at.Add(s.at))
		if wait != s.wait || ok != (s.wait == 0) {
			t.Errorf("%s: %v %v", s.name, wait, ok)
		}
	}
	a.succeeded(key)
	if _, ok := a.begin(key, at.Add(61*time.Second)); !ok {
		t.Error("a success doesn't clear the count")
	}
	a.returned(key)
	a.returned(key)
	for range 2 {
		if _, ok := a.begin(key, at.Add(61*time.Second)); !ok {
			t.Error("an attempt that was taken back counts")
		}
	}
	if _, ok := a.begin(key, at.Add(61*time.Second)); ok {
		t.Error("taking back gives more attempts than there were")
	}
}

func TestAttemptsAreBounded(t *testing.T) {
	a, at := NewAttempts(1, time.Hour), time.Unix(1_700_000_000, 0)
	key := func(n int) [32]byte { return sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n))) }
	for n := range attemptsKept + 5 {
		a.begin(key(n), at)
	}
	if len(a.windows) != attemptsKept || a.order.Len() != attemptsKept {
		t.Errorf("%d and %d kept", len(a.windows), a.order.Len())
	}
	if _, ok := a.begin(key(attemptsKept), at); ok {
		t.Error("a new window was forgotten")
	}
}

func TestWhoCountsAsOneClient(t *testing.T) {
	one := client(netip.MustParseAddr("192.0.2.1"), "u")
	same := map[string][32]byte{
		"IPv4 in IPv6": client(netip.MustParseAddr("::ffff:192.0.2.1"), "u"),
	}
	for name, key := range same {
		if key != one {
			t.Errorf("%s is another client", name)
		}
	}
	six := client(netip.MustParseAddr("2001:db8::1"), "u")
	if six != client(netip.MustParseAddr("2001:db8::ffff:1%eth0"), "u") || six == client(netip.MustParseAddr("2001:db8:0:1::1"), "u") {
		t.Error("an IPv6 client is not its /64")
	}
	if one == client(netip.MustParseAddr("192.0.2.2"), "u") || one == client(netip.MustParseAddr("192.0.2.1"), "v") {
		t.Error("two clients are one")
	}
	if client(netip.Addr{}, "u") == one {
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
		{"nobody does not count", 0, call{}, 401, 1},
		{"wrong again", 0, call{user: "estuser:2"}, 401, 1},
		{"too many", 0, call{user: "estuser:3"}, 429, 0},
		{"the right one comes too late", 20500 * time.Millisecond, call{user: right}, 429, 0},
		{"nobody is still asked for a password", 0, call{}, 401, 1},
		{"another user", 0, call{user: "other:1"}, 401, 1},
		{"a scheme that nobody knows", 0, call{header: bearer}, 401, 1},
		{"the same", 0, call{header: bearer}, 401, 1},
		{"once too often", 0, call{header: bearer}, 429, 0},
		{"nobody from there", 0, call{}, 401, 1},
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
	x.provider = func(http.ResponseWriter, *http.Request) ([]policy.Account, string, bool, error) {
		return nil, "estuser", true, errors.New("directory is down")
	}
	for range 3 {
		x.refused(t, x.do(call{user: right}), 500, "fault", "the authority could not issue")
	}
	x.provider = nil
	if g := x.do(call{user: right}); g.StatusCode != 200 {
		t.Error(g.StatusCode, g.body)
	}
}
