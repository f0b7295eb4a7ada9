// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/vault"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

func TestAnIssuerThatIsNewIsServed(t *testing.T) {
	f, up := fake(t, vault.CEL)
	next := f.CA.Root.Sub(t, "Next Issuing CA")
	ratest.ServesNext(t, up, f.CA.Root.Certificate, next.Certificate, func() {
		f.Change(func(f *vaulttest.Fake) { f.CA = &ratest.CA{Root: f.CA.Root, Intermediate: next} })
	})
}
