// SPDX-License-Identifier: Apache-2.0

package weakkey

import "math/big"

// rocaBound: the primes below it divide the constant M of the ROCA generators
// for every length of the key.
const rocaBound = 168

// ROCA tells the moduli of a generator with the weakness CVE-2017-15361. The
// primes that it makes are k*M + (65537^a mod M), where M is the product of
// the first primes. So the modulus, too, is a power of 65537 modulo M, and
// modulo every product of primes in M. Of random moduli one in 2^154 is
// (Nemec, Sys, Svenda, Klinec, Matyas: The Return of Coppersmith's Attack, CCS
// 2017, section 3.1).
func ROCA(n *big.Int) bool {
	if !isModulus(n) || n.Bit(0) == 0 {
		return false
	}
	// Modulo each prime the exponent is known up to the order of 65537. There
	// is one for all of them exactly when no two contradict each other, which
	// shows modulo the powers of primes that divide both orders.
	var known [rocaBound]int // by the power; the exponent's rest plus 1
	for prime, rest := range generated.rests(n) {
		log := logs[prime]
		exponent := log.exponents[rest]
		if exponent < 0 {
			return false
		}
		for _, power := range log.powers {
			want := exponent%power + 1
			if known[power] != 0 && known[power] != want {
				return false
			}
			known[power] = want
		}
	}
	return true
}

// A logarithm is that to the base 65537 modulo a prime.
type logarithm struct {
	exponents []int // by the number; -1 for what is no power of 65537
	powers    []int // the powers of primes that divide the order of 65537
}

var (
	generated = newDivisors(primesBelow(rocaBound)[1:])
	logs      = logarithms()
)

func logarithms() [rocaBound]logarithm {
	var all [rocaBound]logarithm
	for _, prime := range primesBelow(rocaBound)[1:] {
		exponents := make([]int, prime)
		for i := range exponents {
			exponents[i] = -1
		}
		order := 0
		for power := 1; exponents[power] < 0; power = power * 65537 % prime {
			exponents[power] = order
			order++
		}
		all[prime] = logarithm{exponents, primePowers(order)}
	}
	return all
}

// primePowers gives all powers of primes that divide a number.
func primePowers(n int) []int {
	var powers []int
	for _, prime := range primesBelow(n + 1) {
		for power := prime; n%power == 0; power *= prime {
			powers = append(powers, power)
		}
	}
	return powers
}
