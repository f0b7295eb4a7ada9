// SPDX-License-Identifier: Apache-2.0

// Package weakkey finds keys whose private key anybody can compute or has:
// RSA keys by their modulus, and any key by a list of hashes. Every test is
// total, and its cost is bounded by the length of the modulus.
package weakkey

import "math/big"

// smallBound is that of NIST SP 800-89 section 5.3.3, which the CA/Browser
// Forum's Baseline Requirements section 6.1.6 ask for.
const smallBound = 752

var (
	one = big.NewInt(1)
	two = big.NewInt(2)

	small = newDivisors(primesBelow(smallBound)[1:])
)

// isModulus is false for what no RSA key has.
func isModulus(n *big.Int) bool { return n != nil && n.Cmp(two) >= 0 }

// SmallFactor gives the least prime below 752 that divides a modulus, or 0.
func SmallFactor(n *big.Int) int {
	if !isModulus(n) {
		return 0
	}
	if n.Bit(0) == 0 {
		return 2
	}
	for prime, rest := range small.rests(n) {
		if rest == 0 {
			return prime
		}
	}
	return 0
}
