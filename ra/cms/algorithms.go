// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Cipher encrypts a content.
type Cipher int

// Transport encrypts a content key with an RSA key.
type Transport int

// Wrap encrypts a content key with a symmetric one, given or agreed upon.
type Wrap int

// The ciphers (RFC 3565 section 2, RFC 5084 section 3), in the order in which
// they are preferred: authenticated ones first, then the longer key.
const (
	AES256GCM Cipher = iota + 1
	AES128GCM
	AES256CBC
	AES128CBC
)

// The key transports (RFC 3560 section 3, RFC 3370 section 4.2.1), in the
// order in which they are preferred. SHA-1 within OAEP is what many clients
// mean by OAEP, and is not broken there.
const (
	OAEPSHA256 Transport = iota + 1
	OAEPSHA384
	OAEPSHA512
	OAEPSHA1
	PKCS1v15
)

// The key wraps (RFC 3565 section 2.3.2), in the order in which they are
// preferred.
const (
	AES256Wrap Wrap = iota + 1
	AES128Wrap
)

// Algorithms are what a message is encrypted by. Content is needed always, with
// Transport for an RSA key, KDF and Wrap for ECDH, and Wrap for a symmetric
// key. What is not needed is ignored; zero is no algorithm.
type Algorithms struct {
	Content   Cipher
	Transport Transport
	KDF       crypto.Hash // SHA-256, SHA-384 or SHA-512
	Wrap      Wrap
}

var ciphers = map[Cipher]struct {
	name, oid string
	key       int // bytes
	gcm       bool
}{
	AES256GCM: {"AES-256-GCM", "2.16.840.1.101.3.4.1.46", 32, true},
	AES128GCM: {"AES-128-GCM", "2.16.840.1.101.3.4.1.6", 16, true},
	AES256CBC: {"AES-256-CBC", "2.16.840.1.101.3.4.1.42", 32, false},
	AES128CBC: {"AES-128-CBC", "2.16.840.1.101.3.4.1.2", 16, false},
}

var wraps = map[Wrap]struct {
	name, oid string
	key       int // bytes
}{
	AES256Wrap: {"AES-256 key wrap", "2.16.840.1.101.3.4.1.45", 32},
	AES128Wrap: {"AES-128 key wrap", "2.16.840.1.101.3.4.1.5", 16},
}

// transports have the hash of OAEP and of its mask generation.
var transports = map[Transport]struct {
	name string
	hash crypto.Hash
}{
	OAEPSHA256: {"RSA-OAEP with SHA-256", crypto.SHA256},
	OAEPSHA384: {"RSA-OAEP with SHA-384", crypto.SHA384},
	OAEPSHA512: {"RSA-OAEP with SHA-512", crypto.SHA512},
	OAEPSHA1:   {"RSA-OAEP with SHA-1", crypto.SHA1},
	PKCS1v15:   {"RSA PKCS #1 v1.5", 0},
}

// agreements are dhSinglePass-stdDH-sha…kdf-scheme (RFC 5753 section 7.1.4),
// which RFC 8418 section 2 takes for X25519, too.
var agreements = map[crypto.Hash]string{
	crypto.SHA256: "1.3.132.1.11.1",
	crypto.SHA384: "1.3.132.1.11.2",
	crypto.SHA512: "1.3.132.1.11.3",
}

const (
	idOAEP       = "1.2.840.113549.1.1.7"
	idMGF1       = "1.2.840.113549.1.1.8"
	idPSpecified = "1.2.840.113549.1.1.9"
	idSHA1       = "1.3.14.3.2.26"
)

var oaepHashes = map[crypto.Hash]string{crypto.SHA1: idSHA1, crypto.SHA256: idSHA256, crypto.SHA384: idSHA384, crypto.SHA512: idSHA512}

// String gives the name, such as AES-256-GCM.
func (c Cipher) String() string { return ciphers[c].name }

// String gives the name, such as RSA-OAEP with SHA-256.
func (t Transport) String() string { return transports[t].name }

// String gives the name, such as AES-256 key wrap.
func (w Wrap) String() string { return wraps[w].name }

func cipherOf(oid string) (Cipher, bool) {
	for c, known := range ciphers {
		if known.oid == oid {
			return c, true
		}
	}
	return 0, false
}

