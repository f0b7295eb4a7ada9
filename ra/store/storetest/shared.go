// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

// Shared tests an engine that several nodes may have open: open gives two
// handles of one empty store.
func Shared(t *testing.T, open func(t testing.TB) (a, b store.Store)) {
	for name, test := range map[string]func(t *testing.T, a, b store.Store){
		"what one node has written the other one reads":            readBoth,
		"of one password requests at two nodes get one":            raceBoth,
		"a request may be repeated at the other node":              repeatBoth,
		"a device bootstraps once, whichever node it asks":         bootstrapBoth,
		"things that are reserved in another order are no error":   crossed,
		"a password set free at one node is reserved at the other": freedBoth,
		"refusals at two nodes lock a password together":           refusedBoth,
		"devices imported at two nodes are there once":             importBoth,
		"of two nodes one sees the certificate of the other":       madeBoth,
		"of requests at two nodes one is issued":                   onceBoth,
		"what a node has left is taken up by one":                  anewBoth,
		"renewals at two nodes are all counted":                    chainsBoth,
		"two nodes have one seed for a realm":                      srpSeedBoth,
		"an SRP user that two nodes add is there once":             srpAddBoth,
		"of two nodes one removes what has ended":                  pruneBoth,
		"CRLs of two nodes have numbers of their own, and all":     listsBoth,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t)
			defer func() {
				if err := errors.Join(a.Close(), b.Close()); err != nil {
					t.Error(err)
				}
			}()
			test(t, a, b)
		})
	}
}

// atOnce calls a function many times at once, with the two in turn.
func atOnce(n int, do func(i int, s store.Store), a, b store.Store) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			do(i, []store.Store{a, b}[i%2])
		})
	}
	close(begin)
	all.Wait()
}

// counts how many errors are none; the others must be ErrTaken.
type counts struct {
	t   *testing.T
	mu  sync.Mutex
	won int
}

func (c *counts) add(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.won++
		return
	}
	taken(c.t, "one that came second", err)
}

func readBoth(t *testing.T, a, b store.Store) {
	made := create(t, a)
	want(t, "at the other node", state(t, b, made.Text, 0), "good")
	check(t, b.Passwords().Revoke(t.Context(), []string{made.ID}, Now))
	want(t, "revoked at the other node", state(t, a, made.Text, 0), "was revoked")
	taken(t, "revoked at the other node", a.Claims().Reserve(t.Context(), of(made.ID, 1, 0)))
}

func raceBoth(t *testing.T, a, b store.Store) {
	for range 10 {
		made, got := create(t, a), &counts{t: t}
		atOnce(32, func(i int, s store.Store) {
			got.add(s.Claims().Reserve(context.Background(), of(made.ID, byte(i), 0)))
		}, a, b)
		if got.won != 1 {
			t.Errorf("%d requests got it", got.won)
		}
	}
}

func repeatBoth(t *testing.T, a, b store.Store) {
	made, ctx := create(t, a), t.Context()
	first := of(made.ID, 1, 0)
	got := &counts{t: t}
	atOnce(16, func(_ int, s store.Store) { got.add(s.Claims().Reserve(context.Background(), first)) }, a, b)
	if got.won != 16 {
		t.Errorf("of 16 times the same request %d were let through", got.won)
	}
	check(t, a.Claims().Settle(ctx, end(first, store.Issued)))
	check(t, b.Claims().Reserve(ctx, of(made.ID, 1, time.Hour)))
	taken(t, "another key", b.Claims().Reserve(ctx, of(made.ID, 2, time.Hour)))
	check(t, b.Claims().Settle(ctx, store.Settlement{Collected: first.SPKI, Now: Now}))
	taken(t, "shown at the other node", a.Claims().Reserve(ctx, first))
}

func bootstrapBoth(t *testing.T, a, b store.Store) {
	one, got := device("aa", "1"), &counts{t: t}
	add(t, a, one)
	atOnce(32, func(i int, s store.Store) {
		got.add(s.Claims().Reserve(context.Background(), ofDevice(one, byte(i), 0)))
	}, a, b)
	if got.won != 1 {
		t.Errorf("it bootstraps %d times", got.won)
	}
}

// crossed: each reservation is of two passwords, in one order or the other.
// The rows are locked in these orders, so that nodes get into each other's
// way.
func crossed(t *testing.T, a, b store.Store) {
	for range 5 {
		one, two, got := create(t, a), create(t, a), &counts{t: t}
		atOnce(24, func(i int, s store.Store) {
			r := of(one.ID, byte(i), 0)
			r.Uses = append(r.Uses, policy.Use{Kind: policy.UsePassword, ID: two.ID})
			if i/2%2 == 1 {
				r.Uses[0], r.Uses[1] = r.Uses[1], r.Uses[0]
			}
			got.add(s.Claims().Reserve(context.Background(), r))
		}, a, b)
		if got.won != 1 {
			t.Errorf("%d requests got both", got.won)
		}
	}
}

func freedBoth(t *testing.T, a, b store.Store) {
	made := create(t, a)
	atOnce(16, func(i int, s store.Store) {
		for range 10 {
			r := of(made.ID, byte(i), 0)
			if err := s.Claims().Reserve(context.Background(), r); err != nil {
				taken(t, "while another one has it", err)
				continue
			}
			if err := s.Claims().Settle(context.Background(), end(r, store.NotIssued)); err != nil {
				t.Error(err)
			}
		}
	}, a, b)
	check(t, b.Claims().Reserve(t.Context(), of(made.ID, 99, 0)))
}

func refusedBoth(t *testing.T, a, b store.Store) {
	made := create(t, a)
	atOnce(store.MostRefusals, func(_ int, s store.Store) {
		if err := s.Passwords().Refused(context.Background(), made.ID); err != nil {
			t.Error(err)
		}
	}, a, b)
	want(t, "in the end", state(t, b, made.Text, 0), "is locked")
}

func importBoth(t *testing.T, a, b store.Store) {
	list := make([]store.Device, 50)
	for i := range list {
		list[i] = device("aa", fmt.Sprint(i))
	}
	var mu sync.Mutex
	total := 0
	atOnce(4, func(_ int, s store.Store) {
		added, _, err := s.Devices().Import(context.Background(), "fleet", list, Now)
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		total += added
	}, a, b)
	if all, err := b.Devices().List(t.Context(), ""); err != nil || len(all) != len(list) || total != len(list) {
		t.Errorf("%d devices, %d added, %v", len(all), total, err)
	}
}
