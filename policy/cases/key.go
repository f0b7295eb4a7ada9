// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// publicKey makes a public key of a kind, and names the signature that goes
// with it. Nobody has its private key: no case signs anything.
func publicKey(kind string) (any, string, error) {
	curve := func(c elliptic.Curve, signature string) (any, string, error) {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
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
		public, _, err := ed25519.GenerateKey(rand.Reader)
		return public, "Ed25519", err
	}
	text, isRSA := strings.CutPrefix(kind, "rsa")
	bits, err := strconv.Atoi(text)
	if !isRSA || err != nil || bits < 512 || bits > 16384 {
		return nil, "", fmt.Errorf("key %q: want P-256, P-384, P-521, ed25519, or rsa and a length, such as rsa3072", kind)
	}
	n, err := modulus(bits)
	return &rsa.PublicKey{N: n, E: 65537}, "SHA256-RSA", err
}

// modulus makes a number that looks like the modulus of a good key: the
// product of two primes would take seconds, and a policy can't tell.
func modulus(bits int) (*big.Int, error) {
	top := new(big.Int).Lsh(big.NewInt(3), uint(bits-2))
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits-2)))
		if err != nil {
			return nil, err
		}
		n.Or(n, top).SetBit(n, 0, 1)
		if !hasSmallFactor(n) {
			return n, nil
		}
	}
}

// beyond is the first number that policies don't look for as a factor.
const beyond = 1024

func hasSmallFactor(n *big.Int) bool {
	rest := new(big.Int)
	for p := int64(3); p < beyond; p += 2 {
		if rest.Mod(n, big.NewInt(p)).Sign() == 0 {
			return true
		}
	}
	return false
}
