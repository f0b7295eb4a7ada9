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
	if _, err := each.Revoked(leaf(t, old, 1), now); err == nil || crl.ForGood(err) {
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
		cert    *x509.Certificate
		at      time.Time
		revoked bool
		forGood bool
	}{
		"revoked by the issuer of now":                      {cert: leaf(t, next, 66), at: now, revoked: true},
		"good by the issuer of now":                         {cert: leaf(t, next, 1), at: ended},
		"revoked by the former one":                         {cert: leaf(t, old, 66), at: now, revoked: true},
		"good by the former one":                            {cert: leaf(t, old, 1), at: now},
		"revoked by the former one, after its list ended":   {cert: leaf(t, old, 66), at: ended, revoked: true},
		"not revoked by the former one, after it ended":     {cert: leaf(t, old, 1), at: ended, forGood: true},
		"an issuer whose list never came, for it is a rule": {cert: leaf(t, never, 1), at: now, forGood: true},
	} {
		t.Run(name, func(t *testing.T) {
			revoked, err := each.Revoked(test.cert, test.at)
			if revoked != test.revoked || crl.ForGood(err) != test.forGood || (err != nil) != test.forGood {
				t.Errorf("got %v, %v", revoked, err)
			}
		})
	}
}

func TestEachTakesOnlyNewerListsOfAnIssuer(t *testing.T) {
	ca := ratest.NewRoot(t, "CA")
	issuers := []*x509.Certificate{ca.Certificate}
	older := template()
	older.Number = big.NewInt(6)
	var each crl.Each
	if err := each.Replace(sign(t, ca, template()), issuers, now); err != nil {
		t.Fatal(err)
	}
	if err := each.Replace(sign(t, ca, older), issuers, now); err == nil {
		t.Error("an older list was taken")
	}
	if err := each.Replace(sign(t, ca, template()), issuers, now.Add(2*time.Hour)); err == nil {
		t.Error("a stale list was taken")
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
	if _, err := each.Revoked(leaf(t, first, 1), now); !errors.Is(err, crl.ErrOtherIssuer) {
		t.Errorf("the list that ends first is still there: %v", err)
	}
}
