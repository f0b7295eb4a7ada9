// SPDX-License-Identifier: Apache-2.0

package weakkey

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"slices"
	"testing"
)

func hexNumber(t testing.TB, text string) *big.Int {
	t.Helper()
	n, ok := new(big.Int).SetString(text, 16)
	if !ok {
		t.Fatalf("%q is no number", text)
	}
	return n
}

// rocaModulus is of a real key: the test vector mod01 that the finders of the
// weakness published with their detector.
const rocaModulus = "944e13208a280c37efc31c3114485e590192adbb8e11c87cad60cdef0037ce99" +
	"278330d3f471a2538fa667802ed2a3c44a8b7dea826e888d0aa341fd664f7fa7"

func prime(t testing.TB, bits int) *big.Int {
	t.Helper()
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func random(t testing.TB, below *big.Int) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, below)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// rocaPrime makes a prime as those generators do: k*M + (65537^a mod M), with
// the number of primes in M that goes with the length of the key. A long one is
// taken without being prime, which would take seconds: the structure is there.
func rocaPrime(t testing.TB, bits, primes int) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for _, p := range primesBelow(2000)[:primes] {
		m.Mul(m, big.NewInt(int64(p)))
	}
	least := new(big.Int).Lsh(big.NewInt(3), uint(bits-2)) // so that the product is as long as it should be
	width := new(big.Int).Lsh(one, uint(bits-2))
	for {
		k := random(t, width)
		k.Add(k, least).Div(k, m)
		p := new(big.Int).Exp(big.NewInt(65537), random(t, m), m)
		if p.Add(p, k.Mul(k, m)); p.BitLen() == bits && (bits > 1024 || p.ProbablyPrime(0)) {
			return p
		}
	}
}

func product(a, b *big.Int) *big.Int { return new(big.Int).Mul(a, b) }

// closePrimes gives the product of a prime and the next one from a distance.
func closePrimes(t testing.TB, bits int, distance *big.Int) *big.Int {
	t.Helper()
	p := prime(t, bits/2)
	q := new(big.Int).Add(p, distance)
	q.SetBit(q, 0, 1)
	for q.Cmp(p) == 0 || !q.ProbablyPrime(0) {
		q.Add(q, two)
	}
	return product(p, q)
}

func TestEveryWeaknessIsFoundAndNoOther(t *testing.T) {
	good := func(bits int) *big.Int {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key.N
	}
	type verdict struct {
		small       int
		roca, close bool
	}
	// Fermat's method needs about (p-q)^2 / (8*sqrt(n)) rounds.
	reach := func(bits int) *big.Int { return new(big.Int).Lsh(one, uint(bits/4)) }
	p := prime(t, 1024)
	for _, c := range []struct {
		name string
		n    *big.Int
		want verdict
	}{
		{"a published ROCA modulus of 512 bits", hexNumber(t, rocaModulus), verdict{roca: true}},
		{"a ROCA modulus of 1024 bits", product(rocaPrime(t, 512, 71), rocaPrime(t, 512, 71)), verdict{roca: true}},
		{"a ROCA modulus of 2048 bits", product(rocaPrime(t, 1024, 126), rocaPrime(t, 1024, 126)), verdict{roca: true}},
		{"a ROCA modulus of 4096 bits", product(rocaPrime(t, 2048, 225), rocaPrime(t, 2048, 225)), verdict{roca: true}},
		{"one ROCA prime and a good one", product(rocaPrime(t, 1024, 126), prime(t, 1024)), verdict{}},
		{"neighbouring primes", closePrimes(t, 2048, big.NewInt(0)), verdict{close: true}},
		{"primes at a distance of 2^512 in 2048 bits", closePrimes(t, 2048, reach(2048)), verdict{close: true}},
		{"primes too far for a hundred rounds", closePrimes(t, 2048, new(big.Int).Lsh(reach(2048), 8)), verdict{}},
		{"the square of a prime", product(p, p), verdict{close: true}},
		{"a factor 2", product(big.NewInt(2), p), verdict{small: 2}},
		{"a factor 3", product(big.NewInt(3), p), verdict{small: 3}},
		{"a factor 167", product(big.NewInt(167), p), verdict{small: 167}},
		{"a factor 751", product(big.NewInt(751), p), verdict{small: 751}},
		{"two small factors: the least", product(big.NewInt(739*173), p), verdict{small: 173}},
		{"a factor 757, beyond the bound", product(big.NewInt(757), p), verdict{}},
		{"a good key of 2048 bits", good(2048), verdict{}},
		{"a good key of 3072 bits", good(3072), verdict{}},
		{"an odd length", product(prime(t, 1021), prime(t, 1020)), verdict{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := new(big.Int).Set(c.n)
			if got := (verdict{SmallFactor(c.n), ROCA(c.n), ClosePrimes(c.n)}); got != c.want {
				t.Errorf("got %+v, want %+v of %x", got, c.want, c.n)
			}
			if before.Cmp(c.n) != 0 {
				t.Error("the modulus has been changed")
			}
		})
	}
}