func wrapOf(a algorithm) (Wrap, bool) {
	for w, known := range wraps {
		// RFC 3565 section 2.3.2 has no parameters; some write NULL.
		if known.oid == a.oid && a.plain() {
			return w, true
		}
	}
	return 0, false
}

func kdfOf(oid string) (crypto.Hash, bool) {
	for hash, known := range agreements {
		if known == oid {
			return hash, true
		}
	}
	return 0, false
}

// algorithm is the AlgorithmIdentifier of a key transport.
func (t Transport) algorithm() (algorithm, error) {
	known, ok := transports[t]
	if !ok {
		return algorithm{}, fmt.Errorf("%w: there is no key transport", ErrAlgorithm)
	}
	if t == PKCS1v15 {
		return algorithm{oid: idRSAEncryption, params: asn1NULL}, nil
	}
	// RSAES-OAEP-params (RFC 4055 section 4.1). The default of both is SHA-1,
	// and a default is not written.
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		if known.hash == crypto.SHA1 {
			return
		}
		hash := algorithm{oid: oaepHashes[known.hash], params: asn1NULL}
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { hash.add(b, der.SEQUENCE) })
		b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				addOID(b, idMGF1)
				hash.add(b, der.SEQUENCE)
			})
		})
	})
	params, err := b.Bytes()
	return algorithm{oid: idOAEP, params: params}, err
}

// transportOf reads what algorithm writes, and its variants.
func transportOf(a algorithm) (Transport, error) {
	switch {
	case a.oid == idRSAEncryption && a.plain():
		return PKCS1v15, nil
	case a.oid == idOAEP && a.plain():
		return OAEPSHA1, nil
	case a.oid != idOAEP:
		return 0, fmt.Errorf("%w: key transport %s", ErrAlgorithm, a.oid)
	}
	hash, err := readOAEP(a.params)
	if err != nil {
		return 0, fmt.Errorf("%w: RSA-OAEP: %w", ErrAlgorithm, err)
	}
	for t, known := range transports {
		if known.hash == hash && t != PKCS1v15 {
			return t, nil
		}
	}
	return 0, fmt.Errorf("%w: RSA-OAEP with %v", ErrAlgorithm, hash)
}

// readOAEP reads RSAES-OAEP-params (RFC 4055 section 4.1), where hash and mask
// generation are by the same hash, and the label is empty.
func readOAEP(params cryptobyte.String) (crypto.Hash, error) {
	var body, hashField, maskField, label cryptobyte.String
	var hasHash, hasMask, hasLabel bool
	if !params.ReadASN1(&body, der.SEQUENCE) || !params.Empty() || !body.ReadOptionalASN1(&hashField, &hasHash, explicit(0)) ||
		!body.ReadOptionalASN1(&maskField, &hasMask, explicit(1)) || !body.ReadOptionalASN1(&label, &hasLabel, explicit(2)) || !body.Empty() {
		return 0, errors.New("its parameters are malformed")
	}
	hash, mask := crypto.SHA1, crypto.SHA1
	ok := true
	if hasHash {
		hash, ok = oaepHash(&hashField)
	}
	if ok && hasMask {
		mgf, is := readAlgorithm(&maskField, der.SEQUENCE)
		inner := cryptobyte.String(mgf.params)
		if !is || mgf.oid != idMGF1 || !maskField.Empty() {
			return 0, errors.New("its mask generation is not MGF1")
		}
		mask, ok = oaepHash(&inner)
	}
	if !ok || hash != mask {
		return 0, errors.New("its hashes are unknown, or not the same")
	}
	if hasLabel {
		source, is := readAlgorithm(&label, der.SEQUENCE)
		if !is || source.oid != idPSpecified || !bytes.Equal(source.params, []byte{tagOctetString, 0}) || !label.Empty() {
			return 0, errors.New("it has a label")
		}
	}
	return hash, nil
}

func oaepHash(s *cryptobyte.String) (crypto.Hash, bool) {
	a, ok := readAlgorithm(s, der.SEQUENCE)
	if !ok || !a.plain() || !s.Empty() {
		return 0, false
	}
	for hash, oid := range oaepHashes {
		if oid == a.oid {
			return hash, true
		}
	}
	return 0, false
}
