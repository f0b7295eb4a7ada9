// SPDX-License-Identifier: Apache-2.0

// Package steady tells whether the wall clock was set while the process runs.
package steady

import (
	"sync"
	"time"
)

// noticed is by how much more the wall clock must go than the monotonic one: what
// NTP slews, and the time between their two readings, is less.
const noticed = time.Minute

// A Clock is looked at from time to time. What removes things for good because their
// time is over asks it first: a wall clock that has jumped may jump back. The zero
// value has seen nothing, and is safe for concurrent use.
type Clock struct {
	mu    sync.Mutex
	first time.Time     // that was seen; with its monotonic reading
	ahead time.Duration // by how much the wall clock went more since
	set   time.Time     // when it was last seen to have jumped; zero: never
}

// Steady tells whether the clock was set within that time, as far as it was looked
// at. now is of time.Now, with its monotonic reading.
func (c *Clock) Steady(now time.Time, within time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.first.IsZero() {
		c.first = now
	}
	ahead := now.Round(0).Sub(c.first.Round(0)) - now.Sub(c.first)
	if (ahead - c.ahead).Abs() >= noticed {
		c.ahead, c.set = ahead, now
	}
	return c.set.IsZero() || now.Sub(c.set) >= within
}
