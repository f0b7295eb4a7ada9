// SPDX-License-Identifier: Apache-2.0

package ratest_test

import (
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/ratest"
)

func TestOrderIsMadeByTheAuthority(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	der := csrtest.New(t, csrtest.Subject(csrtest.CN("rtr-1.example")), csrtest.SAN(csrtest.DNS("rtr-1.example")))
	o := ratest.Order(t, ratest.Case{CSR: der, Now: now})
	if !o.Valid() || o.Serial().Sign() != 1 || !o.NotBefore().Equal(now) || !o.NotAfter().Equal(now.Add(24*time.Hour-time.Second)) {
		t.Errorf("order %x from %s to %s", o.Serial(), o.NotBefore(), o.NotAfter())
	}
	if plan := o.Plan(); len(plan.Names.SAN) != 1 || plan.Names.SAN[0].Value != "rtr-1.example" || len(plan.ExtKeyUsage) != 2 {
		t.Errorf("plan %+v", plan)
	}
	if string(o.CSR().Raw) != string(der) {
		t.Error("the order has another request")
	}
}
