// SPDX-License-Identifier: Apache-2.0

// Package room bounds how many do something at once. Who finds no place waits,
// the most urgent first, for a bounded time and in a bounded number: more load
// than can be served is then refused early, and slows nobody down who is inside.
package room

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"
)

// Why nobody gets in.
var (
	ErrFull = errors.New("too many wait already")
	ErrLate = errors.New("no place became free in time")
)

// A Room has places. It is safe for concurrent use.
type Room struct {
	places, waiting int
	patience        time.Duration

	mu    sync.Mutex
	taken int
	queue queue
	next  uint64
}

// New makes a room with places for so many, where so many wait for so long.
func New(places, waiting int, patience time.Duration) *Room {
	return &Room{places: places, waiting: waiting, patience: patience}
}

// A guest is one who waits.
type guest struct {
	due    time.Time
	number uint64 // of arrival
	at     int    // in the queue; -1: no longer there
	in     chan bool
}

// Enter takes a place, or waits for one. Of those who wait, who is due first
// gets in first; of two with the same time, who came first. Where too many wait,
// who is due last is sent away, with ErrFull. Whoever gets in must call leave,
// once. The error is ErrFull, ErrLate or that of the context.
func (r *Room) Enter(ctx context.Context, due time.Time) (leave func(), err error) {
	g := r.arrive(due)
	if g == nil {
		return nil, ErrFull
	}
	select {
	case in := <-g.in:
		return r.answered(in)
	default:
	}
	timer := time.NewTimer(r.patience)
	defer timer.Stop()
	select {
	case in := <-g.in:
		return r.answered(in)
	case <-timer.C:
		err = ErrLate
	case <-ctx.Done():
		err = ctx.Err()
	}
	if r.giveUp(g) {
		return nil, err
	}
	// A place came at the same moment, or the last word did.
	in := <-g.in
	if in && ctx.Err() != nil {
		r.leave()
		return nil, ctx.Err()
	}
	return r.answered(in)
}

// answered is what a guest is told at the end of its wait.
func (r *Room) answered(in bool) (leave func(), err error) {
	if !in {
		return nil, ErrFull
	}
	return sync.OnceFunc(r.leave), nil
}

// arrive takes a place or joins the queue; nil: neither is possible.
func (r *Room) arrive(due time.Time) *guest {
	r.mu.Lock()
	defer r.mu.Unlock()
	g := &guest{due: due, number: r.next, at: -1, in: make(chan bool, 1)}
	r.next++
	if r.taken < r.places {
		r.taken++
		g.in <- true
		return g
	}
	if len(r.queue) >= r.waiting {
		last := r.queue.last()
		if last == nil || !g.before(last) {
			return nil
		}
		heap.Remove(&r.queue, last.at)
		last.in <- false
	}
	heap.Push(&r.queue, g)
	return g
}

// giveUp takes a guest out of the queue, where it still is.
func (r *Room) giveUp(g *guest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if g.at < 0 {
		return false
	}
	heap.Remove(&r.queue, g.at)
	return true
}

func (r *Room) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		r.taken--
		return
	}
	next, _ := heap.Pop(&r.queue).(*guest)
	next.in <- true // who has the place that is left
}

// Full tells whether Enter would refuse at once: what it would cost to find out
// who asks can then be saved.
func (r *Room) Full(due time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken < r.places || len(r.queue) < r.waiting {
		return false
	}
	last := r.queue.last()
	return last == nil || !due.Before(last.due)
}

// Waiting is how many wait.
func (r *Room) Waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.queue)
}

func (g *guest) before(other *guest) bool {
	if !g.due.Equal(other.due) {
		return g.due.Before(other.due)
	}
	return g.number < other.number
}

// A queue is a heap, who is next first.
type queue []*guest

// last is who is due last; nil where nobody waits. It looks at all, of whom
// there are few.
func (q queue) last() *guest {
	var last *guest
	for _, g := range q {
		if last == nil || last.before(g) {
			last = g
		}
	}
	return last
}

// Len is for heap.
func (q queue) Len() int { return len(q) }

// Less is for heap.
func (q queue) Less(i, j int) bool { return q[i].before(q[j]) }

// Swap is for heap.
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

// Push is for heap.
func (q *queue) Push(x any) {
	if g, ok := x.(*guest); ok {
		g.at = len(*q)
		*q = append(*q, g)
	}
}

// Pop is for heap.
func (q *queue) Pop() any {
	old := *q
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	g.at = -1
	return g
}
