// SPDX-License-Identifier: Apache-2.0

package ratest

import (
	"crypto/x509"
	"slices"
	"testing"

	"github.com/caddy-est/estra/ra"
)

// ServesNext holds an upstream to noticing that its CA, under root, issues by another
// certificate than before: next, from begin on. Then it is served, and certificates
// under the one before can still be renewed.
func ServesNext(t testing.TB, up ra.Upstream, root, next *x509.Certificate, begin func()) {
	t.Helper()
	ca := &ra.CA{Name: "begun-anew", Upstream: up, Pins: func() []*x509.Certificate { return []*x509.Certificate{root} }}
	served := func() (chain, issuers []*x509.Certificate) {
		t.Helper()
		err := ca.Refresh(t.Context())
		if err == nil {
			chain, err = ca.Chain(t.Context())
		}
		if err == nil {
			issuers, err = ca.Issuers(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return chain, issuers
	}
	chain, before := served()
	if slices.ContainsFunc(chain, next.Equal) {
		t.Fatal("it is served before the CA has it")
	}
	begin()
	chain, after := served()
	if !slices.ContainsFunc(chain, next.Equal) || !slices.ContainsFunc(after, next.Equal) {
		t.Errorf("%d certificates are served, and the next isn't among them, or issues nothing", len(chain))
	}
	for _, c := range before {
		if !slices.ContainsFunc(after, c.Equal) {
			t.Errorf("the certificate of %s before is forgotten", c.Subject)
		}
	}
}
