// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"math"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Public key algorithms: RFC 3279 section 2.3.1, RFC 5480 section 2.1.1, RFC
// 8410 section 3.
const (
	oidRSA     = "1.2.840.113549.1.1.1"
	oidEC      = "1.2.840.10045.2.1"
	oidEd25519 = "1.3.101.112"
)

// curves are the named curves of RFC 5480 section 2.1.1.1 that a policy can
// ask for.
var curves = map[string]elliptic.Curve{
	"1.2.840.10045.3.1.7": elliptic.P256(),
	"1.3.132.0.34":        elliptic.P384(),
	"1.3.132.0.35":        elliptic.P521(),
}

// asn1NULL is NULL, DER.
var asn1NULL = []byte{5, 0}

// parseKey reads a SubjectPublicKeyInfo. An algorithm or a curve that we
// don't know gives UnknownKey; a malformed key of one that we know is an
// error.
func parseKey(element []byte) (Key, error) {
	input := cryptobyte.String(element)
	var spki cryptobyte.String
	if !input.ReadASN1(&spki, der.SEQUENCE) || !input.Empty() {
		return Key{}, bad("not a SubjectPublicKeyInfo")
	}
	oid, params, err := readAlgorithm(&spki)
	if err != nil {
		return Key{}, err
	}
	var bits []byte
	if !spki.ReadASN1BitStringAsBytes(&bits) || !spki.Empty() {
		return Key{}, bad("not a BIT STRING of whole bytes, and nothing after it")
	}
	switch oid.String() {
	case oidRSA:
		return parseRSA(params, bits)
	case oidEC:
		return parseEC(params, bits)
	case oidEd25519:
		return parseEd25519(params, bits)
	default:
		return Key{}, nil
	}
}

// ReadKey reads a SubjectPublicKeyInfo in DER. A kind that isn't known gives
// UnknownKey; the error is a *ParseError.
func ReadKey(spki []byte) (Key, error) {
	key, err := parseKey(spki)
	if err != nil {
		return Key{}, within("key", err)
	}
	return key, nil
}

func parseRSA(params, bits []byte) (Key, error) {
	if !bytes.Equal(params, asn1NULL) {
		return Key{}, bad("RSA: the parameters are not NULL") // RFC 3279 section 2.3.1
	}
	input := cryptobyte.String(bits)
	var body cryptobyte.String
	n, e := new(big.Int), new(big.Int)
	if !input.ReadASN1(&body, der.SEQUENCE) || !input.Empty() ||
		!body.ReadASN1Integer(n) || !body.ReadASN1Integer(e) || !body.Empty() {
		return Key{}, bad("RSA: not an RSAPublicKey")
	}
	if n.Sign() <= 0 || e.Sign() <= 0 {
		return Key{}, bad("RSA: modulus or exponent is not positive")
	}
	k := Key{Algorithm: RSA, Bits: n.BitLen()}
	if e.IsInt64() && e.Int64() <= math.MaxInt32 { // crypto/rsa takes no more
		k.Exponent = int(e.Int64())
		k.Public = &rsa.PublicKey{N: n, E: k.Exponent}
	}
	return k, nil
}

func parseEC(params, bits []byte) (Key, error) {
	if len(params) == 0 {
		return Key{}, bad("ECDSA: no named curve")
	}
	// implicitCurve and specifiedCurve are no named curves (RFC 5480 section
	// 2.1.1 forbids both); they are no curve of ours either.
	oid, _ := readWholeOID(params)
	curve, ok := curves[oid.String()]
	if !ok {
		return Key{}, nil
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, bits)
	if err != nil {
		return Key{}, bad("ECDSA: not an uncompressed point on %s", curve.Params().Name)
	}
	return Key{Algorithm: ECDSA, Bits: curve.Params().BitSize, Curve: curve.Params().Name, Public: public}, nil
}

func parseEd25519(params, bits []byte) (Key, error) {
	if len(params) != 0 {
		return Key{}, bad("Ed25519: parameters are present") // RFC 8410 section 3
	}
	if len(bits) != ed25519.PublicKeySize {
		return Key{}, bad("Ed25519: %d bytes, not %d", len(bits), ed25519.PublicKeySize)
	}
	return Key{Algorithm: Ed25519, Bits: 8 * ed25519.PublicKeySize, Public: ed25519.PublicKey(bytes.Clone(bits))}, nil
}
