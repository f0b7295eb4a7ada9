// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func TestFactsOfAKey(t *testing.T) {
	tests := map[string]csr.Key{
		"rsa2048": {Algorithm: csr.RSA, Bits: 2048, Exponent: 65537},
		"P-256":   {Algorithm: csr.ECDSA, Bits: 256, Curve: "P-256"},
		"P-384":   {Algorithm: csr.ECDSA, Bits: 384, Curve: "P-384"},
		"P-521":   {Algorithm: csr.ECDSA, Bits: 521, Curve: "P-521"},
		"ed25519": {Algorithm: csr.Ed25519, Bits: 256},
		"P-224":   {Algorithm: csr.UnknownKey},
	}
	for kind, want := range tests {
		t.Run(kind, func(t *testing.T) {
			key := Key(t, kind)
			got := parse(t, New(t, Signer(key))).Key
			if public, ok := got.Public.(interface{ Equal(any) bool }); ok && !public.Equal(key.Public()) {
				t.Error("another key")
			}
			switch got.Public.(type) {
			case *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey:
			default:
				if want.Algorithm != csr.UnknownKey {
					t.Errorf("public key is a %T", got.Public)
				}
			}
			got.Public = nil
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestKeysThatAreUnknownParse(t *testing.T) {
	for name, spki := range map[string][]byte{
		"an algorithm of nobody":    SEQ(SEQ(OID("1.2.3")), BITS(0, 1)),
		"secp256k1":                 SEQ(SEQ(OID("1.2.840.10045.2.1"), OID("1.3.132.0.10")), BITS(0, 4)),
		"explicit curve parameters": SEQ(SEQ(OID("1.2.840.10045.2.1"), SEQ(INTEGER(1))), BITS(0, 4)),
		"an RSA-PSS key":            SEQ(SEQ(OID("1.2.840.113549.1.1.10")), BITS(0, 1)),
	} {
		if k := parse(t, New(t, SPKI(spki))).Key; k != (csr.Key{}) {
			t.Errorf("%s: %+v", name, k)
		}
	}
}

func TestAnExponentThatDoesNotFit(t *testing.T) {
	k := parse(t, New(t, SPKI(rsaSPKI(2048, 1<<40)))).Key
	if k.Algorithm != csr.RSA || k.Bits != 2048 || k.Exponent != 0 || k.Public != nil {
		t.Errorf("got %+v", k)
	}
}

func TestBadKeysAreRefused(t *testing.T) {
	null := []byte{5, 0}
	point := parse(t, New(t)).RawSPKI
	off := append([]byte(nil), point...)
	off[len(off)-1] ^= 1
	ec := func(params, bits []byte) []byte { return SEQ(SEQ(OID("1.2.840.10045.2.1"), params), BITS(0, bits...)) }
	p256 := OID("1.2.840.10045.3.1.7")
	const notPoint = "key: ECDSA: not an uncompressed point on P-256"
	tests := map[string]struct {
		spki []byte
		want string
	}{
		"a point off the curve":       {off, notPoint},
		"a point at infinity":         {ec(p256, []byte{0}), notPoint},
		"a compressed point":          {ec(p256, append([]byte{3}, make([]byte, 32)...)), notPoint},
		"an empty point":              {ec(p256, nil), notPoint},
		"no curve":                    {ec(nil, []byte{4}), "key: ECDSA: no named curve"},
		"RSA without parameters":      {rsaKeyInfo(nil, SEQ(INTEGER(3), INTEGER(3))), "key: RSA: the parameters are not NULL"},
		"RSA with a negative modulus": {rsaKeyInfo(null, SEQ(INTEGER(-3), INTEGER(3))), "key: RSA: modulus or exponent is not positive"},
		"RSA with an exponent of 0":   {rsaKeyInfo(null, SEQ(INTEGER(3), INTEGER(0))), "key: RSA: modulus or exponent is not positive"},
		"RSA with three numbers":      {rsaKeyInfo(null, SEQ(INTEGER(3), INTEGER(3), INTEGER(3))), "key: RSA: not an RSAPublicKey"},
		"RSA with trailing bytes":     {rsaKeyInfo(null, append(SEQ(INTEGER(3), INTEGER(3)), 0)), "key: RSA: not an RSAPublicKey"},
		"RSA with a padded modulus":   {rsaKeyInfo(null, SEQ(TLV(asn1.INTEGER, []byte{0, 1}), INTEGER(3))), "key: RSA: not an RSAPublicKey"},
		"Ed25519 of 31 bytes":         {SEQ(SEQ(OID("1.3.101.112")), BITS(0, make([]byte, 31)...)), "key: Ed25519: 31 bytes, not 32"},
		"Ed25519 with NULL":           {SEQ(SEQ(OID("1.3.101.112"), null), BITS(0, make([]byte, 32)...)), "key: Ed25519: parameters are present"},
		"no bits":                     {SEQ(SEQ(OID("1.2.3"))), "key: not a BIT STRING of whole bytes, and nothing after it"},
		"bits and more":               {SEQ(SEQ(OID("1.2.3")), BITS(0, 1), INTEGER(1)), "key: not a BIT STRING of whole bytes, and nothing after it"},
		"no algorithm":                {SEQ(BITS(0, 1)), "key: not an AlgorithmIdentifier"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { refused(t, New(t, SPKI(test.spki)), test.want) })
	}
}

func TestHashesAreLowerCaseHex(t *testing.T) {
	r := parse(t, New(t))
	raw, spki := sha256.Sum256(r.Raw), sha256.Sum256(r.RawSPKI)
	if r.SHA256() != hex.EncodeToString(raw[:]) || r.SPKISHA256() != hex.EncodeToString(spki[:]) {
		t.Errorf("got %s and %s", r.SHA256(), r.SPKISHA256())
	}
}
