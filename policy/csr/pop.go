// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // linked for crypto.Hash
	_ "crypto/sha512"
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

// SignatureName is the name of the signature algorithm as crypto/x509 writes
// it, such as "SHA256-RSA", "SHA256-RSAPSS", "ECDSA-SHA384" or "Ed25519"; for
// one that has no name here, its dotted OID.
func (r *Request) SignatureName() string {
	if r.restored != "" {
		return r.restored
	}
	oid := r.SignatureOID.String()
	if oid == oidPSS {
		if p, err := parsePSS(r.SignatureParams); err == nil {
			return strings.ReplaceAll(p.hash.String(), "-", "") + "-RSAPSS"
		}
	}
	if s, ok := schemes[oid]; ok {
		return s.name
	}
	return oid
}

// CheckPOP verifies the signature with the key in the request: proof that
// the sender has the private key (RFC 2986 section 3). Accepted are RSA PKCS #1
// v1.5 and PSS and ECDSA, each with SHA-256, SHA-384 or SHA-512, and Ed25519.
// The error says what isn't accepted, or that the signature is wrong.
func (r *Request) CheckPOP() error {
	s := schemes[r.SignatureOID.String()]
	if s.key == UnknownKey {
		return fmt.Errorf("signature algorithm %s is not accepted: sign with SHA-256, SHA-384 or SHA-512, or with Ed25519", r.SignatureName())
	}
	if r.Key.Algorithm != s.key {
		return fmt.Errorf("signature algorithm %s does not belong to the key in the request", s.name)
	}
	switch key := r.Key.Public.(type) {
	case *rsa.PublicKey:
		return r.checkRSA(key, s.hash)
	case *ecdsa.PublicKey:
		return r.checkECDSA(key, s.hash)
	case ed25519.PublicKey:
		return r.checkEd25519(key)
	default:
		return errors.New("the key in the request cannot verify a signature")
	}
}

var errSignature = errors.New("the signature does not verify with the key in the request")

func (r *Request) checkRSA(key *rsa.PublicKey, hash crypto.Hash) error {
	if r.Key.Bits < minRSABits || r.Key.Bits > maxRSABits {
		return fmt.Errorf("RSA key of %d bits is not accepted: it must have %d to %d", r.Key.Bits, minRSABits, maxRSABits)
	}
	if hash == 0 {
		return r.checkPSS(key)
	}
	// RFC 4055 section 5 wants NULL and has receivers take absence as well.
	if len(r.SignatureParams) > 0 && !bytes.Equal(r.SignatureParams, asn1NULL) {
		return fmt.Errorf("signature algorithm %s has parameters that are not NULL", r.SignatureName())
	}
	if rsa.VerifyPKCS1v15(key, hash, digest(hash, r.RawInfo), r.Signature) != nil {
		return errSignature
	}
	return nil
}

func (r *Request) checkPSS(key *rsa.PublicKey) error {
	p, err := parsePSS(r.SignatureParams)
	if err != nil {
		return fmt.Errorf("signature algorithm RSASSA-PSS is not accepted: %w", err)
	}
	opts := &rsa.PSSOptions{SaltLength: p.salt, Hash: p.hash}
	if rsa.VerifyPSS(key, p.hash, digest(p.hash, r.RawInfo), r.Signature, opts) != nil {
		return errSignature
	}
	return nil
}

func (r *Request) checkECDSA(key *ecdsa.PublicKey, hash crypto.Hash) error {
	// RFC 5758 section 3.2: the parameters are absent.
	if len(r.SignatureParams) > 0 {
		return fmt.Errorf("signature algorithm %s has parameters", r.SignatureName())
	}
	if !ecdsa.VerifyASN1(key, digest(hash, r.RawInfo), r.Signature) {
		return errSignature
	}
	return nil
}

func (r *Request) checkEd25519(key ed25519.PublicKey) error {
	// RFC 8410 section 3: the parameters are absent.
	if len(r.SignatureParams) > 0 {
		return errors.New("signature algorithm Ed25519 has parameters")
	}
	if len(key) != ed25519.PublicKeySize || !ed25519.Verify(key, r.RawInfo, r.Signature) {
		return errSignature
	}
	return nil
}

func digest(hash crypto.Hash, message []byte) []byte {
	h := hash.New()
	h.Write(message)
	return h.Sum(nil)
}
