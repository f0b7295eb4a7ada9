// SPDX-License-Identifier: Apache-2.0

// Package storetest is the suite that every engine of package store passes.
package storetest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

// Now is the time of the suite.
var Now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// Suite tests the stores that open gives: each is empty and of its own.
func Suite(t *testing.T, open func(t testing.TB) store.Store) {
	for name, test := range map[string]func(*testing.T, store.Store){
		"a password is good at its label until it expires":          life,
		"bound names come back as they were given":                  names,
		"what is presented must be a password, and the right one":   presented,
		"a reserved password is good for the same request alone":    reserved,
		"nothing issued sets a password free":                       freed,
		"an unknown end leaves a password to its request":           unknownEnd,
		"a lost answer can be asked for again, and not for ever":    lostAnswer,
		"a certificate that is shown uses the password up":          collected,
		"refusals lock a password":                                  refusals,
		"a password has keys for proofs where it was made for some": proofs,
		"a revoked password is refused, also when it was reserved":  revoked,
		"of one password several requests at once get one":          race,
		"several things are reserved together or not at all":        together,
		"devices are imported once":                                 imported,
		"a device is found by issuer and identity":                  matched,
		"a device bootstraps once":                                  bootstrap,
		"a device that was armed anew bootstraps again":             rearmed,
		"a blocked device is found by the certificates it has":      blocked,
		"a device of several issuers must be told by its issuer":    ambiguous,
		"devices are listed in the order of their bytes":            byBytes,
		"a name that no engine can have is no device's":             unstorable,
		"a repeat finds what the same request had before":           madeAgain,
		"a certificate of any size is remembered":                   madeLarge,
		"a key to encrypt for is found with its device alone":       decryptKeys,
		"a certificate's chain is kept while it may be renewed":     chains,
		"chains of many renewals at once are all kept":              manyChains,
		"an SRP user is found in its realm alone":                   srpFound,
		"a realm has one seed, whoever asks first":                  srpSeed,
		"SRP users that can't be added change nothing":              srpRefused,
		"a revoked SRP user is out until it is replaced":            srpRevoked,
		"SRP users are listed in order, without their verifiers":    srpListed,
		"for a request one certificate is issued":                   certificateOnce,
		"what is revoked, blocked or past gives way":                certificateGivesWay,
		"what wasn't issued makes room, and what may be is known":   certificateFails,
		"what a node has left is in doubt":                          certificateAbandoned,
		"what gave way by a wrong clock is had again":               certificateClock,
		"what a CA has yet to decide is due to one who asks":        ordersDue,
		"of several who ask for orders each has others":             ordersRace,
		"what a CA of the process keeps is written with it":         certificateNoted,
		"certificates are listed by pages":                          certificatesListed,
		"certificates are found by hash, serial number and id":      certificatesFound,
		"certificates are imported once":                            certificatesImported,
		"a serial number is issued once":                            issuedOnce,
		"what is revoked stays revoked as it was first":             revokedOnce,
		"a CRL is made anew where it lacks something":               listsMade,
		"a CRL that isn't signed leaves the last one":               listFails,
		"what need not be kept is forgotten with the next CRL":      listForgets,
		"two people approve, each another one":                      pendingTwo,
		"a changed plan and a denial end what was said":             pendingAnew,
		"what waits keeps what it uses up, and frees it":            pendingReserves,
		"requests and decisions at once count once":                 pendingRace,
		"certificates go once they have ended long ago":             prunedCertificates,
		"many that have ended go in batches":                        prunedInBatches,
		"passwords go with what they reserved":                      prunedPasswords,
		"requests go when nobody can approve or fetch them":         prunedApprovals,
		"what a CA needs no more goes without a CRL":                prunedAuthority,
		"a list gives passwords in the order they were made":        listed,
		"a write whose context has ended changes nothing":           ended,
		"nothing that is written ends up in an error or its format": silent,
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			defer func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}()
			test(t, s)
		})
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// create makes one password for the label routers that is good for an hour.
func create(t testing.TB, s store.Store) store.Created {
	t.Helper()
	made, err := s.Passwords().Create(context.Background(), []store.Template{{Label: "routers", Expires: Now.Add(time.Hour)}}, Now)
	check(t, err)
	return made[0]
}

