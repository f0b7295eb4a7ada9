// SPDX-License-Identifier: Apache-2.0

package command

import (
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

func TestTheKeyThatIsMadeIsTheOneThatTheServerAsksFor(t *testing.T) {
	for want, keys := range map[string][]policy.KeyHint{
		"P-256":   nil,
		"P-384":   {{Algorithm: csr.ECDSA, Curve: "P-384"}, {Algorithm: csr.RSA, Bits: 4096}},
		"rsa4096": {{Algorithm: csr.RSA, Bits: 4096}},
		"rsa3072": {{Algorithm: csr.RSA}},
		"ed25519": {{Algorithm: csr.Ed25519}},
	} {
		if got := keyKind(keys); got != want {
			t.Errorf("%v: %s, want %s", keys, got, want)
		}
	}
	if got := keyKind([]policy.KeyHint{{Algorithm: csr.ECDSA}}); got != "P-256" {
		t.Errorf("any curve: %s", got)
	}
}
