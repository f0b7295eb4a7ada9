// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

// asked is an entry for a request, by its id.
func asked(id string, request byte, at time.Duration) store.Certificate {
	now := Now.Add(at)
	return store.Certificate{
		ID: id, Request: [32]byte{request}, State: store.CertificateAsked, Node: "one", Lease: now.Add(time.Minute),
		Upstream: "step_ca", Profile: "routers", Label: "routers", Op: "simpleenroll", Identity: "http_basic:onboarding", SPKI: [32]byte{1, request},
		Serial: fmt.Sprintf("4%02x", request), OwnSerial: true, NotBefore: now, NotAfter: now.Add(90 * 24 * time.Hour),
		Replaces: [32]byte{2}, Asked: now, Changed: now, Names: "CN=Rtr-100%_1.example.net DNS:rtr.example.net",
	}
}

// issuedAs is the certificate of an entry.
func issuedAs(c store.Certificate) store.CertificateEnd {
	der := []byte("certificate " + c.ID)
	return store.CertificateEnd{
		ID: c.ID, State: store.CertificateIssued, DER: der, SHA256: sha256.Sum256(der), Serial: c.Serial + "f",
		NotBefore: c.NotBefore, NotAfter: c.NotAfter, Ref: "ref", Now: c.Asked.Add(time.Second),
	}
}

// signed is an entry that begins as issued.
func signed(c store.Certificate) store.Certificate {
	c.State, c.DER, c.Lease = store.CertificateIssued, []byte("certificate "+c.ID), time.Time{}
	c.SHA256 = sha256.Sum256(c.DER)
	return c
}

// intends writes an entry, or says which one the request has; after a slash
// stand those in doubt.
func intends(t testing.TB, s store.Store, c store.Certificate) string {
	t.Helper()
	found, err := s.Certificates().Intend(context.Background(), c, c.Asked.Add(-24*time.Hour))
	check(t, err)
	said := "new"
	if found.Has != nil {
		said = found.Has.ID + " " + string(found.Has.State)
	}
	for _, d := range found.Doubtful {
		said += " / " + d.ID
	}
	return said
}

func is(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %s, want %s", what, got, want)
	}
}

func became(t testing.TB, s store.Store, id string) string {
	t.Helper()
	c, err := s.Certificates().Get(context.Background(), id)
	if errors.Is(err, store.ErrUnknown) {
		return "none"
	}
	check(t, err)
	return string(c.State)
}

func certificateOnce(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	first := asked("a", 1, 0)
	is(t, "the first", intends(t, s, first), "new")
	is(t, "the same, while the CA is asked", intends(t, s, asked("b", 1, time.Second)), "a asked")
	is(t, "another request", intends(t, s, asked("c", 2, time.Second)), "new")
	check(t, l.Ended(ctx, issuedAs(first)))
	is(t, "the same, issued", intends(t, s, asked("b", 1, time.Hour)), "a issued")
	is(t, "the same, from within the process", intends(t, s, signed(asked("b", 1, time.Hour))), "a issued")
	got, err := l.Current(ctx, first.Request)
	check(t, err)
	end, want := issuedAs(first), first
	want.State, want.DER, want.SHA256, want.Serial, want.Ref, want.Changed = store.CertificateIssued, end.DER, end.SHA256, end.Serial, "ref", end.Now
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("it is\n%+v, want\n%+v", got, want)
	}
	if err := l.Ended(ctx, issuedAs(first)); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("it ends twice: %v", err)
	}
	is(t, "after the window", intends(t, s, asked("d", 1, 24*time.Hour+2*time.Second)), "new")
	is(t, "the old one", became(t, s, "a"), "issued")
}

func certificateGivesWay(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	for i, c := range []struct {
		what  string
		do    func(id string) error
		after time.Duration
	}{
		{"revoked", func(id string) error { return l.Revoked(ctx, id, store.Mark{At: Now, Reason: 4, By: "ann"}) }, time.Minute},
		{"blocked", func(id string) error { return l.Block(ctx, id, store.Mark{At: Now, By: "ann"}) }, time.Minute},
		{"ended", func(string) error { return nil }, 91 * 24 * time.Hour},
	} {
		id := fmt.Sprint("x", i)
		is(t, c.what, intends(t, s, signed(asked(id, byte(i), 0))), "new")
		check(t, c.do(id))
		again := asked(id+"-again", byte(i), c.after)
		found, err := l.Intend(ctx, again, Now.Add(-time.Hour))
		check(t, err)
		if found.Has != nil {
			t.Errorf("a certificate that is %s is given again", c.what)
		}
	}
}