// state is what a password is good for, as Verify says it.
func state(t testing.TB, s store.Store, text secret.Text, at time.Duration) string {
	t.Helper()
	_, err := s.Passwords().Verify(context.Background(), text, "routers", Now.Add(at))
	var unusable *store.Unusable
	switch {
	case err == nil:
		return "good"
	case errors.As(err, &unusable):
		return unusable.Why
	default:
		check(t, err)
		return ""
	}
}

func want(t testing.TB, what, got, begins string) {
	t.Helper()
	if !strings.HasPrefix(got, begins) {
		t.Errorf("%s: it %s, want %s", what, got, begins)
	}
}

func life(t *testing.T, s store.Store) {
	made := create(t, s)
	want(t, "at once", state(t, s, made.Text, 0), "good")
	want(t, "in capitals", state(t, s, secret.Text(strings.ToUpper(string(made.Text))), 0), "good")
	want(t, "a moment before the end", state(t, s, made.Text, time.Hour-time.Millisecond), "good")
	want(t, "at the end", state(t, s, made.Text, time.Hour), "expired at 2026-11-01T13:00:00Z")
	_, err := s.Passwords().Verify(t.Context(), made.Text, "printers", Now)
	want(t, "at another label", err.Error(), "the one-time password "+made.ID+` is for the label "routers"`)
}

func names(t *testing.T, s store.Store) {
	subject, err := csr.ParseName(`O=Exämple, CN=rtr-1.example.net+serialNumber=7`)
	check(t, err)
	dns, err := csr.NewName(csr.DNS, "rtr-1.example.net")
	check(t, err)
	bound := policy.BoundNames{Subject: true, SAN: true, Names: csr.Names{Subject: subject, SAN: []csr.GeneralName{dns}}}
	made, err := s.Passwords().Create(t.Context(), []store.Template{
		{Label: "routers", Expires: Now.Add(time.Hour), Names: bound},
		{Label: "routers", Expires: Now.Add(time.Hour)},
	}, Now)
	check(t, err)
	got, err := s.Passwords().Verify(t.Context(), made[0].Text, "routers", Now)
	check(t, err)
	if !got.Names.Subject || !got.Names.SAN || !got.Names.Names.Equal(csr.Names{Subject: subject, SAN: []csr.GeneralName{dns}, HasSAN: true}) {
		t.Errorf("the names are %+v", got.Names)
	}
	free, err := s.Passwords().Verify(t.Context(), made[1].Text, "routers", Now)
	check(t, err)
	if free.Names.Subject || free.Names.SAN {
		t.Errorf("names that nobody bound: %+v", free.Names)
	}
}

