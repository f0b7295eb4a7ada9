// SPDX-License-Identifier: Apache-2.0

package store

import (
	"testing"
	"time"
)

// A group ends with what waits, with the rest of a pace, when it is full, or when
// the store is closed.
func TestAGroupOfWrites(t *testing.T) {
	for name, c := range map[string]struct {
		waiting int
		rest    time.Duration
		closed  bool
		want    int
	}{
		"nothing else waits":                {0, 0, false, 1},
		"what waits comes along":            {5, 0, false, 6},
		"a pace that nobody comes in":       {0, time.Millisecond, false, 1},
		"a pace, and others wait":           {5, time.Millisecond, false, 6},
		"a group that is full":              {mostGrouped, time.Hour, false, mostGrouped},
		"the store is closed within a pace": {0, time.Hour, true, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := &writer{queue: make(chan *write, mostGrouped), stop: make(chan struct{})}
			for range c.waiting {
				w.queue <- &write{}
			}
			if c.closed {
				close(w.stop)
			}
			if got := len(w.group(&write{}, c.rest)); got != c.want {
				t.Errorf("%d writes, want %d", got, c.want)
			}
		})
	}
}
