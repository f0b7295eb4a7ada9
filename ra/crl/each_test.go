// SPDX-License-Identifier: Apache-2.0

package crl_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/crl"
	"github.com/caddy-est/estra/ra/ratest"
)

func TestAFormerIssuersLastListAnswersUntilItEnds(t *testing.T) {
	old, next, never := ratest.NewRoot(t, "CA"), ratest.NewRoot(t, "Next CA"), ratest.NewRoot(t, "Never CA")
	issuers := []*x509.Certificate{old.Certificate, next.Certificate}
	later := template()
	later.Number, later.NextUpdate = big.NewInt(1), now.Add(24*time.Hour)
	var each crl.Each
	if _, err := each.Revoked(leaf(t, old, 1), old.Certificate, now); err == nil || crl.ForGood(err) {
		t.Errorf("the zero value: %v", err)
	}
	for _, der := range [][]byte{sign(t, old, template()), sign(t, next, later)} {
		if err := each.Replace(der, issuers, now); err != nil {
			t.Fatal(err)
		}
	}
	if !each.NextUpdate().Equal(now.Add(24 * time.Hour)) {
		t.Errorf("nextUpdate %s", each.NextUpdate())
	}
	ended := now.Add(2 * time.Hour)
	for name, test := range map[string]struct {
		by      ratest.Signer
		serial  int64
		at      time.Time
		revoked bool
		forGood bool
	}{
		"revoked by the issuer of now":                      {by: next, serial: 66, at: now, revoked: true},
		"good by the issuer of now":                         {by: next, serial: 1, at: ended},
		"revoked by the former one":                         {by: old, serial: 66, at: now, revoked: true},
		"good by the former one":                            {by: old, serial: 1, at: now},
		"revoked by the former one, after its list ended":   {by: old, serial: 66, at: ended, revoked: true},
		"not revoked by the former one, after it ended":     {by: old, serial: 1, at: ended, forGood: true},
		"an issuer whose list never came, for it is a rule": {by: never, serial: 1, at: now, forGood: true},
	} {
		t.Run(name, func(t *testing.T) {
			revoked, err := each.Revoked(leaf(t, test.by, test.serial), test.by.Certificate, test.at)
			if revoked != test.revoked || crl.ForGood(err) != test.forGood || (err != nil) != test.forGood {
				t.Errorf("got %v, %v", revoked, err)
			}
		})
	}
}