func presented(t *testing.T, s store.Store) {
	made, other := create(t, s), create(t, s)
	head, word := string(made.Text[:len(made.Text)-26]), string(other.Text[len(other.Text)-26:])
	for _, text := range []string{"", "x", string(made.ID), head, head + word, string(made.Text) + "a", "otp-aaaaaaaaaa-" + word} {
		if _, err := s.Passwords().Verify(t.Context(), secret.Text(text), "routers", Now); !errors.Is(err, store.ErrUnknown) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// of makes a reservation of a password; what differs in the last argument is
// another request.
func of(id string, request byte, at time.Duration) store.Reservation {
	return store.Reservation{
		Uses: []policy.Use{{Kind: policy.UsePassword, ID: id}}, For: [32]byte{request}, SPKI: [32]byte{request},
		Now: Now.Add(at), Until: Now.Add(at + 24*time.Hour),
	}
}

func end(r store.Reservation, ended store.Ended) store.Settlement {
	return store.Settlement{Uses: r.Uses, Ended: ended, Now: r.Now}
}

func taken(t testing.TB, what string, err error) {
	t.Helper()
	if !errors.Is(err, store.ErrTaken) {
		t.Errorf("%s: %v, want %v", what, err, store.ErrTaken)
	}
}

func reserved(t *testing.T, s store.Store) {
	made, ctx := create(t, s), t.Context()
	check(t, s.Claims().Reserve(ctx, of(made.ID, 1, 0)))
	check(t, s.Claims().Reserve(ctx, of(made.ID, 1, 0)))
	taken(t, "another request", s.Claims().Reserve(ctx, of(made.ID, 2, 0)))
	want(t, "reserved", state(t, s, made.Text, 0), "good")
	want(t, "reserved and past its end", state(t, s, made.Text, 2*time.Hour), "good")
	check(t, s.Claims().Reserve(ctx, of(made.ID, 1, 23*time.Hour)))
	want(t, "asked for again after 23 hours", state(t, s, made.Text, 46*time.Hour), "good")
	want(t, "past the time to repeat it", state(t, s, made.Text, 47*time.Hour), "expired")
	taken(t, "past the time to repeat it", s.Claims().Reserve(ctx, of(made.ID, 1, 47*time.Hour)))
	if err := s.Claims().Reserve(ctx, of("none", 1, 0)); !errors.Is(err, store.ErrUnknown) {
		t.Errorf("a password that isn't there: %v", err)
	}
}

func freed(t *testing.T, s store.Store) {
	made, ctx := create(t, s), t.Context()
	first := of(made.ID, 1, 0)
	check(t, s.Claims().Reserve(ctx, first))
	check(t, s.Claims().Reserve(ctx, first))
	check(t, s.Claims().Settle(ctx, end(first, store.NotIssued)))
	taken(t, "while the same request is under way once more", s.Claims().Reserve(ctx, of(made.ID, 2, 0)))
	check(t, s.Claims().Settle(ctx, end(first, store.NotIssued)))
	check(t, s.Claims().Reserve(ctx, of(made.ID, 2, 0)))
}

func unknownEnd(t *testing.T, s store.Store) {
	made, ctx := create(t, s), t.Context()
	first := of(made.ID, 1, 0)
	check(t, s.Claims().Reserve(ctx, first))
	check(t, s.Claims().Settle(ctx, end(first, store.Unknown)))
	check(t, s.Claims().Reserve(ctx, first))
	check(t, s.Claims().Settle(ctx, end(first, store.NotIssued)))
	taken(t, "after an end that nobody knows", s.Claims().Reserve(ctx, of(made.ID, 2, 0)))
	check(t, s.Claims().Reserve(ctx, first))
}

func lostAnswer(t *testing.T, s store.Store) {
	made, ctx := create(t, s), t.Context()
	first := of(made.ID, 1, 0)
	check(t, s.Claims().Reserve(ctx, first))
	check(t, s.Claims().Settle(ctx, end(first, store.Issued)))
	again := of(made.ID, 1, 23*time.Hour)
	want(t, "asked for again, past its end", state(t, s, made.Text, 23*time.Hour), "good")
	check(t, s.Claims().Reserve(ctx, again))
	check(t, s.Claims().Settle(ctx, end(again, store.Issued)))
	taken(t, "another key", s.Claims().Reserve(ctx, of(made.ID, 2, 23*time.Hour)))
	want(t, "after a day", state(t, s, made.Text, 24*time.Hour), "has been used: a certificate was issued at 2026-11-01T12:00:00Z")
	taken(t, "after a day", s.Claims().Reserve(ctx, of(made.ID, 1, 24*time.Hour)))
}

func collected(t *testing.T, s store.Store) {
	made, ctx := create(t, s), t.Context()
	first := of(made.ID, 1, 0)
	check(t, s.Claims().Settle(ctx, store.Settlement{Collected: first.SPKI, Now: Now}))
	check(t, s.Claims().Reserve(ctx, first))
	check(t, s.Claims().Settle(ctx, store.Settlement{Collected: first.SPKI, Now: Now}))
	want(t, "before a certificate was issued", state(t, s, made.Text, 0), "good")
	check(t, s.Claims().Settle(ctx, end(first, store.Issued)))
	check(t, s.Claims().Settle(ctx, store.Settlement{Collected: [32]byte{9}, Now: Now}))
	want(t, "another key was shown", state(t, s, made.Text, 0), "good")
	check(t, s.Claims().Settle(ctx, store.Settlement{Collected: first.SPKI, Now: Now}))
	want(t, "its key was shown", state(t, s, made.Text, 0), "has been used")
	taken(t, "its key was shown", s.Claims().Reserve(ctx, first))
}

func refusals(t *testing.T, s store.Store) {
	made, ctx := create(t, s), t.Context()
	for range store.MostRefusals {
		want(t, "not yet", state(t, s, made.Text, 0), "good")
		check(t, s.Passwords().Refused(ctx, made.ID))
	}
	want(t, "in the end", state(t, s, made.Text, 0), "is locked")
	taken(t, "in the end", s.Claims().Reserve(ctx, of(made.ID, 1, 0)))
	if err := s.Passwords().Refused(ctx, "none"); !errors.Is(err, store.ErrUnknown) {
		t.Error(err)
	}
}

func revoked(t *testing.T, s store.Store) {
	made, other, ctx := create(t, s), create(t, s), t.Context()
	check(t, s.Claims().Reserve(ctx, of(made.ID, 1, 0)))
	if err := s.Passwords().Revoke(ctx, []string{other.ID, "none"}, Now); !errors.Is(err, store.ErrUnknown) {
		t.Error(err)
	}
	want(t, "another one wasn't there", state(t, s, other.Text, 0), "good")
	check(t, s.Passwords().Revoke(ctx, []string{made.ID}, Now))
	check(t, s.Passwords().Revoke(ctx, []string{made.ID}, Now.Add(time.Hour)))
	want(t, "revoked", state(t, s, made.Text, 0), "was revoked at 2026-11-01T12:00:00Z")
	taken(t, "revoked", s.Claims().Reserve(ctx, of(made.ID, 1, 0)))
}

func race(t *testing.T, s store.Store) {
	made := create(t, s)
	const requests = 32
	got := make(chan error, requests)
	for i := range requests {
		go func() { got <- s.Claims().Reserve(context.Background(), of(made.ID, byte(i), 0)) }()
	}
	won := 0
	for range requests {
		if err := <-got; err != nil {
			taken(t, "one that came second", err)
			continue
		}
		won++
	}
	if won != 1 {
		t.Errorf("%d requests got it", won)
	}
}

func together(t *testing.T, s store.Store) {
	first, second, ctx := create(t, s), create(t, s), t.Context()
	check(t, s.Claims().Reserve(ctx, of(second.ID, 9, 0)))
	both := of(first.ID, 1, 0)
	both.Uses = append(both.Uses, policy.Use{Kind: policy.UsePassword, ID: second.ID})
	taken(t, "both", s.Claims().Reserve(ctx, both))
	check(t, s.Claims().Reserve(ctx, of(first.ID, 2, 0)))
}

func listed(t *testing.T, s store.Store) {
	templates := make([]store.Template, 300)
	for i := range templates {
		templates[i] = store.Template{Label: "routers", Expires: Now.Add(time.Hour)}
	}
	templates[7].Label = "printers"
	made, err := s.Passwords().Create(t.Context(), templates, Now)
	check(t, err)
	all, err := s.Passwords().List(t.Context(), "")
	check(t, err)
	some, err := s.Passwords().List(t.Context(), "printers")
	check(t, err)
	if len(all) != len(templates) || len(some) != 1 || some[0].ID != made[7].ID {
		t.Fatalf("%d and %d passwords", len(all), len(some))
	}
	for i, p := range all {
		if p.ID != made[i].ID || !p.Created.Equal(Now) || p.State(Now) != "unused" {
			t.Fatalf("password %d is %+v", i, p)
		}
	}
}

func ended(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Passwords().Create(ctx, []store.Template{{Label: "routers"}}, Now); err == nil {
		t.Error("no error")
	}
	if all, err := s.Passwords().List(t.Context(), ""); err != nil || len(all) > 0 {
		t.Errorf("%d passwords, %v", len(all), err)
	}
}
