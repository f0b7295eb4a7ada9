// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/srp"
	"github.com/caddy-est/estra/ra/store"
)

func srpUser(t testing.TB, realm, name, group string) srp.User {
	t.Helper()
	g, err := srp.GroupNamed(group)
	check(t, err)
	v, err := srp.New(rand.Reader, g, realm, name, "word of "+"a device")
	check(t, err)
	return srp.User{Verifier: v, Note: "of " + name}
}

func addSRP(t testing.TB, s store.Store, users ...srp.User) {
	t.Helper()
	check(t, s.SRP().Add(t.Context(), users, false, Now))
}

// srpState is how a user is found.
func srpState(t testing.TB, s store.Store, realm, name string) string {
	t.Helper()
	e, err := s.SRP().Find(t.Context(), realm, name)
	check(t, err)
	switch {
	case len(e.Seed) != srp.SeedLength:
		return fmt.Sprintf("found with a seed of %d bytes", len(e.Seed))
	case len(e.V) == 0:
		return "unknown"
	case e.Revoked:
		return "revoked"
	default:
		return "active"
	}
}

func srpFound(t *testing.T, s store.Store) {
	one, two := srpUser(t, "devices", "one", "3072"), srpUser(t, "labs", "one", "2048")
	addSRP(t, s, one, two)
	for _, u := range []srp.User{one, two} {
		e, err := s.SRP().Find(t.Context(), u.Realm, u.User)
		check(t, err)
		if !bytes.Equal(e.V, u.V) || !bytes.Equal(e.Salt, u.Salt) || e.Group != u.Group.Name() || e.Revoked {
			t.Errorf("%s/%s is found as another, in the group %s", u.Realm, u.User, e.Group)
		}
	}
	for _, name := range []string{"two", "On", "", "one\x00", "\xff", "ONE", "%"} {
		if got := srpState(t, s, "devices", name); got != "unknown" {
			t.Errorf("%q is %s", name, got)
		}
	}
	if _, err := s.SRP().Find(t.Context(), "De vices", "one"); err == nil {
		t.Error("a realm that can't be")
	}
}

// A realm that nobody has added to has its seed as well, and keeps it.
func srpSeed(t *testing.T, s store.Store) { srpSeedBoth(t, s, s) }

func srpSeedBoth(t *testing.T, a, b store.Store) {
	seeds := make([][]byte, 16)
	atOnce(len(seeds), func(i int, s store.Store) {
		e, err := s.SRP().Find(context.Background(), "devices", "nobody")
		if err != nil || len(e.V)+len(e.Salt) > 0 || e.Group != srp.DefaultGroup {
			t.Errorf("%+v, %v", e, err)
		}
		seeds[i] = e.Seed
	}, a, b)
	addSRP(t, b, srpUser(t, "devices", "one", "3072"))
	e, err := a.SRP().Find(t.Context(), "devices", "nobody")
	check(t, err)
	if e.Group != "3072" {
		t.Errorf("the group is %s, and not that of the first user", e.Group)
	}
	for _, seed := range append(seeds, e.Seed) {
		if !bytes.Equal(seed, seeds[0]) || len(seed) != srp.SeedLength {
			t.Error("the seed has changed")
		}
	}
	other, err := a.SRP().Find(t.Context(), "labs", "nobody")
	check(t, err)
	if bytes.Equal(other.Seed, seeds[0]) {
		t.Error("two realms share a seed")
	}
}