func certificateFails(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	is(t, "the first", intends(t, s, asked("a", 1, 0)), "new")
	check(t, l.Ended(ctx, store.CertificateEnd{ID: "a", Now: Now}))
	is(t, "it isn't issued", became(t, s, "a"), "none")
	is(t, "the next", intends(t, s, asked("b", 1, 0)), "new")
	end := issuedAs(asked("b", 1, 0))
	end.State, end.Revoked, end.Reason = store.CertificateWithheld, true, 9
	check(t, l.Ended(ctx, end))
	is(t, "it differs", became(t, s, "b"), "withheld")
	is(t, "one after that", intends(t, s, asked("c", 1, 0)), "new")
	check(t, l.Ended(ctx, store.CertificateEnd{ID: "c", State: store.CertificateUnknown, Now: Now}))
	is(t, "one after an end that nobody knows", intends(t, s, asked("d", 1, 0)), "new / c")
	check(t, l.Revoked(ctx, "c", store.Mark{At: Now, Reason: 4, By: "estra"}))
	check(t, l.Ended(ctx, store.CertificateEnd{ID: "d", Now: Now}))
	is(t, "it was revoked", intends(t, s, asked("e", 1, 0)), "new")
	for _, id := range []string{"none", "a"} {
		if err := l.Ended(ctx, store.CertificateEnd{ID: id, State: store.CertificateUnknown, Now: Now}); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("%s ends: %v", id, err)
		}
	}
}

func certificateAbandoned(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	first := asked("a", 1, 0)
	is(t, "the first", intends(t, s, first), "new")
	is(t, "a moment before its lease ends", intends(t, s, asked("b", 1, time.Minute-time.Millisecond)), "a asked")
	is(t, "its lease has ended", intends(t, s, asked("b", 1, time.Minute)), "new / a")
	taken(t, "its answer comes late", l.Ended(ctx, issuedAs(first)))
	is(t, "it is written down", became(t, s, "a"), "issued")
	is(t, "the other one goes on", intends(t, s, asked("c", 1, time.Minute)), "b asked")
	n, err := l.Abandoned(ctx, "one", Now.Add(time.Minute), Now.Add(time.Hour))
	check(t, err)
	is(t, "asked for since the node was started", fmt.Sprint(n), "0")
	n, err = l.Abandoned(ctx, "two", Now.Add(time.Hour), Now.Add(time.Hour))
	check(t, err)
	is(t, "another node's", fmt.Sprint(n), "0")
	n, err = l.Abandoned(ctx, "one", Now.Add(time.Hour), Now.Add(time.Hour))
	check(t, err)
	is(t, "its own", fmt.Sprint(n), "1")
	is(t, "the next", intends(t, s, asked("c", 1, time.Hour)), "new / b")
}

// certificateClock: what gave way by a clock that was wrong.
func certificateClock(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	const later = 100 * 24 * time.Hour // than the end of all
	begin := func(request byte) (first, next store.Certificate) {
		first, next = asked(fmt.Sprint("first", request), request, 0), asked(fmt.Sprint("next", request), request, later)
		is(t, "the first", intends(t, s, signed(first)), "new")
		found, err := l.Intend(ctx, next, next.Asked)
		check(t, err)
		is(t, "gives way", found.GaveWay, first.ID)
		return first, next
	}
	has := func(what string, request byte, want string) {
		t.Helper()
		got, err := l.Current(ctx, [32]byte{request})
		if err != nil {
			got.ID = err.Error()
		}
		is(t, what, got.ID, want)
	}
	for request, state := range []store.CertificateState{"", store.CertificateUnknown, store.CertificateWithheld} {
		first, next := begin(byte(request))
		check(t, l.Ended(ctx, store.CertificateEnd{ID: next.ID, State: state, Now: next.Asked, GaveWay: first.ID}))
		has("ended as "+string(state), byte(request), first.ID)
	}
	first, next := begin(10)
	end := issuedAs(next)
	end.GaveWay = first.ID
	check(t, l.Ended(ctx, end))
	has("issued", 10, next.ID)

	first, next = begin(11)
	shown, err := l.Get(ctx, next.ID)
	check(t, err)
	is(t, "the CA's reference, while it is asked", shown.Ref, "")
	n, err := l.Abandoned(ctx, "one", Now, Now)
	check(t, err)
	is(t, "asked for in the future, by a node that was started", fmt.Sprint(n), "1")
	has("left by its node", 11, first.ID)

	first, next = begin(12)
	third := asked("third12", 12, later+time.Hour)
	is(t, "its lease has ended", intends(t, s, third), "new / "+next.ID)
	check(t, l.Ended(ctx, store.CertificateEnd{ID: third.ID, Now: third.Asked, GaveWay: first.ID}))
	has("both are gone", 12, first.ID)
	is(t, "the one whose lease has ended", became(t, s, next.ID), "unknown")

	first, next = begin(15)
	third = asked("third15", 15, later+time.Hour)
	is(t, "its lease has ended again", intends(t, s, third), "new / "+next.ID)
	check(t, l.Ended(ctx, store.CertificateEnd{ID: third.ID, Now: third.Asked}))
	check(t, l.Ended(ctx, issuedAs(next)))
	has("it comes late, when the one after it is gone", 15, next.ID)
	is(t, "and the first stays", became(t, s, first.ID), "issued")

	next = asked("doubt", 16, 0)
	is(t, "asked for", intends(t, s, next), "new")
	third = asked("third16", 16, later)
	is(t, "its lease ends", intends(t, s, third), "new / doubt")
	check(t, l.Revoked(ctx, next.ID, store.Mark{At: Now.Add(later), Reason: 4, By: "estra"}))
	check(t, l.Ended(ctx, store.CertificateEnd{ID: third.ID, Now: third.Asked}))
	taken(t, "it was revoked before it came", l.Ended(ctx, issuedAs(next)))
	marked, err := l.Get(ctx, next.ID)
	check(t, err)
	is(t, "its mark stays", fmt.Sprint(marked.State, marked.Revoked.Equal(Now.Add(later)), marked.Reason, marked.By), "issuedtrue 4estra")

	is(t, "asked for an hour ahead", intends(t, s, asked("ahead", 13, time.Hour)), "new")
	is(t, "by less than its lease", intends(t, s, asked("now", 13, time.Hour-time.Minute)), "ahead asked")
	is(t, "by more than its lease", intends(t, s, asked("now", 13, time.Hour-time.Minute-time.Millisecond)), "new / ahead")

	back := asked("back", 14, time.Hour)
	is(t, "asked for, before the clock is set back", intends(t, s, back), "new")
	end = issuedAs(back)
	end.Now = Now.Add(-365 * 24 * time.Hour)
	check(t, l.Ended(ctx, end))
	is(t, "issued, after that", intends(t, s, asked("repeat", 14, time.Hour)), "back issued")
}

