// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

// device is an entry of the registry "routers".
func device(issuer, serial string) store.Device {
	return store.Device{Registry: "routers", Issuer: issuer, Identity: policy.SerialIdentity(serial)}
}

func add(t testing.TB, s store.Store, list ...store.Device) {
	t.Helper()
	_, _, err := s.Devices().Import(t.Context(), "routers", list, Now)
	check(t, err)
}

// idevid is what the certificate of a device is looked up by.
func idevid(d store.Device) policy.DeviceKeys {
	return policy.DeviceKeys{Issuer: d.Issuer, Identities: []string{"hardwareModuleName:1.2.3:00", d.Identity}, Certificate: [32]byte{0xff}}
}

// match finds one device.
func match(t testing.TB, s store.Store, keys policy.DeviceKeys) store.Device {
	t.Helper()
	found, err := s.Devices().Match(t.Context(), keys)
	check(t, err)
	if len(found) != 1 {
		t.Fatalf("%d devices are found", len(found))
	}
	return found[0]
}

func imported(t *testing.T, s store.Store) {
	one, two := device("aa", "1"), device("aa", "2")
	added, known, err := s.Devices().Import(t.Context(), "routers", []store.Device{one, two, one}, Now)
	if err != nil || added != 2 || known != 1 {
		t.Fatalf("%d added, %d known, %v", added, known, err)
	}
	check(t, s.Devices().Block(t.Context(), one, Now))
	one.Note = "in the attic"
	added, known, err = s.Devices().Import(t.Context(), "routers", []store.Device{one, device("aa", "3")}, Now)
	if err != nil || added != 1 || known != 1 {
		t.Fatalf("%d added, %d known, %v", added, known, err)
	}
	all, err := s.Devices().List(t.Context(), "routers")
	check(t, err)
	if len(all) != 3 || all[0].State != policy.Blocked || all[0].Note != "in the attic" || all[1].State != policy.Expected {
		t.Errorf("the registry has %+v", all)
	}
	none, err := s.Devices().List(t.Context(), "printers")
	check(t, err)
	if len(none) != 0 {
		t.Errorf("another registry has %+v", none)
	}
}

func matched(t *testing.T, s store.Store) {
	one := device("aa", "1")
	add(t, s, one, device("bb", "1"), device("aa", "2"))
	if got := match(t, s, idevid(one)); got.Issuer != "aa" || got.Identity != one.Identity || got.State != policy.Expected {
		t.Errorf("found %+v", got)
	}
	for name, keys := range map[string]policy.DeviceKeys{
		"nothing":             {},
		"another issuer":      idevid(device("cc", "1")),
		"another serial":      idevid(device("aa", "3")),
		"no issuer":           idevid(device("", "1")),
		"no identity":         {Issuer: "aa"},
		"a pattern":           idevid(device("aa", "%")),
		"another certificate": {Certificate: [32]byte{1}},
	} {
		if found, err := s.Devices().Match(t.Context(), keys); err != nil || len(found) > 0 {
			t.Errorf("%s: %+v, %v", name, found, err)
		}
	}
	_, _, err := s.Devices().Import(t.Context(), "spares", []store.Device{one}, Now)
	check(t, err)
	if found, err := s.Devices().Match(t.Context(), idevid(one)); err != nil || len(found) != 2 {
		t.Errorf("in two registries: %+v, %v", found, err)
	}
}

func ofDevice(d store.Device, request byte, at time.Duration) store.Reservation {
	r := of("", request, at)
	r.Uses = []policy.Use{{Kind: policy.UseDevice, ID: d.ID()}}
	return r
}

// issue enrols a device, with a certificate that is known by a byte.
func issue(t testing.TB, s store.Store, d store.Device, request byte, at time.Duration) {
	t.Helper()
	r := ofDevice(d, request, at)
	check(t, s.Claims().Reserve(t.Context(), r))
	done := end(r, store.Issued)
	done.Devices, done.Certificate, done.NotAfter = []string{d.ID()}, [32]byte{request}, Now.Add(90*24*time.Hour)
	check(t, s.Claims().Settle(t.Context(), done))
}

func bootstrap(t *testing.T, s store.Store) {
	one := device("aa", "1")
	add(t, s, one)
	if got := match(t, s, idevid(one)).Matched(Now); got.Again || got.State != policy.Expected {
		t.Errorf("at first it is %+v", got)
	}
	issue(t, s, one, 1, 0)
	if got := match(t, s, idevid(one)).Matched(Now); !got.Again || got.State != policy.Enrolled {
		t.Errorf("after its first certificate it is %+v", got)
	}
	issue(t, s, one, 1, time.Hour) // the answer was lost
	taken(t, "another key", s.Claims().Reserve(t.Context(), ofDevice(one, 2, 0)))
	taken(t, "after a day", s.Claims().Reserve(t.Context(), ofDevice(one, 1, 24*time.Hour)))
	if got := match(t, s, idevid(one)).Matched(Now.Add(24 * time.Hour)); got.Again || got.State != policy.Enrolled {
		t.Errorf("after a day it is %+v", got)
	}
}

func rearmed(t *testing.T, s store.Store) {
	one := device("aa", "1")
	add(t, s, one)
	issue(t, s, one, 1, 0)
	check(t, s.Devices().Rearm(t.Context(), one, Now))
	if got := match(t, s, idevid(one)).Matched(Now); got.Again || got.State != policy.Expected {
		t.Errorf("armed anew it is %+v", got)
	}
	issue(t, s, one, 2, 0)
	if got := match(t, s, idevid(one)); got.State != policy.Enrolled {
		t.Errorf("it is %+v", got)
	}
}

