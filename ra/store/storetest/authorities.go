// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

// entry is a certificate of the issuer aa that is kept for a day.
func entry(serial int64) store.CACertificate {
	return store.CACertificate{
		Issuer: "aa", Serial: big.NewInt(serial), CA: "est", Issued: Now, NotAfter: Now.Add(time.Hour), Until: Now.Add(24 * time.Hour),
	}
}

// issues writes a certificate down as issued, for a request of its own.
func issues(t testing.TB, s store.Store, c store.CACertificate) error {
	t.Helper()
	row := signed(asked(rand.Text(), 0, 0))
	row.Request = sha256.Sum256([]byte(row.ID))
	row.Issuer, row.Upstream, row.Serial, row.NotAfter = c.Issuer, c.CA, hex.EncodeToString(c.Serial.Bytes()), c.NotAfter
	found, err := s.Certificates().Intend(t.Context(), row, Now)
	if found.Has != nil {
		t.Errorf("the request of the serial number %v has %s", c.Serial, found.Has.ID)
	}
	return err
}

func revokedAt(serial int64, after time.Duration, reason int) store.CACertificate {
	c := entry(serial)
	c.Revoked, c.Reason = Now.Add(after), reason
	return c
}

// shown is an entry in words.
func shown(c store.CACertificate) string {
	text := fmt.Sprintf("%s/%v of %s until %s", c.Issuer, c.Serial, c.CA, c.NotAfter.Sub(Now))
	if c.Issued.IsZero() {
		text += ", not issued"
	}
	if !c.Revoked.IsZero() {
		text += fmt.Sprintf(", revoked after %s for %d", c.Revoked.Sub(Now), c.Reason)
	}
	return text
}

// wantEntry compares what is known of a serial number; "" is nothing.
func wantEntry(t *testing.T, s store.Store, serial int64, want string) {
	t.Helper()
	c, err := s.Authorities().Entry(t.Context(), "aa", big.NewInt(serial))
	got := shown(c)
	if errors.Is(err, store.ErrUnknown) {
		got, err = "", nil
	}
	check(t, err)
	if got != want {
		t.Errorf("serial %d is %q, want %q", serial, got, want)
	}
}

func issuedOnce(t *testing.T, s store.Store) {
	ctx := t.Context()
	check(t, issues(t, s, entry(1)))
	taken(t, "the same once more", issues(t, s, entry(1)))
	other := entry(1)
	other.Issuer = "bb"
	check(t, issues(t, s, other))
	check(t, s.Authorities().Revoke(ctx, revokedAt(2, 0, 5)))
	taken(t, "one that was revoked before", issues(t, s, entry(2)))
	wantEntry(t, s, 1, "aa/1 of est until 1h0m0s")
	wantEntry(t, s, 3, "")
	for name, bad := range map[string]func(*store.CACertificate){
		"without an issuer":       func(c *store.CACertificate) { c.Issuer = "" },
		"without a serial number": func(c *store.CACertificate) { c.Serial = nil },
		"with the serial 0":       func(c *store.CACertificate) { c.Serial = new(big.Int) },
		"without an end":          func(c *store.CACertificate) { c.Until = time.Time{} },
		"with a name in Latin-1":  func(c *store.CACertificate) { c.CA = "Ger\xe4te" },
	} {
		c := entry(9)
		bad(&c)
		if s.Authorities().Revoke(ctx, c) == nil {
			t.Errorf("one %s was taken", name)
		}
	}
	for _, serial := range []*big.Int{nil, new(big.Int), big.NewInt(-1)} {
		if _, err := s.Authorities().Entry(ctx, "aa", serial); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("the serial number %v: %v", serial, err)
		}
	}
}

func revokedOnce(t *testing.T, s store.Store) {
	ctx := t.Context()
	check(t, issues(t, s, entry(1)))
	check(t, s.Authorities().Revoke(ctx, revokedAt(1, time.Minute, 4)))
	wantEntry(t, s, 1, "aa/1 of est until 1h0m0s, revoked after 1m0s for 4")
	check(t, s.Authorities().Revoke(ctx, revokedAt(1, time.Hour, 1)))
	wantEntry(t, s, 1, "aa/1 of est until 1h0m0s, revoked after 1m0s for 4")
	unknown := revokedAt(2, 0, 0)
	unknown.Issued = time.Time{}
	check(t, s.Authorities().Revoke(ctx, unknown))
	wantEntry(t, s, 2, "aa/2 of est until 1h0m0s, not issued, revoked after 0s for 0")
}

// newList makes a list of the issuer aa that holds for an hour, where it is due.
func newList(ctx context.Context, s store.Store, now time.Time, due func(store.RevocationList) bool) (store.RevocationList, error) {
	return s.Authorities().NewList(ctx, "aa", now, due, func(number int64, revoked []store.CACertificate) (store.RevocationList, error) {
		var serials []string
		for _, c := range revoked {
			serials = append(serials, c.Serial.String())
		}
		return store.RevocationList{ThisUpdate: now, NextUpdate: now.Add(time.Hour), DER: fmt.Appendf(nil, "%d: %s", number-Now.Unix(), strings.Join(serials, " "))}, nil
	})
}