func TestEachTakesOnlyNewerFreshListsOfAnIssuer(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	issuers := []*x509.Certificate{ca.Certificate}
	numbered := func(n int64, from time.Time) []byte {
		l := template()
		l.Number, l.ThisUpdate = big.NewInt(n), from
		return sign(t, ca, l)
	}
	var each crl.Each
	if _, err := each.Revoked(leaf(t, ca, 1), ca.Certificate, now); err == nil {
		t.Error("the zero value answers")
	}
	if !each.NextUpdate().IsZero() {
		t.Error("the zero value has a nextUpdate")
	}
	for _, step := range []struct {
		name string
		der  []byte
		at   time.Time
		good bool
	}{
		{"a fresh one", numbered(7, now.Add(-time.Hour)), now, true},
		{"the same again", numbered(7, now.Add(-time.Hour)), now, true},
		{"a lower number", numbered(6, now.Add(-time.Minute)), now, false},
		{"a higher number", numbered(8, now.Add(-time.Minute)), now, true},
		{"a stale one", numbered(9, now.Add(-time.Minute)), now.Add(2 * time.Hour), false},
		{"no list", []byte{0x30, 0}, now, false},
	} {
		if err := each.Replace(step.der, issuers, step.at); (err == nil) != step.good {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	if revoked, err := each.Revoked(leaf(t, ca, 66), ca.Certificate, now); err != nil || !revoked {
		t.Errorf("after refused replacements: %v, %v", revoked, err)
	}
}

func TestEachIsBounded(t *testing.T) {
	var each crl.Each
	var first ratest.Signer
	for i := range 18 {
		ca := ratest.NewRoot(t, fmt.Sprintf("CA %d", i))
		list := template()
		list.NextUpdate = now.Add(time.Duration(i+1) * time.Hour)
		if err := each.Replace(sign(t, ca, list), []*x509.Certificate{ca.Certificate}, now); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = ca
		}
	}
	if _, err := each.Revoked(leaf(t, first, 1), first.Certificate, now); !errors.Is(err, crl.ErrOtherIssuer) {
		t.Errorf("the list that ends first is still there: %v", err)
	}
}

// TestAListSpeaksOfTheKeyThatSignedIt: a CA that changed its key under one name has
// a list for each key (RFC 5280 section 5.2.1), and an old one that isn't revoked in
// the new key's list isn't good for that.
func TestAListSpeaksOfTheKeyThatSignedIt(t *testing.T) {
	old, next := ratest.NewRoot(t, "CA"), ratest.NewRoot(t, "CA")
	issuers := []*x509.Certificate{old.Certificate, next.Certificate}
	list := func(s ratest.Signer, number, serial int64, lasts time.Duration) []byte {
		l := template()
		l.Number, l.NextUpdate = big.NewInt(number), now.Add(lasts)
		l.RevokedCertificateEntries = l.RevokedCertificateEntries[:1]
		l.RevokedCertificateEntries[0].SerialNumber = big.NewInt(serial)
		return sign(t, s, l)
	}
	ofOld, ofNext := list(old, 40, 1, time.Hour), list(next, 2, 2, 24*time.Hour)
	for name, test := range map[string]struct {
		anyKey bool
		lists  [][]byte
		by     ratest.Signer
		serial int64
		at     time.Duration
		want   string
	}{
		"the old list, and a certificate of the old key":            {lists: [][]byte{ofOld, ofNext}, by: old, serial: 1, want: "revoked"},
		"the old list doesn't have it":                              {lists: [][]byte{ofOld, ofNext}, by: old, serial: 2, want: "good"},
		"the new list, and a certificate of the new key":            {lists: [][]byte{ofOld, ofNext}, by: next, serial: 2, want: "revoked"},
		"the new list doesn't have it":                              {lists: [][]byte{ofOld, ofNext}, by: next, serial: 1, want: "good"},
		"the new list came first":                                   {lists: [][]byte{ofNext, ofOld}, by: old, serial: 1, want: "revoked"},
		"the new list alone, and the old key":                       {lists: [][]byte{ofNext}, by: old, serial: 1, want: "for good"},
		"the old list alone, and the new key":                       {lists: [][]byte{ofOld}, by: next, serial: 2, want: "for good"},
		"after the old list has ended":                              {lists: [][]byte{ofOld, ofNext}, by: old, serial: 2, at: 2 * time.Hour, want: "for good"},
		"revoked by the old list, which has ended":                  {lists: [][]byte{ofOld, ofNext}, by: old, serial: 1, at: 2 * time.Hour, want: "revoked"},
		"the new list speaks of every key":                          {anyKey: true, lists: [][]byte{list(next, 41, 1, time.Hour)}, by: old, serial: 1, want: "revoked"},
		"the new list speaks of every key, and doesn't have it":     {anyKey: true, lists: [][]byte{ofOld, list(next, 41, 1, time.Hour)}, by: old, serial: 2, want: "good"},
		"a list for every key takes the place of that of a key":     {anyKey: true, lists: [][]byte{ofOld, list(next, 41, 2, time.Hour)}, by: old, serial: 1, want: "good"},
		"a list for every key doesn't take that of a higher number": {anyKey: true, lists: [][]byte{list(next, 41, 1, time.Hour), ofOld}, by: next, serial: 1, want: "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			each := crl.Each{AnyKey: test.anyKey}
			for _, der := range test.lists {
				if err := each.Replace(der, issuers, now); err != nil && !test.anyKey {
					t.Fatal(err)
				}
			}
			revoked, err := each.Revoked(leaf(t, test.by, test.serial), test.by.Certificate, now.Add(test.at))
			got := map[bool]string{true: "revoked", false: "good"}[revoked]
			switch {
			case crl.ForGood(err):
				got = "for good"
			case err != nil:
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}
