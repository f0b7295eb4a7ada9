// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"iter"
	"math/big"
	"math/bits"
)

// divisors are odd primes that long numbers are divided by. They are
// multiplied into words, so that a number is gone through once for many.
type divisors struct {
	product *big.Int // of all
	words   []divisorWord
}

type divisorWord struct {
	product uint64
	primes  []int
}

func newDivisors(primes []int) *divisors {
	d := &divisors{product: big.NewInt(1)}
	for _, prime := range primes {
		d.product.Mul(d.product, big.NewInt(int64(prime)))
		last := len(d.words) - 1
		if last >= 0 {
			if over, product := bits.Mul64(d.words[last].product, uint64(prime)); over == 0 { //nolint:gosec // primes are positive
				d.words[last].product = product
				d.words[last].primes = append(d.words[last].primes, prime)
				continue
			}
		}
		d.words = append(d.words, divisorWord{uint64(prime), []int{prime}}) //nolint:gosec // primes are positive
	}
	return d
}

// rests gives each prime with the rest of n, which isn't negative, in order.
func (d *divisors) rests(n *big.Int) iter.Seq2[int, int] {
	return func(yield func(prime, rest int) bool) {
		short := n
		if n.BitLen() > d.product.BitLen() { // which one long division shortens
			short = new(big.Int).Rem(n, d.product)
		}
		for _, word := range d.words {
			rest := restOf(short, word.product)
			for _, prime := range word.primes {
				if !yield(prime, int(rest%uint64(prime))) { //nolint:gosec // less than a prime
					return
				}
			}
		}
	}
}

// restOf gives n modulo m, for an n that isn't negative.
func restOf(n *big.Int, m uint64) uint64 {
	words := n.Bits()
	var rest uint64
	if bits.UintSize == 64 {
		for i := len(words) - 1; i >= 0; i-- {
			rest = bits.Rem64(rest, uint64(words[i]), m)
		}
		return rest
	}
	return new(big.Int).Rem(n, new(big.Int).SetUint64(m)).Uint64()
}

// primesBelow gives all primes below a bound.
func primesBelow(bound int) []int {
	var primes []int
	composite := make([]bool, bound)
	for i := 2; i < bound; i++ {
		if composite[i] {
			continue
		}
		primes = append(primes, i)
		for j := i * i; j < bound; j += i {
			composite[j] = true
		}
	}
	return primes
}
