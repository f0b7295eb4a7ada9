// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

// link is the chain of a certificate that may be renewed for an hour.
func link(id byte, renewals int, since, until time.Duration) store.Link {
	return store.Link{ID: [32]byte{id}, Chain: policy.Chain{Renewals: renewals, Since: Now.Add(since)}, Until: Now.Add(until)}
}

func chains(t *testing.T, s store.Store) {
	keep := func(after time.Duration, links ...store.Link) {
		t.Helper()
		check(t, s.Renewals().KeepChains(t.Context(), links, Now.Add(after)))
	}
	is := func(what string, want store.Link, ids ...byte) {
		t.Helper()
		wanted := make([][32]byte, len(ids))
		for i, id := range ids {
			wanted[i] = [32]byte{id}
		}
		got, err := s.Renewals().Chain(t.Context(), wanted...)
		if want == (store.Link{}) {
			if !errors.Is(err, store.ErrUnknown) {
				t.Errorf("%s: %v, %v", what, got, err)
			}
			return
		}
		check(t, err)
		if got != want.Chain {
			t.Errorf("%s: %v, want %v", what, got, want.Chain)
		}
	}
	is("nothing yet", store.Link{}, 1, 2)
	keep(0, link(1, 3, -time.Hour, time.Hour), link(2, 4, -2*time.Hour, 2*time.Hour))
	is("the first of two", link(1, 3, -time.Hour, 0), 1, 2)
	is("the other way round", link(2, 4, -2*time.Hour, 0), 2, 1)
	is("the first is unknown", link(2, 4, -2*time.Hour, 0), 3, 2)
	is("no id", store.Link{})
	keep(0, link(1, 2, 0, 90*time.Minute))
	is("what is stricter stays", link(1, 3, -time.Hour, 0), 1)
	keep(0, link(1, 5, -3*time.Hour, time.Minute))
	is("what is stricter comes", link(1, 5, -3*time.Hour, 0), 1)
	keep(time.Hour + time.Minute)
	is("the later end stays", link(1, 5, -3*time.Hour, 0), 1)
	keep(100 * time.Minute)
	is("its time has passed", store.Link{}, 1)
	is("that of another hasn't", link(2, 4, -2*time.Hour, 0), 2)
}

func manyChains(t *testing.T, s store.Store) { chainsBoth(t, s, s) }

// chainsBoth: renewals of one certificate at once leave one count, and forget
// what has passed together.
func chainsBoth(t *testing.T, a, b store.Store) {
	var old []store.Link
	for i := range 64 {
		old = append(old, link(byte(100+i), 1, 0, time.Minute))
	}
	check(t, a.Renewals().KeepChains(t.Context(), old, Now))
	atOnce(32, func(i int, s store.Store) {
		links := []store.Link{link(7, 0, 0, time.Hour), link(byte(10+i), 1, 0, time.Hour), link(8, i, 0, time.Hour)}
		if i%2 == 0 {
			links[0], links[2] = links[2], links[0]
		}
		if err := s.Renewals().KeepChains(context.Background(), links, Now.Add(2*time.Minute)); err != nil {
			t.Error(err)
		}
	}, a, b)
	for id, want := range map[byte]int{7: 0, 8: 31, 10: 1, 41: 1} {
		got, err := b.Renewals().Chain(t.Context(), [32]byte{id})
		check(t, err)
		if got.Renewals != want {
			t.Errorf("%d has %d renewals, want %d", id, got.Renewals, want)
		}
	}
	if _, err := b.Renewals().Chain(t.Context(), [32]byte{100}, [32]byte{163}); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("what has passed: %v", err)
	}
}
