// SPDX-License-Identifier: Apache-2.0

package flush

import (
	"testing"
	"time"
)

func TestABatchHas(t *testing.T) {
	for name, c := range map[string]struct {
		waiting  int
		most     int
		crowded  bool // several waited at once a moment ago, and a batch has begun just now
		stopped  bool
		want     int
		soonest  time.Duration
		laterOne bool // comes while the batch waits
	}{
		"the first alone":                            {most: 9, want: 1},
		"what waits already":                         {waiting: 2, most: 9, want: 3},
		"no more than it may":                        {waiting: 20, most: 9, want: 9},
		"the first alone, once the pace is over":     {most: 9, crowded: true, want: 1, soonest: pace},
		"what comes within the pace":                 {most: 9, crowded: true, laterOne: true, want: 2},
		"enough, and waits for nobody else":          {waiting: enough - 1, most: 9, crowded: true, want: enough},
		"all that waits, also beyond what is enough": {waiting: enough + 2, most: 9, crowded: true, want: enough + 3},
		"the first alone, once it is stopped":        {most: 9, crowded: true, stopped: true, want: 1},
		"what waits, once it is stopped":             {waiting: 2, most: 9, crowded: true, stopped: true, want: 3},
	} {
		t.Run(name, func(t *testing.T) {
			in, stop := make(chan int, 30), make(chan struct{})
			q := New(in, stop, c.most)
			for i := range c.waiting {
				in <- i + 1
			}
			if c.crowded {
				// As far in the future as no slow machine reaches, but where the end is waited for.
				q.last, q.many = time.Now().Add(time.Hour), time.Now().Add(time.Hour)
				if c.soonest > 0 {
					q.last = time.Now()
				}
			}
			if c.stopped {
				close(stop)
			}
			if c.laterOne {
				go func() {
					in <- 1
					close(stop)
				}()
			}
			began := time.Now()
			got := q.Take(0)
			if len(got) != c.want {
				t.Errorf("%d entries, want %d", len(got), c.want)
			}
			for i, entry := range got {
				if entry != i && !c.laterOne {
					t.Errorf("entry %d is %d", i, entry)
				}
			}
			if took := time.Since(began); took < c.soonest-time.Millisecond {
				t.Errorf("it waited %s, and the pace is %s", took, c.soonest)
			}
		})
	}
}

// Several at once are remembered for a while: then a batch waits for the pace.
func TestAQueueRemembersThatSeveralWaited(t *testing.T) {
	in := make(chan int, 9)
	q := New(in, make(chan struct{}), 9)
	if q.Take(0); !q.many.IsZero() {
		t.Error("one entry is several")
	}
	in <- 1
	if q.Take(0); q.many.IsZero() {
		t.Error("two entries aren't several")
	}
}
