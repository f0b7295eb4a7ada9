// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // linked for OAEP and HMAC
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Recipient is whom a message is encrypted for. The zero value is nobody.
type Recipient struct {
	id   Identifier
	rsa  *rsa.PublicKey
	ecdh *ecdh.PublicKey
	ukm  []byte // user keying material; an ephemeral key needs none
	kek  []byte
}

// ForRSA is key transport (RFC 5652 section 6.2.1).
func ForRSA(id Identifier, key *rsa.PublicKey) Recipient { return Recipient{id: id, rsa: key} }

// ForECDH is key agreement with an ephemeral key of our own (RFC 5652 section
// 6.2.2, RFC 5753 section 3.1, RFC 8418), on P-256, P-384, P-521 or X25519.
func ForECDH(id Identifier, key *ecdh.PublicKey) Recipient { return Recipient{id: id, ecdh: key} }

// ForKEK is a symmetric key that both sides have (RFC 5652 section 6.2.3), an
// AES key of 16 or 32 bytes, and its keyIdentifier.
func ForKEK(id, key []byte) Recipient { return Recipient{id: SubjectKeyID(id), kek: key} }

// ForCertificate takes the key of a certificate. Its keyUsage, if it has one,
// must have keyEncipherment for RSA (RFC 5652 section 6.2.1) and keyAgreement
// for ECDH (section 6.2.2; RFC 7030 section 4.4.1.2).
func ForCertificate(c *x509.Certificate, id Identifier) (Recipient, error) {
	want, name := x509.KeyUsageKeyAgreement, "keyAgreement"
	var r Recipient
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		want, name = x509.KeyUsageKeyEncipherment, "keyEncipherment"
		r = ForRSA(id, key)
	case *ecdsa.PublicKey:
		agree, err := key.ECDH()
		if err != nil {
			return r, fmt.Errorf("%w: the certificate's key: %w", ErrAlgorithm, err)
		}
		r = ForECDH(id, agree)
	case *ecdh.PublicKey:
		r = ForECDH(id, key)
	default:
		return r, fmt.Errorf("%w: nothing can be encrypted for the certificate's key, of type %T", ErrAlgorithm, key)
	}
	if c.KeyUsage != 0 && c.KeyUsage&want == 0 {
		return Recipient{}, fmt.Errorf("the certificate's keyUsage has no %s", name)
	}
	return r, nil
}

// strength is the hash that fits the curve.
func (r Recipient) strength() crypto.Hash {
	switch r.ecdh.Curve() {
	case ecdh.P384():
		return crypto.SHA384
	case ecdh.P521():
		return crypto.SHA512
	default:
		return crypto.SHA256
	}
}

// version is that of the EnvelopedData (RFC 5652 section 6.1): 0 where the
// RecipientInfo has version 0, which is ktri by issuer and serial number.
func (r Recipient) version() int64 {
	if r.rsa != nil && len(r.id.KeyID) == 0 {
		return 0
	}
	return 2
}

// info makes the RecipientInfo for a content key.
func (r Recipient) info(a Algorithms, key []byte) ([]byte, error) {
	if err := r.id.check(); err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	var err error
	switch {
	case r.rsa != nil:
		err = r.transport(&b, a, key)
	case r.ecdh != nil:
		err = r.agree(&b, a, key)
	case len(r.kek) > 0 && len(r.id.KeyID) > 0:
		err = r.wrap(&b, a, key)
	default:
		err = errors.New("there is no recipient")
	}
	if err != nil {
		return nil, err
	}
	return b.Bytes()
}

// RSA keys outside these sizes are not encrypted for.
const (
	minRSABits = 2048
	maxRSABits = 16384
)

// transport makes a KeyTransRecipientInfo (RFC 5652 section 6.2.1).
func (r Recipient) transport(b *cryptobyte.Builder, a Algorithms, key []byte) error {
	if bits := r.rsa.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return fmt.Errorf("%w: an RSA key of %d bits, want %d to %d", ErrAlgorithm, bits, minRSABits, maxRSABits)
	}
	id, err := a.Transport.algorithm()
	if err != nil {
		return err
	}
	var encrypted []byte
	if a.Transport == PKCS1v15 {
		encrypted, err = rsa.EncryptPKCS1v15(rand.Reader, r.rsa, key) //nolint:staticcheck // where the recipient has nothing else
	} else {
		encrypted, err = rsa.EncryptOAEP(transports[a.Transport].hash.New(), rand.Reader, r.rsa, key, nil)
	}
	if err != nil {
		return err
	}
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(r.version())
		r.id.add(b)
		id.add(b, der.SEQUENCE)
		b.AddASN1OctetString(encrypted)
	})
	return nil
}

