// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

// ordersDue: an order is due when it is time, to one who asks alone, until it is
// over.
func ordersDue(t *testing.T, s store.Store) {
	o, ctx := s.Orders(), t.Context()
	keep := func(id string, request byte, next time.Duration) {
		t.Helper()
		check(t, o.Keep(ctx, store.Asking{
			Request: [32]byte{request}, Wanted: [32]byte{1, request}, Validity: time.Hour, PolicySHA256: "cafe", Op: policy.SimpleEnroll,
			Label: "routers", Profile: "routers", Who: "ann", Names: "CN=a", Record: []byte(`{}`), Now: Now, Expires: Now.Add(7 * 24 * time.Hour),
		}, id, Now.Add(next)))
	}
	due := func(what string, at time.Duration, want ...string) {
		t.Helper()
		var got []string
		all, err := o.Due(ctx, Now.Add(at), Now.Add(at+time.Minute), Now.Add(at+25*time.Hour), 10)
		check(t, err)
		for _, w := range all {
			got = append(got, w.ID)
			if w.State != store.PendingOrdered || w.Label != "routers" || string(w.Record) != "{}" || w.Missing() != 0 {
				t.Errorf("%s: %+v", what, w)
			}
		}
		is(t, what, fmt.Sprint(got), fmt.Sprint(want))
	}
	keep("a", 1, time.Minute)
	keep("b", 2, time.Hour)
	keep("again", 1, 0) // one of them is there
	due("too early", 0)
	due("one is due", time.Minute, "a")
	due("it was taken", time.Minute+time.Second)
	due("who took it has ended", 2*time.Minute, "a")
	check(t, o.Next(ctx, "a", Now.Add(2*time.Hour)))
	due("the other one", time.Hour, "b")
	due("both", 2*time.Hour, "a", "b")
	check(t, o.Next(ctx, "a", Now.Add(72*time.Hour)))
	check(t, o.Next(ctx, "b", Now.Add(26*time.Hour)))
	due("the clock was set back", 2*time.Hour, "a")
	check(t, o.Next(ctx, "a", Now.Add(3*time.Hour)))
	due("a moment before its end", 7*24*time.Hour-time.Second, "a", "b")
	check(t, o.Next(ctx, "a", Now))
	due("it has ended", 7*24*time.Hour)

	check(t, o.Drop(ctx, "b"))
	check(t, o.Drop(ctx, "b"))
	if err := o.Next(ctx, "b", Now); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("it is gone: %v", err)
	}
	n, err := s.Pending().Count(ctx, Now)
	check(t, err)
	is(t, "they wait for nobody", fmt.Sprint(n), "0")
	decision := store.PendingDecision{ID: "a", Wanted: [32]byte{1, 1}, Validity: time.Hour, Approver: "ann", Name: "ann", Method: "stated", Approves: true, At: Now, Expires: Now.Add(time.Hour)}
	_, err = s.Pending().Decide(ctx, decision)
	taken(t, "nobody approves it", err)
	decision.Approves = false
	w, err := s.Pending().Decide(ctx, decision)
	check(t, err)
	is(t, "taken back", string(w.State), "denied")
	due("it isn't asked for any more", 2*time.Minute)
	check(t, o.Drop(ctx, "a"))
	report, err := s.Upkeep().Check(ctx)
	check(t, err)
	is(t, "nothing is left over", fmt.Sprint(report.Problems), "[]")
}

// ordersRace: of several who ask at once each order is one's.
func ordersRace(t *testing.T, s store.Store) {
	for i := range byte(20) {
		check(t, s.Orders().Keep(t.Context(), store.Asking{
			Request: [32]byte{i}, Wanted: [32]byte{i}, Record: []byte(`{}`), Now: Now, Expires: Now.Add(time.Hour),
		}, fmt.Sprint("order", i), Now))
	}
	var mu sync.Mutex
	times := map[string]int{}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for {
				got, err := s.Orders().Due(t.Context(), Now, Now.Add(time.Minute), Now.Add(time.Hour), 3)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, w := range got {
					times[w.ID]++
				}
				done := len(times) == 20
				mu.Unlock()
				if err != nil || done {
					return
				}
			}
		})
	}
	all.Wait()
	for id, n := range times {
		if n != 1 {
			t.Errorf("%s was taken %d times", id, n)
		}
	}
}
