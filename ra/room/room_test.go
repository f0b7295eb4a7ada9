// SPDX-License-Identifier: Apache-2.0

package room_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-est/estra/ra/room"
)

func TestWhoIsDueFirstGetsInFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, now := room.New(1, 10, time.Minute), time.Now()
		leave, err := r.Enter(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []int
		var all sync.WaitGroup
		for i, due := range []int{5, 2, 9, 2, 1} {
			all.Go(func() {
				leave, err := r.Enter(t.Context(), now.Add(time.Duration(due)*time.Hour))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				leave()
			})
			synctest.Wait()
		}
		leave()
		all.Wait()
		if want := []int{4, 1, 3, 0, 2}; !slices.Equal(order, want) {
			t.Errorf("%v, want %v", order, want)
		}
	})
}

func TestWaitingHasAnEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, start := room.New(1, 2, 5*time.Second), time.Now()
		leave, err := r.Enter(t.Context(), start)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		late, gone := make(chan error, 1), make(chan error, 1)
		go func() { _, err := r.Enter(t.Context(), start); late <- err }()
		go func() { _, err := r.Enter(ctx, start); gone <- err }()
		synctest.Wait()
		if !r.Full(start) || r.Full(start.Add(-time.Second)) {
			t.Error("it is full for who is due last, and for nobody else")
		}
		if _, err := r.Enter(t.Context(), start.Add(time.Second)); !errors.Is(err, room.ErrFull) {
			t.Errorf("with two waiting: %v", err)
		}
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if r.Full(start) {
			t.Error("it is full, though one has gone")
		}
		if err := <-late; !errors.Is(err, room.ErrLate) || time.Since(start) != 5*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		leave()
		leave() // again does nothing
		first, err := r.Enter(t.Context(), start)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Enter(t.Context(), start); !errors.Is(err, room.ErrLate) {
			t.Errorf("two are in a room for one: %v", err)
		}
		first()
	})
}

func TestWhoIsUrgentTakesTheTurnOfWhoIsNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, now := room.New(1, 1, time.Minute), time.Now()
		leave, err := r.Enter(t.Context(), now)
		if err != nil {
			t.Fatal(err)
		}
		away, in := make(chan error, 1), make(chan error, 1)
		go func() { _, err := r.Enter(t.Context(), now.Add(time.Hour)); away <- err }()
		synctest.Wait()
		go func() { _, err := r.Enter(t.Context(), now); in <- err }()
		synctest.Wait()
		if err := <-away; !errors.Is(err, room.ErrFull) {
			t.Error(err)
		}
		leave()
		if err := <-in; err != nil {
			t.Error(err)
		}
	})
}

func TestNeverMoreThanThePlaces(t *testing.T) {
	const places = 3
	r := room.New(places, 20, 2*time.Millisecond)
	var inside, most, served, refused atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			for range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.IntN(3000))*time.Microsecond)
				leave, err := r.Enter(ctx, time.Now().Add(time.Duration(rand.IntN(1000))))
				if err != nil {
					refused.Add(1)
					cancel()
					continue
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				time.Sleep(time.Duration(rand.IntN(200)) * time.Microsecond)
				inside.Add(-1)
				served.Add(1)
				leave()
				cancel()
			}
		})
	}
	all.Wait()
	if most.Load() > places || served.Load() == 0 || served.Load()+refused.Load() != 50*40 {
		t.Errorf("%d were inside at once, %d served, %d refused", most.Load(), served.Load(), refused.Load())
	}
	// Nobody has taken a place along.
	for range places {
		if _, err := r.Enter(t.Context(), time.Now()); err != nil {
			t.Error(err)
		}
	}
}