func certificateNoted(t *testing.T, s store.Store) {
	l, ctx := s.Certificates(), t.Context()
	noted := func(id string, request byte, serial int64) store.Certificate {
		c := signed(asked(id, request, 0))
		c.Issuer, c.Upstream, c.Serial = "aa", "est", fmt.Sprintf("%02x", serial)
		return c
	}
	is(t, "the first", intends(t, s, noted("a", 1, 7)), "new")
	got, err := s.Authorities().Entry(ctx, "aa", big.NewInt(7))
	check(t, err)
	is(t, "at the CA", fmt.Sprint(got.Issued.Equal(Now), " ", got.CA), "true est")
	is(t, "the same request", intends(t, s, noted("b", 1, 8)), "a issued")
	if _, err := s.Authorities().Entry(ctx, "aa", big.NewInt(8)); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("what was forgotten is known to the CA: %v", err)
	}
	check(t, s.Authorities().Revoke(ctx, store.CACertificate{Issuer: "aa", Serial: big.NewInt(9), Revoked: Now, Until: Now.Add(time.Hour)}))
	_, err = l.Intend(ctx, noted("c", 2, 9), Now)
	taken(t, "a serial number that was revoked before", err)
	is(t, "its entry", became(t, s, "c"), "none")
}

// onceBoth: of requests at two nodes one is issued, and all others have that.
func onceBoth(t *testing.T, a, b store.Store) {
	for round := range 10 {
		var mu sync.Mutex
		said := map[string]int{}
		atOnce(32, func(i int, s store.Store) {
			c := asked(fmt.Sprintf("r%d-%02d", round, i), byte(round), 0)
			if i%3 == 0 {
				c = signed(c)
			}
			found, err := s.Certificates().Intend(context.Background(), c, Now.Add(-time.Hour))
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if found.Has == nil {
				said["new"]++
			} else {
				said[found.Has.ID]++
			}
		}, a, b)
		if said["new"] != 1 || len(said) != 2 {
			t.Errorf("32 requests at once have %v", said)
		}
	}
}

// anewBoth: what gives way gives way to one.
func anewBoth(t *testing.T, a, b store.Store) {
	for round := range 10 {
		old := asked(fmt.Sprintf("r%d-00", round), byte(round), 0)
		is(t, "the first", intends(t, a, old), "new")
		var mu sync.Mutex
		won, doubts := 0, 0
		atOnce(16, func(i int, s store.Store) {
			found, err := s.Certificates().Intend(context.Background(), asked(fmt.Sprintf("r%d-%02d", round, i+1), byte(round), time.Hour), Now)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if found.Has == nil {
				won++
				doubts += len(found.Doubtful)
			}
		}, a, b)
		is(t, "new ones, and doubts", fmt.Sprint(won, doubts), "1 1")
		is(t, "the one that was left", became(t, b, old.ID), "unknown")
	}
}
