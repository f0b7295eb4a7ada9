// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha1"     //nolint:gosec // what RFC 5272 section 6.2.2 fixes; only where V1 is configured
	_ "crypto/sha256" // linked for crypto.Hash
	_ "crypto/sha512"
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// hashes are the algorithms that make a key of a secret, and macs those of a
// witness (RFC 5754 section 2, RFC 4231 section 3.1). SHA-1 is for the first
// versions alone, which have no choice.
var (
	hashes = map[string]crypto.Hash{
		"2.16.840.1.101.3.4.2.1": crypto.SHA256,
		"2.16.840.1.101.3.4.2.2": crypto.SHA384,
		"2.16.840.1.101.3.4.2.3": crypto.SHA512,
	}
	macs = map[string]crypto.Hash{
		"1.2.840.113549.2.9":  crypto.SHA256,
		"1.2.840.113549.2.10": crypto.SHA384,
		"1.2.840.113549.2.11": crypto.SHA512,
	}
)

// What we write.
var (
	OIDSHA256     = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	OIDHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
)

// A Witness is a value that only a holder of a secret can make: IdentityProofV2
// (RFC 5272 section 6.2.1) over the requests, or PopLinkWitnessV2 (section
// 6.3.1.1) over the value of popLinkRandom. Both have the same form.
type Witness struct {
	Hash  asn1.ObjectIdentifier // makes the key
	MAC   asn1.ObjectIdentifier
	Value []byte
}

// ParseWitness decodes the value of identityProofV2 or popLinkWitnessV2.
func ParseWitness(value []byte) (w Witness, err error) {
	body, err := readWhole(value, "witness")
	if err != nil {
		return w, err
	}
	if w.Hash, err = readBareAlgorithm(&body); err != nil {
		return w, within("hash algorithm", err)
	}
	if w.MAC, err = readBareAlgorithm(&body); err != nil {
		return w, within("MAC algorithm", err)
	}
	if w.Value, err = readOctets(&body); err == nil && !body.Empty() {
		err = bad("trailing bytes")
	}
	return w, err
}

// Marshal encodes the value of identityProofV2 or popLinkWitnessV2.
func (w Witness) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		addAlgorithm(b, w.Hash)
		addAlgorithm(b, w.MAC)
		b.AddASN1OctetString(w.Value)
	})
}

// Key makes the key of the MAC: the hash of the secret and, for an identity
// proof, of the value of the identification control where there is one (RFC
// 5272 section 6.2.3). A popLinkWitnessV2 has the secret alone. The error is
// BadAlg where the hash is not one of SHA-256, SHA-384 and SHA-512.
func (w Witness) Key(secret []byte, identification string) ([]byte, error) {
	hash, ok := hashes[w.Hash.String()]
	if !ok {
		return nil, failing(BadAlg, "hash algorithm %s is not accepted: use SHA-256, SHA-384 or SHA-512", w.Hash)
	}
	return keyOf(hash, secret, identification), nil
}

func keyOf(hash crypto.Hash, secret []byte, identification string) []byte {
	h := hash.New()
	_, _ = h.Write(secret)
	_, _ = h.Write([]byte(identification))
	return h.Sum(nil)
}

// Verify says whether the witness over a message was made with a key. The error
// is BadAlg for a MAC that is none of HMAC with SHA-256, SHA-384 and SHA-512,
// and BadIdentity where the value is another.
func (w Witness) Verify(key, message []byte) error {
	want, err := w.mac(key, message)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, w.Value) {
		return failing(BadIdentity, "the witness was not made with this secret")
	}
	return nil
}

func (w Witness) mac(key, message []byte) ([]byte, error) {
	hash, ok := macs[w.MAC.String()]
	if !ok {
		return nil, failing(BadAlg, "MAC algorithm %s is not accepted: use HMAC with SHA-256, SHA-384 or SHA-512", w.MAC)
	}
	return macOf(hash, key, message), nil
}

func macOf(hash crypto.Hash, key, message []byte) []byte {
	m := hmac.New(hash.New, key)
	_, _ = m.Write(message)
	return m.Sum(nil)
}

// NewWitness makes a witness with SHA-256 and HMAC with SHA-256.
func NewWitness(secret []byte, identification string, message []byte) Witness {
	key := keyOf(crypto.SHA256, secret, identification)
	return Witness{Hash: OIDSHA256, MAC: OIDHMACSHA256, Value: macOf(crypto.SHA256, key, message)}
}

// WitnessV1 is the value of identityProof (RFC 5272 section 6.2.2) or of
// popLinkWitness (section 6.3.1.2): SHA-1 makes the key, and HMAC with SHA-1 the
// value.
func WitnessV1(secret []byte, identification string, message []byte) []byte {
	return macOf(crypto.SHA1, KeyV1(secret, identification), message)
}

// KeyV1 makes the key of WitnessV1.
func KeyV1(secret []byte, identification string) []byte {
	return keyOf(crypto.SHA1, secret, identification)
}

// VerifyV1 says whether a value is that of WitnessV1 with a key. The error is
// BadIdentity.
func VerifyV1(value, key, message []byte) error {
	if len(value) != sha1.Size || !hmac.Equal(value, macOf(crypto.SHA1, key, message)) {
		return failing(BadIdentity, "the witness was not made with this secret")
	}
	return nil
}

// readAlgorithm reads an AlgorithmIdentifier; absent parameters are nil.
func readAlgorithm(s *cryptobyte.String) (oid asn1.ObjectIdentifier, params []byte, err error) {
	var body, element cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) || !body.ReadASN1ObjectIdentifier(&oid) {
		return nil, nil, bad("not an AlgorithmIdentifier")
	}
	if body.Empty() {
		return oid, nil, nil
	}
	if !body.ReadAnyASN1Element(&element, nil) || !body.Empty() {
		return nil, nil, bad("not an AlgorithmIdentifier")
	}
	return oid, element, nil
}

// readBareAlgorithm reads one of a hash or a MAC, whose parameters are absent or
// NULL (RFC 5754 section 2, RFC 8018 appendix B.1).
func readBareAlgorithm(s *cryptobyte.String) (asn1.ObjectIdentifier, error) {
	oid, params, err := readAlgorithm(s)
	if err == nil && params != nil && string(params) != "\x05\x00" {
		err = failing(BadAlg, "%s has parameters", oid)
	}
	return oid, err
}

func addAlgorithm(b *cryptobyte.Builder, oid asn1.ObjectIdentifier) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1ObjectIdentifier(oid) })
}
