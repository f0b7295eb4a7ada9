// SPDX-License-Identifier: Apache-2.0

// Package flush gathers what is written with one flush of the disk, and flushes.
package flush

import "time"

const (
	// pace is how far apart batches begin while several wait at once. A flush costs
	// as much CPU time as four entries and more, whatever is in it.
	pace = 2 * time.Millisecond
	// enough entries don't wait for others: the flush is a small part of them.
	enough = 4
	// crowded is how long it is remembered that several waited at once. Who comes
	// alone never waits.
	crowded = 100 * time.Millisecond
)

// A Queue makes batches of what comes through a channel, for one goroutine.
type Queue[T any] struct {
	in   <-chan T
	stop <-chan struct{}
	most int

	last time.Time // a batch began
	many time.Time // one had several entries
}

// New gives a queue whose batches have at most so many entries. Nothing waits for
// others any more once stop is closed.
func New[T any](in <-chan T, stop <-chan struct{}, most int) *Queue[T] {
	return &Queue[T]{in: in, stop: stop, most: most}
}

// Take makes a batch of the first entry, of what waits already, and, while several
// have waited at once lately, of what comes within the pace.
func (q *Queue[T]) Take(first T) []T {
	batch := []T{first}
	now := time.Now()
	var timer <-chan time.Time
	if rest := pace - now.Sub(q.last); rest > 0 && now.Sub(q.many) < crowded {
		timer = time.After(rest)
	}
	for len(batch) < q.most {
		if len(q.in) == 0 && (timer == nil || len(batch) >= enough) {
			break
		}
		select {
		case next := <-q.in:
			batch = append(batch, next)
		case <-timer:
			timer = nil
		case <-q.stop:
			timer = nil
			if len(q.in) == 0 {
				return batch
			}
		}
	}
	q.last = time.Now()
	if len(batch) > 1 {
		q.many = q.last
	}
	return batch
}
