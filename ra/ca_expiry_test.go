// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
)

func TestExpiriesAndFingerprintsAreThoseOfTheChain(t *testing.T) {
	up := ratest.NewCA(t)
	ca := up.Known("one")
	if got := ca.Fingerprints(); got != nil {
		t.Errorf("before anything is known: %v", got)
	}
	if err := ca.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	chain, err := ca.Chain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ends := ca.Expiries()
	for _, cert := range chain {
		what := "issuer"
		if cert.CheckSignatureFrom(cert) == nil {
			what = "root"
			sum := sha256.Sum256(cert.Raw)
			if got := ca.Fingerprints(); len(got) != 1 || got[0] != hex.EncodeToString(sum[:]) {
				t.Errorf("fingerprints %v", got)
			}
		}
		if !ends[what].Equal(cert.NotAfter) {
			t.Errorf("%s ends at %s, want %s", what, ends[what], cert.NotAfter)
		}
	}
	if _, ok := ends["crl"]; ok {
		t.Error("there is no CRL here")
	}
}
