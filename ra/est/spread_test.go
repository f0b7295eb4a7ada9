// SPDX-License-Identifier: Apache-2.0

package est

import (
	"strconv"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/ratest"
)

func TestTheWaitOfA503IsDrawnFromASpan(t *testing.T) {
	for _, c := range []struct {
		status      int
		wait        time.Duration
		least, most time.Duration
	}{
		{503, 30 * time.Second, 30 * time.Second, 60 * time.Second},
		{503, time.Second, time.Second, 5 * time.Second},
		{503, time.Hour, time.Hour, time.Hour + 5*time.Minute},
		{429, 30 * time.Second, 30 * time.Second, 30 * time.Second}, // of one client, who has earned it
		{202, time.Minute, time.Minute, time.Minute},
	} {
		a := answer{status: c.status, retryAfter: c.wait}
		low, high := &Server{Draw: func(int64) int64 { return 0 }}, &Server{Draw: func(n int64) int64 { return n - 1 }}
		if got := low.spread(a); got != c.least {
			t.Errorf("%d after %s: at least %s, want %s", c.status, c.wait, got, c.least)
		}
		if got := high.spread(a); got != c.most {
			t.Errorf("%d after %s: at most %s, want %s", c.status, c.wait, got, c.most)
		}
	}
}

func TestAFleetThatIsTurnedAwayDoesNotComeBackAtOnce(t *testing.T) {
	x := newSite(t, func(x *site) { x.Draw = nil })
	x.ca.Set(ratest.Knobs{Down: true})
	waits := map[int]int{}
	for range 100 {
		g := x.do(call{user: right})
		wait, err := strconv.Atoi(g.Header.Get("Retry-After"))
		if g.StatusCode != 503 || err != nil || wait < 30 || wait > 60 {
			t.Fatal(g.StatusCode, g.Header)
		}
		waits[wait]++
	}
	for wait, n := range waits {
		if n > 15 {
			t.Errorf("%d of 100 devices come back after %d seconds", n, wait)
		}
	}
}
