// SPDX-License-Identifier: Apache-2.0

package module

import (
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/caddy-est/estra/ra/ratest"
)

// A name that comes to stand for another CA, under the same root, brings none
// of the first one's issuing certificates.
func TestThreat_IssuersOfAnotherCAAreNotRecalled(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	first, second := issuerMemory{storage, "step_ca https://a"}, issuerMemory{storage, "step_ca https://b\n\"x"}
	ca := ratest.NewCA(t)
	cert := ca.Intermediate.Certificate
	count := func(m issuerMemory) int {
		t.Helper()
		certs, err := m.Recall(t.Context(), "step_ca")
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range certs {
			if !c.Equal(cert) {
				t.Error("another certificate came back")
			}
		}
		return len(certs)
	}
	if n := count(first); n != 0 {
		t.Errorf("%d certificates before any", n)
	}
	for range 2 {
		if err := first.Remember(t.Context(), "step_ca", cert); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := count(first), count(second); a != 1 || b != 0 {
		t.Errorf("the first CA recalls %d, the second %d", a, b)
	}
	// The same CA under a new address: what it publishes is its own.
	if err := second.Remember(t.Context(), "step_ca", cert); err != nil {
		t.Fatal(err)
	}
	if n := count(second); n != 1 {
		t.Errorf("the second CA recalls %d of its own", n)
	}
}

func TestLimitsHaveTheirDefaultsEach(t *testing.T) {
	got, err := Limits{Attempts: 5}.defaults()
	if err != nil || got.Attempts != 5 || got.AttemptsPer == 0 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []Limits{{Body: -1}, {Concurrency: -1}, {Attempts: -1}, {AttemptsPer: -1}} {
		if _, err := bad.defaults(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