func srpRefused(t *testing.T, s store.Store) {
	one := srpUser(t, "devices", "one", "2048")
	addSRP(t, s, one)
	add := func(users ...srp.User) error { return s.SRP().Add(t.Context(), users, false, Now) }
	if err := add(srpUser(t, "devices", "a-two", "2048"), srpUser(t, "devices", "one", "2048")); !errors.Is(err, srp.ErrTaken) {
		t.Errorf("a name that is there: %v", err)
	}
	for name, users := range map[string][]srp.User{
		"another group":             {srpUser(t, "devices", "a-two", "3072")},
		"two groups for a realm":    {srpUser(t, "labs", "a", "2048"), srpUser(t, "labs", "b", "3072")},
		"a user without a verifier": {srpUser(t, "devices", "a-two", "2048"), {Verifier: srp.Verifier{Realm: "devices", User: "z", Group: one.Group, Salt: one.Salt}}},
		"a name that can't be":      {{Verifier: srp.Verifier{Realm: "devices", User: "a b", Group: one.Group, Salt: one.Salt, V: one.V}}},
	} {
		if err := add(users...); err == nil || strings.Contains(err.Error(), fmt.Sprintf("%x", []byte(one.V[:8]))) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := srpState(t, s, "devices", "a-two") + srpState(t, s, "labs", "a"); got != "unknownunknown" {
		t.Errorf("a part was added: %s", got)
	}
	if e, err := s.SRP().Find(t.Context(), "devices", "one"); err != nil || !bytes.Equal(e.V, one.V) {
		t.Errorf("the verifier has changed, %v", err)
	}
}

func srpRevoked(t *testing.T, s store.Store) {
	addSRP(t, s, srpUser(t, "devices", "one", "2048"), srpUser(t, "devices", "two", "2048"), srpUser(t, "labs", "two", "2048"))
	if err := s.SRP().Revoke(t.Context(), "devices", []string{"one", "none"}, Now); !errors.Is(err, srp.ErrUnknown) {
		t.Error(err)
	}
	if got := srpState(t, s, "devices", "one"); got != "active" {
		t.Errorf("another one wasn't there: %s", got)
	}
	check(t, s.SRP().Revoke(t.Context(), "devices", []string{"two"}, Now))
	check(t, s.SRP().Revoke(t.Context(), "devices", []string{"two"}, Now.Add(time.Hour)))
	if got := srpState(t, s, "devices", "two") + srpState(t, s, "labs", "two"); got != "revokedactive" {
		t.Errorf("revoked in one realm: %s", got)
	}
	list, err := s.SRP().List(t.Context(), "devices")
	check(t, err)
	if len(list) != 2 || list[0].State() != "active" || !list[1].Revoked.Equal(Now) {
		t.Errorf("the list is %+v", list)
	}
	again := srpUser(t, "devices", "two", "2048")
	check(t, s.SRP().Add(t.Context(), []srp.User{again}, true, Now))
	if e, err := s.SRP().Find(t.Context(), "devices", "two"); err != nil || e.Revoked || !bytes.Equal(e.V, again.V) || !bytes.Equal(e.Salt, again.Salt) {
		t.Errorf("one that was replaced: revoked %v, %v", e.Revoked, err)
	}
}

func srpListed(t *testing.T, s store.Store) {
	addSRP(t, s, srpUser(t, "labs", "b", "2048"), srpUser(t, "devices", "a", "3072"), srpUser(t, "labs", "B", "2048"))
	all, err := s.SRP().List(t.Context(), "")
	check(t, err)
	var got []string
	for _, u := range all {
		if len(u.V)+len(u.Salt) > 0 || !u.Created.Equal(Now) {
			t.Errorf("the list has %+v", u)
		}
		got = append(got, fmt.Sprint(u.Realm, "/", u.User, " ", u.Group.Name(), " ", u.State(), " ", u.Note))
	}
	if want := "devices/a 3072 active of a, labs/B 2048 active of B, labs/b 2048 active of b"; strings.Join(got, ", ") != want {
		t.Errorf("the list is %q, want %s", got, want)
	}
}

// srpAddBoth: of two nodes that add a name at once one does, and the realm has the
// group of the first.
func srpAddBoth(t *testing.T, a, b store.Store) {
	users := []srp.User{srpUser(t, "devices", "one", "2048"), srpUser(t, "devices", "one", "3072")}
	won := make(chan int, 8)
	atOnce(cap(won), func(i int, s store.Store) {
		if err := s.SRP().Add(context.Background(), []srp.User{users[i%2]}, false, Now); err == nil {
			won <- i % 2
		}
	}, a, b)
	if len(won) != 1 {
		t.Fatalf("%d were added", len(won))
	}
	e, err := a.SRP().Find(t.Context(), "devices", "one")
	check(t, err)
	if u := users[<-won]; !bytes.Equal(e.V, u.V) || e.Group != u.Group.Name() {
		t.Errorf("the group is %s, and %s won", e.Group, u.Group.Name())
	}
}
