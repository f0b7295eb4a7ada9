// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/caddy-est/estra/policy/weakkey"
)

// publicKey gives a public key of a kind, and names the signature that goes
// with it. The same name gives the same key, so that a case that passes today
// passes tomorrow; no case signs anything with it.
func publicKey(kind, name string) (any, string, error) {
	curve := func(c elliptic.Curve, signature string) (any, string, error) {
		// Far below the order of each curve, and never 0.
		scalar := append(make([]byte, (c.Params().BitSize+7)/8-31), seed(kind+"/"+name, 0)[1:]...)
		key, err := ecdsa.ParseRawPrivateKey(c, scalar)
		if err != nil {
			return nil, "", err
		}
		return key.Public(), signature, nil
	}
	switch kind {
	case "", "P-256":
		return curve(elliptic.P256(), "ECDSA-SHA256")
	case "P-384":
		return curve(elliptic.P384(), "ECDSA-SHA384")
	case "P-521":
		return curve(elliptic.P521(), "ECDSA-SHA512")
	case "ed25519":
		return ed25519.NewKeyFromSeed(seed(kind+"/"+name, 0)).Public(), "Ed25519", nil
	}
	text, isRSA := strings.CutPrefix(kind, "rsa")
	bits, err := strconv.Atoi(text)
	if !isRSA || err != nil || bits < 512 || bits > 16384 {
		return nil, "", fmt.Errorf("key %q: want P-256, P-384, P-521, ed25519, or rsa and a length, such as rsa3072", kind)
	}
	return &rsa.PublicKey{N: modulus(bits, name), E: 65537}, "SHA256-RSA", nil
}

// seed gives 32 bytes that follow from a name.
func seed(name string, i uint64) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(name+"\x00"), i))
	return sum[:]
}

// modulus gives a number of a length that looks like the modulus of a good
// key: the product of two primes would take seconds, and a policy can't tell.
func modulus(bits int, name string) *big.Int {
	for round := 0; ; round++ {
		var stream []byte
		for i := uint64(0); len(stream)*8 < bits; i++ {
			stream = append(stream, seed(fmt.Sprintf("rsa%d/%s/%d", bits, name, round), i)...)
		}
		n := new(big.Int).SetBytes(stream)
		n.Rsh(n, uint(len(stream)*8-bits))
		n.SetBit(n.SetBit(n, bits-1, 1), 0, 1)
		if strong(n) {
			return n
		}
	}
}

// strong tells whether a number has none of the weaknesses that policies test
// for.
func strong(n *big.Int) bool {
	return weakkey.SmallFactor(n) == 0 && !weakkey.ROCA(n) && !weakkey.ClosePrimes(n)
}
