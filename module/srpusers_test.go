// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"context"
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/srp"
	"github.com/caddy-est/estra/ra/store"
)

func TestUsersOfSRPAreThoseOfAFileOrOfTheStore(t *testing.T) {
	group, err := srp.GroupNamed(srp.DefaultGroup)
	if err != nil {
		t.Fatal(err)
	}
	v, err := srp.New(rand.Reader, group, "devices", "one", "word")
	if err != nil {
		t.Fatal(err)
	}
	user, name := srp.User{Verifier: v}, filepath.Join(t.TempDir(), "users")
	if err := srp.NewFile(name, rand.Reader).Add(t.Context(), []srp.User{user}, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	a := &App{}
	of, err := a.SRPUsers("devices", name)
	if err != nil {
		t.Fatal(err)
	}
	in, err := a.SRPUsers("devices", "")
	if err != nil {
		t.Fatal(err)
	}
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := in.Verifier(soon, "devices", "one"); err == nil {
		t.Error("the store isn't open, and has an answer")
	}
	opened, err := store.OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = opened.Close() }() // nothing is lost
	if err := opened.SRP().Add(t.Context(), []srp.User{user}, false, time.Now()); err != nil {
		t.Fatal(err)
	}
	a.store.store = opened
	close(a.store.opened)
	for _, l := range []srp.Lookup{of, in} {
		got, known, err := l.Verifier(t.Context(), "devices", "one")
		if err != nil || !known || !bytes.Equal(got.V, v.V) {
			t.Errorf("known %v, %v", known, err)
		}
		if _, known, err := l.Verifier(t.Context(), "devices", "two"); err != nil || known {
			t.Errorf("one that isn't there: known %v, %v", known, err)
		}
	}
	for _, c := range []struct{ realm, file, wrong string }{
		{"De vices", "", "the realm can't be"},
		{"labs", name, `there is no realm "labs" in it, but: devices`},
		{"devices", name + "x", "no such file"},
	} {
		if _, err := a.SRPUsers(c.realm, c.file); err == nil || !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s, %s: %v", c.realm, c.file, err)
		}
	}
}

func TestUsersThatNoListenerAsksForAreRefused(t *testing.T) {
	a := &App{}
	refuses := func(realm, want string) {
		t.Helper()
		if err := a.takesSRP(realm); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", realm, err)
		}
	}
	refuses("devices", "no listener of the configuration has `est_srp`")
	a.srpRealms = map[string]bool{"devices": true, "labs": false}
	refuses("device", `no `+"`est_srp`"+` has the realm "device"; there is: devices, labs`)
	refuses("labs", "in a file of `verifiers`")
	if err := a.takesSRP("devices"); err != nil {
		t.Error(err)
	}
}