// Every number below a bound is compared with what the definitions say.
func TestSmallNumbersAreJudgedByDefinition(t *testing.T) {
	primes := primesBelow(smallBound)
	for i := int64(-3); i < 20000; i++ {
		n := big.NewInt(i)
		want := 0
		if j := slices.IndexFunc(primes, func(p int) bool { return i >= 2 && i%int64(p) == 0 }); j >= 0 {
			want = primes[j]
		}
		if got := SmallFactor(n); got != want {
			t.Fatalf("%d: the least factor is %d, want %d", i, got, want)
		}
		if got, want := ClosePrimes(n), closeByDefinition(i); got != want {
			t.Fatalf("%d: close primes: %v, want %v", i, got, want)
		}
	}
	if SmallFactor(nil) != 0 || ROCA(nil) || ClosePrimes(nil) || ROCA(new(big.Int)) || ROCA(big.NewInt(-65537)) {
		t.Error("what is no modulus is weak")
	}
}

func closeByDefinition(n int64) bool {
	if n < 2 || n%2 == 0 {
		return false
	}
	a := int64(1)
	for a*a < n {
		a++
	}
	for range fermatRounds {
		for b := int64(0); b < a; b++ {
			if a*a-n == b*b && a-b > 1 {
				return true
			}
		}
		a++
		if a > n {
			break
		}
	}
	return false
}

// Modulo the product of those primes one random number in 2^154 is a power of
// 65537, so a test of each prime alone isn't what ROCA does.
func TestROCAWantsOneExponentForAllPrimes(t *testing.T) {
	m := new(big.Int).Lsh(generated.product, 1)
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), m)
	if !ROCA(n) {
		t.Fatal("a power of 65537 is none")
	}
	// Another exponent modulo 7 alone, by the Chinese remainder theorem. The
	// order there is 6, and other primes know the exponent modulo 2 and 3.
	rest := new(big.Int).Div(m, big.NewInt(7))
	for range 6 {
		n.Add(n, rest).Mod(n, m)
		if ROCA(n) {
			t.Errorf("%x is a power of 65537 modulo each prime, and not modulo their product", n)
		}
	}
}

func FuzzModulus(f *testing.F) {
	f.Add(hexNumber(f, rocaModulus).Bytes())
	f.Add([]byte{})
	f.Add([]byte{9})
	f.Fuzz(func(t *testing.T, src []byte) {
		if len(src) > 2048 {
			return
		}
		n := new(big.Int).SetBytes(src)
		if p := SmallFactor(n); p != 0 && new(big.Int).Mod(n, big.NewInt(int64(p))).Sign() != 0 {
			t.Errorf("%d doesn't divide %x", p, n)
		}
		ROCA(n)
		ClosePrimes(n)
	})
}

func BenchmarkModulus(b *testing.B) {
	for _, bits := range []int{2048, 3072, 4096, 8192} {
		n := new(big.Int).SetBit(random(b, new(big.Int).Lsh(one, uint(bits))), bits-1, 1)
		n.SetBit(n, 0, 1)
		for SmallFactor(n) != 0 { // so that no test ends early
			n.Add(n, two)
		}
		for name, test := range map[string]func(){
			"small factors": func() { SmallFactor(n) },
			"ROCA":          func() { ROCA(n) },
			"close primes":  func() { ClosePrimes(n) },
		} {
			b.Run(fmt.Sprintf("%s/%d", name, bits), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					test()
				}
			})
		}
	}
}