func always(store.RevocationList) bool      { return true }
func behind(list store.RevocationList) bool { return list.Number == 0 || list.Behind }
func wantDER(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: the list is %q, want %q", what, got, want)
	}
}

func listsMade(t *testing.T, s store.Store) {
	ctx := t.Context()
	if _, err := s.Authorities().List(ctx, "aa", 0); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("before there is one: %v", err)
	}
	check(t, s.Authorities().Revoke(ctx, revokedAt(7, time.Second, 1)))
	if _, err := s.Authorities().List(ctx, "aa", 0); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("before there is one, with a revocation: %v", err)
	}
	check(t, issues(t, s, entry(8)))
	other := revokedAt(6, 0, 1)
	other.Issuer = "bb"
	check(t, s.Authorities().Revoke(ctx, other))
	first, err := newList(ctx, s, Now, behind)
	check(t, err)
	wantDER(t, "the first", string(first.DER), "0: 7")
	for range 2 {
		same, err := newList(ctx, s, Now, behind)
		check(t, err)
		wantDER(t, "nothing has changed", string(same.DER), "0: 7")
	}
	check(t, s.Authorities().Revoke(ctx, revokedAt(7, time.Minute, 1)))
	check(t, s.Authorities().Revoke(ctx, revokedAt(8, 0, 1)))
	held, err := s.Authorities().List(ctx, "aa", 0)
	check(t, err)
	if !held.Behind || string(held.DER) != "0: 7" || !held.ThisUpdate.Equal(Now) || !held.NextUpdate.Equal(Now.Add(time.Hour)) {
		t.Errorf("after a revocation the list is %+v", held)
	}
	second, err := newList(ctx, s, Now, behind)
	check(t, err)
	wantDER(t, "in the order of time", string(second.DER), "1: 8 7")
	held, err = s.Authorities().List(ctx, "aa", second.Number)
	if check(t, err); held.Behind || len(held.DER) > 0 || held.Number != second.Number {
		t.Errorf("the list that is there already is %+v", held)
	}
	later, err := newList(ctx, s, Now.Add(-time.Hour), always)
	check(t, err)
	wantDER(t, "the clock went back", string(later.DER), "2: 8 7")
}

func listFails(t *testing.T, s store.Store) {
	first, err := newList(t.Context(), s, Now, always)
	check(t, err)
	check(t, s.Authorities().Revoke(t.Context(), revokedAt(1, 0, 1)))
	no := errors.New("no key")
	if _, err := s.Authorities().NewList(t.Context(), "aa", Now, always, func(int64, []store.CACertificate) (store.RevocationList, error) {
		return store.RevocationList{}, no
	}); !errors.Is(err, no) {
		t.Errorf("it can't be signed: %v", err)
	}
	held, err := s.Authorities().List(t.Context(), "aa", 0)
	if check(t, err); held.Number != first.Number || !held.Behind {
		t.Errorf("the list is %+v, want the first, which lacks something", held)
	}
}

func listForgets(t *testing.T, s store.Store) {
	kept := revokedAt(2, 0, 1)
	kept.Until = Now.Add(72 * time.Hour)
	check(t, issues(t, s, entry(2)))
	check(t, s.Authorities().Revoke(t.Context(), revokedAt(1, 0, 1)))
	check(t, s.Authorities().Revoke(t.Context(), kept))
	made, err := newList(t.Context(), s, Now.Add(48*time.Hour), always)
	check(t, err)
	wantDER(t, "after two days", string(made.DER), "172800: 2")
	wantEntry(t, s, 1, "")
	made, err = newList(t.Context(), s, Now.Add(73*time.Hour), always)
	check(t, err)
	wantDER(t, "after three days", string(made.DER), "262800: ")
}

// listsBoth: each revokes, and makes a list where it lacks something. In the end
// all are in it.
func listsBoth(t *testing.T, a, b store.Store) {
	var mu sync.Mutex
	made := map[int64]string{}
	const revocations = 24
	atOnce(revocations, func(i int, s store.Store) {
		if err := s.Authorities().Revoke(context.Background(), revokedAt(int64(100+i), 0, 1)); err != nil {
			t.Error(err)
			return
		}
		list, err := newList(context.Background(), s, Now, behind)
		if err != nil {
			t.Error(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if was, there := made[list.Number]; there && was != string(list.DER) {
			t.Errorf("the number %d is that of %q and of %q", list.Number, was, list.DER)
		}
		made[list.Number] = string(list.DER)
		if !slices.Contains(strings.Fields(string(list.DER)), fmt.Sprint(100+i)) {
			t.Errorf("the list %q lacks %d, which was revoked before", list.DER, 100+i)
		}
	}, a, b)
	held, err := b.Authorities().List(t.Context(), "aa", 0)
	if check(t, err); held.Behind || len(strings.Fields(string(held.DER))) != revocations+1 {
		t.Errorf("in the end the list is %q", held.DER)
	}
}
