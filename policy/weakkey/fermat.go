// SPDX-License-Identifier: Apache-2.0

package weakkey

import "math/big"

// fermatRounds are those of the Baseline Requirements section 6.1.1.3.
const fermatRounds = 100

// ClosePrimes tells a modulus whose primes are so close together that
// Fermat's method finds them in 100 rounds (CVE-2022-26320). A square is one.
func ClosePrimes(n *big.Int) bool {
	if !isModulus(n) || n.Bit(0) == 0 {
		return false
	}
	// n = a*a - b*b = (a-b)*(a+b). a begins at the root of n, rounded up.
	a := new(big.Int).Sqrt(n)
	square := new(big.Int).Mul(a, a)
	if square.Cmp(n) < 0 {
		a.Add(a, one)
		square.Mul(a, a)
	}
	square.Sub(square, n)
	step := new(big.Int).Lsh(a, 1)
	step.Add(step, one) // from a*a to (a+1)*(a+1)
	s, d := residueOf(square), residueOf(step)
	for round := range int64(fermatRounds) {
		if s.maybeSquare() {
			if between, ok := difference(n, a, round); ok {
				return between.Cmp(one) > 0 // else n = 1*n: a small prime
			}
		}
		s = s.plus(d)
		d = d.plus(residue{2, 2})
	}
	return false
}

// difference gives a-b, the smaller factor of n, where (a+round)^2 - n is the
// square of a b.
func difference(n, a *big.Int, round int64) (*big.Int, bool) {
	at := new(big.Int).Add(a, big.NewInt(round))
	square := new(big.Int).Mul(at, at)
	square.Sub(square, n)
	b := new(big.Int).Sqrt(square)
	return new(big.Int).Sub(at, b), new(big.Int).Mul(b, b).Cmp(square) == 0
}

// A residue is what is kept of a long number to tell that it is no square:
// few numbers are squares modulo 2^6 and modulo each odd prime up to 47.
type residue struct {
	low uint64 // modulo 2^6
	odd uint64 // modulo the product of the odd primes
}

func residueOf(n *big.Int) residue {
	return residue{restOf(n, 64), restOf(n, filter.words[0].product)}
}

func (r residue) plus(o residue) residue {
	return residue{(r.low + o.low) % 64, (r.odd + o.odd) % filter.words[0].product}
}

func (r residue) maybeSquare() bool {
	if !squares[64][r.low] {
		return false
	}
	for _, prime := range filter.words[0].primes {
		if !squares[prime][r.odd%uint64(prime)] { //nolint:gosec // not negative
			return false
		}
	}
	return true
}

var (
	// filter has one word, and the sum of two rests fits into 64 bits.
	filter  = newDivisors(primesBelow(48)[1:])
	squares = func() (all [65][]bool) {
		for _, m := range append(primesBelow(48)[1:], 64) {
			all[m] = make([]bool, m)
			for i := range m {
				all[m][i*i%m] = true
			}
		}
		return all
	}()
)