func blocked(t *testing.T, s store.Store) {
	one := device("aa", "1")
	add(t, s, one)
	issue(t, s, one, 1, 0)
	// A renewal reserves nothing.
	check(t, s.Claims().Settle(t.Context(), store.Settlement{
		Ended: store.Issued, Devices: []string{one.ID()}, Certificate: [32]byte{2}, NotAfter: Now.Add(time.Hour), Now: Now,
	}))
	check(t, s.Devices().Block(t.Context(), one, Now))
	for _, keys := range []policy.DeviceKeys{idevid(one), {Certificate: [32]byte{1}}, {Issuer: "ours", Certificate: [32]byte{2}}} {
		if got := match(t, s, keys); got.State != policy.Blocked || got.MayBootstrap(Now) {
			t.Errorf("by %+v it is %+v", keys, got)
		}
	}
	taken(t, "blocked", s.Claims().Reserve(t.Context(), ofDevice(one, 1, 0)))
	// Certificates that ended more than a year ago are forgotten, and no others.
	check(t, s.Claims().Settle(t.Context(), store.Settlement{
		Ended: store.Issued, Devices: []string{one.ID()}, Certificate: [32]byte{3}, NotAfter: Now.Add(800 * 24 * time.Hour), Now: Now.Add(400 * 24 * time.Hour),
	}))
	if found, err := s.Devices().Match(t.Context(), policy.DeviceKeys{Certificate: [32]byte{2}}); err != nil || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
	match(t, s, policy.DeviceKeys{Certificate: [32]byte{1}})
}

func ambiguous(t *testing.T, s store.Store) {
	add(t, s, device("aa", "1"), device("bb", "1"))
	if err := s.Devices().Block(t.Context(), device("", "1"), Now); err == nil || !strings.Contains(err.Error(), "aa, bb") {
		t.Errorf("it is blocked with %v", err)
	}
	check(t, s.Devices().Block(t.Context(), device("bb", "1"), Now))
	if got := match(t, s, idevid(device("aa", "1"))); got.State != policy.Expected {
		t.Errorf("the other one is %s", got.State)
	}
	if err := s.Devices().Rearm(t.Context(), device("", "7"), Now); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("one that isn't there: %v", err)
	}
	check(t, s.Devices().Rearm(t.Context(), device("bb", "1"), Now))
}

func silent(t *testing.T, s store.Store) {
	made := create(t, s)
	shown := fmt.Sprintf("%v %+v %#v", made, made, made)
	_, err := s.Passwords().Verify(t.Context(), made.Text, "other", Now)
	shown += fmt.Sprintf("%v %+v %#v", err, err, err)
	if strings.Contains(shown, string(made.Text[len(made.Text)-26:])) {
		t.Errorf("the secret is in %s", shown)
	}
}

func byBytes(t *testing.T, s store.Store) {
	want := []string{"A", "B", "Z", "a", "a-b", "aB", "ab", "z", "Ä", "é"}
	for i := range want { // in another order
		add(t, s, device("aa", want[(i*7+3)%len(want)]))
	}
	all, err := s.Devices().List(t.Context(), "routers")
	check(t, err)
	for i, d := range all {
		if d.Identity != policy.SerialIdentity(want[i]) {
			t.Errorf("device %d is %s, want %s", i, d.Identity, want[i])
		}
	}
}

func unstorable(t *testing.T, s store.Store) {
	add(t, s, device("aa", "1"))
	for _, serial := range []string{"1\x00", "\xff", "1\xc3"} {
		bad := device("aa", serial)
		if found, err := s.Devices().Match(t.Context(), idevid(bad)); err != nil || len(found) > 0 {
			t.Errorf("%q: %d devices, %v", serial, len(found), err)
		}
		if _, _, err := s.Devices().Import(t.Context(), "routers", []store.Device{bad}, Now); err == nil {
			t.Errorf("%q is imported", serial)
		}
	}
}

func decryptKeys(t *testing.T, s store.Store) {
	one, two := device("aa", "1"), device("aa", "2")
	key := func(id, value string, asymmetric bool) store.DecryptKey {
		return store.DecryptKey{ID: []byte(id), Asymmetric: asymmetric, Value: []byte(value)}
	}
	password := store.PFXPassword()
	password.Value = []byte("a password, sealed")
	one.Keys = []store.DecryptKey{key("k", "first", false), key("k", "public", true)}
	add(t, s, one, two)
	one.Keys = []store.DecryptKey{key("k", "second", false), key("l", "more", false), password}
	add(t, s, one)
	for _, c := range []struct {
		devices []string
		wanted  store.DecryptKey
		want    string
	}{
		{[]string{one.ID()}, key("k", "", false), "second"},
		{[]string{two.ID(), one.ID()}, key("l", "", false), "more"},
		{[]string{one.ID()}, key("k", "", true), "public"},
		{[]string{one.ID()}, key("l", "", true), ""},
		{[]string{two.ID()}, key("k", "", false), ""},
		{nil, key("k", "", false), ""},
		{[]string{two.ID(), one.ID()}, store.PFXPassword(), "a password, sealed"},
		{[]string{two.ID()}, store.PFXPassword(), ""},
		{[]string{one.ID()}, key("pkcs12", "", false), ""},
	} {
		of, found, err := s.Devices().DecryptKey(t.Context(), c.devices, c.wanted)
		if c.want == "" {
			if !errors.Is(err, store.ErrUnknown) {
				t.Errorf("%q of %v: %v", c.wanted.ID, c.devices, err)
			}
			continue
		}
		if err != nil || of != one.ID() || string(found.Value) != c.want || !found.Is(c.wanted) {
			t.Errorf("%q of %v is %q of %s, %v", c.wanted.ID, c.devices, []byte(found.Value), of, err)
		}
	}
}