// agree makes a KeyAgreeRecipientInfo (RFC 5652 section 6.2.2).
func (r Recipient) agree(b *cryptobyte.Builder, a Algorithms, key []byte) error {
	scheme, ok := agreements[a.KDF]
	if wraps[a.Wrap].key == 0 || !ok {
		return fmt.Errorf("%w: there is no key agreement or no key wrap", ErrAlgorithm)
	}
	kind, err := curveAlgorithm(r.ecdh.Curve())
	if err != nil {
		return err
	}
	ephemeral, err := r.ecdh.Curve().GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	var params cryptobyte.Builder
	algorithm{oid: wraps[a.Wrap].oid}.add(&params, der.SEQUENCE)
	wrap, err := params.Bytes()
	if err != nil {
		return err
	}
	kek, err := agreedKey(ephemeral, r.ecdh, a.KDF, a.Wrap, wrap, r.ukm)
	if err != nil {
		return err
	}
	defer clear(kek)
	encrypted, err := wrapKey(kek, key)
	if err != nil {
		return err
	}
	b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
		b.AddASN1Int64(3)
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
				kind.add(b, der.SEQUENCE)
				b.AddASN1BitString(ephemeral.PublicKey().Bytes())
			})
		})
		if len(r.ukm) > 0 {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) { b.AddASN1OctetString(r.ukm) })
		}
		algorithm{oid: scheme, params: wrap}.add(b, der.SEQUENCE)
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				r.id.addAgree(b)
				b.AddASN1OctetString(encrypted)
			})
		})
	})
	return nil
}

// addAgree writes a KeyAgreeRecipientIdentifier, where the key identifier
// stands in a SEQUENCE.
func (id Identifier) addAgree(b *cryptobyte.Builder) {
	if len(id.KeyID) == 0 {
		id.add(b)
		return
	}
	b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1OctetString(id.KeyID) })
}

// agreedKey derives the key-encryption key. wrap is the AlgorithmIdentifier of
// the key wrap as it stands in the message: it is part of ECC-CMS-SharedInfo
// (RFC 5753 section 7.2).
func agreedKey(own *ecdh.PrivateKey, other *ecdh.PublicKey, kdf crypto.Hash, w Wrap, wrap, ukm []byte) ([]byte, error) {
	z, err := own.ECDH(other)
	if err != nil {
		return nil, err
	}
	defer clear(z)
	size := wraps[w].key
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(wrap)
		if len(ukm) > 0 {
			b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1OctetString(ukm) })
		}
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) {
			b.AddASN1(der.OCTET_STRING, func(b *cryptobyte.Builder) {
				b.AddUint32(uint32(8 * size)) //nolint:gosec // 128 or 256
			})
		})
	})
	info, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return x963KDF(kdf, z, info, size), nil
}

const (
	idECPublicKey = "1.2.840.10045.2.1"
	idX25519      = "1.3.101.110"
)

var curveOIDs = []struct {
	curve ecdh.Curve
	oid   string
}{
	{ecdh.P256(), "1.2.840.10045.3.1.7"},
	{ecdh.P384(), "1.3.132.0.34"},
	{ecdh.P521(), "1.3.132.0.35"},
}

// curveAlgorithm is the algorithm of an originator's key (RFC 5753 section
// 7.1.2, RFC 8418 section 3).
func curveAlgorithm(curve ecdh.Curve) (algorithm, error) {
	if curve == ecdh.X25519() {
		return algorithm{oid: idX25519}, nil
	}
	for _, known := range curveOIDs {
		if known.curve == curve {
			var b cryptobyte.Builder
			addOID(&b, known.oid)
			params, err := b.Bytes()
			return algorithm{oid: idECPublicKey, params: params}, err
		}
	}
	return algorithm{}, fmt.Errorf("%w: curve %v", ErrAlgorithm, curve)
}

// wrap makes a KEKRecipientInfo (RFC 5652 section 6.2.3).
func (r Recipient) wrap(b *cryptobyte.Builder, a Algorithms, key []byte) error {
	known := wraps[a.Wrap]
	if known.key == 0 || len(r.kek) != known.key {
		return fmt.Errorf("%w: a key of %d bytes is no key of %v", ErrAlgorithm, len(r.kek), a.Wrap)
	}
	encrypted, err := wrapKey(r.kek, key)
	if err != nil {
		return err
	}
	b.AddASN1(explicit(2), func(b *cryptobyte.Builder) {
		b.AddASN1Int64(4)
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1OctetString(r.id.KeyID) })
		algorithm{oid: known.oid}.add(b, der.SEQUENCE)
		b.AddASN1OctetString(encrypted)
	})
	return nil
}
