// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// demanding is a CA with a /csrattrs.
type demanding struct {
	*ratest.CA

	demand policy.Demand
	err    error
}

func (d *demanding) Demand(context.Context) (policy.Demand, error) { return d.demand, d.err }

func TestWhatACADemandsIsAskedWithItsCertificates(t *testing.T) {
	up := &demanding{CA: ratest.NewCA(t), demand: policy.Demand{Keys: []policy.KeyHint{{Algorithm: csr.ECDSA, Curve: "P-384"}}}}
	ca := up.Known("hq")
	ca.Upstream = up
	row := func() ra.Check {
		for _, c := range ca.Check(t.Context()) {
			if c.What == "csrattrs" {
				return c
			}
		}
		t.Fatal("there is no row")
		return ra.Check{}
	}
	if got := ca.Demand(t.Context()).String(); got != "keys ECDSA P-384" {
		t.Errorf("who comes first is told %s", got)
	}
	if got := row(); got.Result != ra.Good || got.Detail != "it asks requests for keys ECDSA P-384" {
		t.Errorf("%+v", got)
	}
	// A question that fails changes nothing of it, and makes the CA no worse.
	up.demand, up.err = policy.Demand{}, ra.Fail(ra.UpstreamDown, "the EST server answered 500", errors.New("x"))
	if err := ca.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
	if ca.Demand(t.Context()).String() != "keys ECDSA P-384" {
		t.Errorf("it is %s", ca.Demand(t.Context()))
	}
	if got := row(); got.Result != ra.Warning || !strings.Contains(got.Detail, "answered 500") {
		t.Errorf("%+v", got)
	}
	if text := strings.Join(ca.Warnings(), "\n"); !strings.Contains(text, "upstream hq: what its /csrattrs says isn't known") {
		t.Errorf("the warnings are %q", text)
	}
	// It is gone when the CA says so.
	up.err = nil
	if err := ca.Refresh(t.Context()); err != nil || !ca.Demand(t.Context()).Empty() {
		t.Errorf("it is %s: %v", ca.Demand(t.Context()), err)
	}
	if text := strings.Join(ca.Warnings(), "\n"); strings.Contains(text, "csrattrs") {
		t.Errorf("the warnings are %q", text)
	}
}

func TestACAThatDemandsNothingHasNoRow(t *testing.T) {
	for _, c := range ratest.NewCA(t).Known("plain").Check(t.Context()) {
		if c.What == "csrattrs" {
			t.Errorf("%+v", c)
		}
	}
}
