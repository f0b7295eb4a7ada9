// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // linked for crypto.Hash
	_ "crypto/sha512"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// RSA keys outside these sizes are not even verified with: below, Go's
// crypto/rsa refuses; above, one request would cost seconds.
const (
	minRSABits = 1024
	maxRSABits = 16384
)

// schemes are the signature algorithms by OID (RFC 4055, RFC 5758, RFC 8410).
// A name without key is one that is known and not accepted.
var schemes = map[string]struct {
	name string
	key  KeyAlgorithm
	hash crypto.Hash // 0: named by the parameters, or none
}{
	oidPSS:                  {name: "RSASSA-PSS", key: RSA},
	"1.2.840.113549.1.1.11": {name: "SHA256-RSA", key: RSA, hash: crypto.SHA256},
	"1.2.840.113549.1.1.12": {name: "SHA384-RSA", key: RSA, hash: crypto.SHA384},
	"1.2.840.113549.1.1.13": {name: "SHA512-RSA", key: RSA, hash: crypto.SHA512},
	"1.2.840.10045.4.3.2":   {name: "ECDSA-SHA256", key: ECDSA, hash: crypto.SHA256},
	"1.2.840.10045.4.3.3":   {name: "ECDSA-SHA384", key: ECDSA, hash: crypto.SHA384},
	"1.2.840.10045.4.3.4":   {name: "ECDSA-SHA512", key: ECDSA, hash: crypto.SHA512},
	oidEd25519:              {name: "Ed25519", key: Ed25519},

	"1.2.840.113549.1.1.2":  {name: "MD2-RSA"},
	"1.2.840.113549.1.1.4":  {name: "MD5-RSA"},
	"1.2.840.113549.1.1.5":  {name: "SHA1-RSA"},
	"1.2.840.113549.1.1.14": {name: "SHA224-RSA"},
	"1.2.840.10045.4.1":     {name: "ECDSA-SHA1"},
	"1.2.840.10045.4.3.1":   {name: "ECDSA-SHA224"},
	"1.2.840.10040.4.3":     {name: "DSA-SHA1"},
	"1.3.101.113":           {name: "Ed448"},
}

// SignatureAlgorithm is an AlgorithmIdentifier of a signature. Params is the
// whole element, or empty.
type SignatureAlgorithm struct {
	OID    asn1.ObjectIdentifier
	Params []byte
}

// Name is the algorithm's name as [Request.SignatureName] gives it.
func (a SignatureAlgorithm) Name() string {
	oid := a.OID.String()
	if oid == oidPSS {
		if p, err := parsePSS(a.Params); err == nil {
			return strings.ReplaceAll(p.hash.String(), "-", "") + "-RSAPSS"
		}
	}
	if s, ok := schemes[oid]; ok {
		return s.name
	}
	return oid
}

// Hash is the hash of an algorithm that [SignatureAlgorithm.Verify] accepts,
// or 0: of one that is not accepted, and of Ed25519, which takes the message.
func (a SignatureAlgorithm) Hash() crypto.Hash {
	if a.OID.String() == oidPSS {
		p, err := parsePSS(a.Params)
		if err != nil {
			return 0
		}
		return p.hash
	}
	return schemes[a.OID.String()].hash
}

// ErrSignature is a signature that is wrong for its message and key.
var ErrSignature = errors.New("the signature does not verify")

// Verify verifies a signature over a message. Accepted are RSA PKCS #1 v1.5
// and PSS and ECDSA, each with SHA-256, SHA-384 or SHA-512, and Ed25519, with
// the key types of crypto/x509. The error is [ErrSignature], or says what isn't
// accepted.
func (a SignatureAlgorithm) Verify(key crypto.PublicKey, message, signature []byte) error {
	s := schemes[a.OID.String()]
	if s.key == UnknownKey {
		return a.notAccepted()
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		if s.key == RSA {
			return a.verifyRSA(key, message, signature)
		}
	case *ecdsa.PublicKey:
		if s.key == ECDSA {
			return a.verifyECDSA(key, message, signature)
		}
	case ed25519.PublicKey:
		if s.key == Ed25519 {
			return a.verifyEd25519(key, message, signature)
		}
	}
	return fmt.Errorf("signature algorithm %s does not belong to the key", s.name)
}

func (a SignatureAlgorithm) notAccepted() error {
	return fmt.Errorf("signature algorithm %s is not accepted: sign with SHA-256, SHA-384 or SHA-512, or with Ed25519", a.Name())
}

func (a SignatureAlgorithm) verifyRSA(key *rsa.PublicKey, message, signature []byte) error {
	if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return fmt.Errorf("RSA key of %d bits is not accepted: it must have %d to %d", bits, minRSABits, maxRSABits)
	}
	hash := schemes[a.OID.String()].hash
	if hash == 0 {
		return a.verifyPSS(key, message, signature)
	}
	// RFC 4055 section 5 wants NULL and has receivers take absence as well.
	if len(a.Params) > 0 && !bytes.Equal(a.Params, asn1NULL) {
		return fmt.Errorf("signature algorithm %s has parameters that are not NULL", a.Name())
	}
	if rsa.VerifyPKCS1v15(key, hash, digest(hash, message), signature) != nil {
		return ErrSignature
	}
	return nil
}

func (a SignatureAlgorithm) verifyPSS(key *rsa.PublicKey, message, signature []byte) error {
	p, err := parsePSS(a.Params)
	if err != nil {
		return fmt.Errorf("signature algorithm RSASSA-PSS is not accepted: %w", err)
	}
	opts := &rsa.PSSOptions{SaltLength: p.salt, Hash: p.hash}
	if rsa.VerifyPSS(key, p.hash, digest(p.hash, message), signature, opts) != nil {
		return ErrSignature
	}
	return nil
}

func (a SignatureAlgorithm) verifyECDSA(key *ecdsa.PublicKey, message, signature []byte) error {
	// RFC 5758 section 3.2: the parameters are absent.
	if len(a.Params) > 0 {
		return fmt.Errorf("signature algorithm %s has parameters", a.Name())
	}
	switch key.Curve {
	case elliptic.P256(), elliptic.P384(), elliptic.P521():
	default:
		return fmt.Errorf("an ECDSA key on %s is not accepted: it must be on P-256, P-384 or P-521", key.Params().Name)
	}
	if !ecdsa.VerifyASN1(key, digest(schemes[a.OID.String()].hash, message), signature) {
		return ErrSignature
	}
	return nil
}

func (a SignatureAlgorithm) verifyEd25519(key ed25519.PublicKey, message, signature []byte) error {
	// RFC 8410 section 3: the parameters are absent.
	if len(a.Params) > 0 {
		return errors.New("signature algorithm Ed25519 has parameters")
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, message, signature) {
		return ErrSignature
	}
	return nil
}

func digest(hash crypto.Hash, message []byte) []byte {
	h := hash.New()
	h.Write(message)
	return h.Sum(nil)
}
