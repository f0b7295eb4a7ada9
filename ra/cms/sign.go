// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
)

// Digest and signature algorithms (RFC 5754, RFC 8419).
const (
	idSHA256        = "2.16.840.1.101.3.4.2.1"
	idSHA384        = "2.16.840.1.101.3.4.2.2"
	idSHA512        = "2.16.840.1.101.3.4.2.3"
	idRSAEncryption = "1.2.840.113549.1.1.1"
	idEd25519       = "1.3.101.112"
)

// signatures are the hashes that sign, and how their OIDs are called. There is
// no SHA-1.
var signatures = []struct {
	hash               crypto.Hash
	digest, rsa, ecdsa string
}{
	{crypto.SHA256, idSHA256, "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.2"},
	{crypto.SHA384, idSHA384, "1.2.840.113549.1.1.12", "1.2.840.10045.4.3.3"},
	{crypto.SHA512, idSHA512, "1.2.840.113549.1.1.13", "1.2.840.10045.4.3.4"},
}

// hash reads a digest algorithm.
func (a algorithm) hash() (crypto.Hash, error) {
	for _, s := range signatures {
		if s.digest == a.oid && a.plain() {
			return s.hash, nil
		}
	}
	return 0, fmt.Errorf("%w: digest algorithm %s, want SHA-256, SHA-384 or SHA-512", ErrAlgorithm, a.oid)
}

// forSignature reads the signature algorithm of a signer whose digest
// algorithm is known. They must name the same hash.
func (a algorithm) forSignature(hash crypto.Hash) (csr.SignatureAlgorithm, error) {
	oid, params := a.oid, a.params
	// RFC 3370 section 3.2: rsaEncryption leaves the hash to the digest
	// algorithm.
	if oid == idRSAEncryption && a.plain() {
		oid, params = rsaWith(hash), asn1NULL
	}
	parsed, ok := csr.TypeOID(oid)
	if !ok {
		return csr.SignatureAlgorithm{}, fmt.Errorf("%w: signature algorithm %s", ErrAlgorithm, a.oid)
	}
	s := csr.SignatureAlgorithm{OID: parsed, Params: params}
	want := s.Hash()
	if oid == idEd25519 {
		want = crypto.SHA512 // RFC 8419 section 3.1
	}
	if want == 0 {
		return s, fmt.Errorf("%w: signature algorithm %s", ErrAlgorithm, s.Name())
	}
	if want != hash {
		return s, fmt.Errorf("%w: signature algorithm %s goes with another digest than %v", ErrAlgorithm, s.Name(), hash)
	}
	return s, nil
}

func rsaWith(hash crypto.Hash) string {
	for _, s := range signatures {
		if s.hash == hash {
			return s.rsa
		}
	}
	return ""
}

func digest(hash crypto.Hash, message []byte) []byte {
	h := hash.New()
	h.Write(message)
	return h.Sum(nil)
}

// Signer is who signs.
type Signer struct {
	// Key is an RSA, ECDSA or Ed25519 key, which may be in a KMS.
	Key crypto.Signer
	// ID is how the message names the key.
	ID Identifier
	// Hash is SHA-256, SHA-384 or SHA-512. Zero is the usual one of the key:
	// SHA-384 for P-384, SHA-512 for P-521, else SHA-256. Ed25519 takes
	// SHA-512 alone.
	Hash crypto.Hash
	// Time is the signing-time attribute; zero leaves it out.
	Time time.Time
	// Unsigned are unsigned attributes.
	Unsigned []Attribute
}

// Sign makes a SignedData (RFC 5652 section 5.1) in DER, with the certificates
// and the content in it. A signer has the signed attributes content-type,
// message-digest and, with a time, signing-time. RSA keys sign with PKCS #1
// v1.5.
func Sign(c Content, certs []*x509.Certificate, signers ...Signer) ([]byte, error) {
	return SignWithCRLs(c, certs, nil, signers...)
}

// SignWithCRLs is Sign with CRLs in DER beside the certificates.
func SignWithCRLs(c Content, certs []*x509.Certificate, crls [][]byte, signers ...Signer) ([]byte, error) {
	if len(signers) == 0 {
		return nil, fmt.Errorf("sign: nobody signs")
	}
	var infos, digests [][]byte
	version := int64(1)
	if c.Type != IDData {
		version = 3
	}
	for i, signer := range signers {
		info, digest, err := signer.sign(c)
		if err != nil {
			return nil, fmt.Errorf("sign: signer %d: %w", i+1, err)
		}
		if len(signer.ID.KeyID) > 0 {
			version = 3
		}
		infos, digests = append(infos, info), append(digests, digest)
	}
	slices.SortFunc(digests, bytes.Compare)
	digests = slices.CompactFunc(digests, bytes.Equal)
	return contentInfo(IDSignedData, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(version)
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) { b.AddBytes(join(digests)) })
		c.add(b)
		addCertificates(b, certs)
		if len(crls) > 0 {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) { b.AddBytes(join(crls)) })
		}
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) { b.AddBytes(join(infos)) })
	})
}

func addCertificates(b *cryptobyte.Builder, certs []*x509.Certificate) {
	if len(certs) == 0 {
		return
	}
	raw := make([][]byte, len(certs))
	for i, c := range certs {
		raw[i] = c.Raw
	}
	slices.SortFunc(raw, bytes.Compare)
	raw = slices.CompactFunc(raw, bytes.Equal)
	b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddBytes(join(raw)) })
}

// sign makes a SignerInfo. It gives the digest algorithm with it.
func (s Signer) sign(c Content) (info, digestAlgorithm []byte, err error) {
	method, err := s.method()
	if err != nil {
		return nil, nil, err
	}
	attributes, err := s.attributes(c, method.hash)
	if err != nil {
		return nil, nil, err
	}
	value, err := s.signature(asSet(attributes), method.hash)
	if err != nil {
		return nil, nil, err
	}
	unsigned, err := marshalAttributes(s.Unsigned)
	if err != nil {
		return nil, nil, err
	}
	var d, b cryptobyte.Builder
	method.digest.add(&d, der.SEQUENCE)
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(s.ID.signerVersion())
		s.ID.add(b)
		method.digest.add(b, der.SEQUENCE)
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
		method.signature.add(b, der.SEQUENCE)
		b.AddASN1OctetString(value)
		if len(unsigned) > 0 {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) { b.AddBytes(unsigned) })
		}
	})
	if info, err = b.Bytes(); err != nil {
		return nil, nil, err
	}
	digestAlgorithm, err = d.Bytes()
	return info, digestAlgorithm, err
}

// signerVersion is RFC 5652 section 5.3.
func (id Identifier) signerVersion() int64 {
	if len(id.KeyID) > 0 {
		return 3
	}
	return 1
}

type method struct {
	hash              crypto.Hash
	digest, signature algorithm
}

// method gives the algorithms for a key. The parameters of SHA-2 are absent
// (RFC 5754 section 2), those of rsaEncryption NULL (RFC 3370 section 3.2).
func (s Signer) method() (method, error) {
	m := method{hash: s.Hash}
	if s.Key == nil {
		return m, fmt.Errorf("%w: there is no key", ErrAlgorithm)
	}
	usual := crypto.SHA256
	public := s.Key.Public()
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Params().BitSize {
		case 384:
			usual = crypto.SHA384
		case 521:
			usual = crypto.SHA512
		}
	case ed25519.PublicKey:
		usual = crypto.SHA512
	}
	if m.hash == 0 {
		m.hash = usual
	}
	for _, known := range signatures {
		if known.hash != m.hash {
			continue
		}
		m.digest = algorithm{oid: known.digest}
		switch public.(type) {
		case *rsa.PublicKey:
			m.signature = algorithm{oid: idRSAEncryption, params: asn1NULL}
			return m, nil
		case *ecdsa.PublicKey:
			m.signature = algorithm{oid: known.ecdsa}
			return m, nil
		case ed25519.PublicKey:
			if m.hash == crypto.SHA512 {
				m.signature = algorithm{oid: idEd25519}
				return m, nil
			}
		}
	}
	return m, fmt.Errorf("%w: a key of type %T doesn't sign with %v", ErrAlgorithm, public, m.hash)
}

// attributes gives what is in signedAttrs.
func (s Signer) attributes(c Content, hash crypto.Hash) ([]byte, error) {
	list, err := contentAttributes(c, hash)
	if err != nil {
		return nil, err
	}
	if !s.Time.IsZero() {
		var b cryptobyte.Builder
		// RFC 5652 section 11.3: UTCTime through 2049.
		if at := s.Time.UTC(); at.Year() >= 1950 && at.Year() < 2050 {
			b.AddASN1UTCTime(at)
		} else {
			b.AddASN1GeneralizedTime(at)
		}
		value, err := b.Bytes()
		if err != nil {
			return nil, err
		}
		list = append(list, Attribute{Type: idSigningTime, Values: [][]byte{value}})
	}
	return marshalAttributes(list)
}

// contentAttributes are those that every content needs (RFC 5652 sections 11.1
// and 11.2).
func contentAttributes(c Content, hash crypto.Hash) ([]Attribute, error) {
	kind, err := contentType(c.Type)
	return []Attribute{kind, {Type: idMessageDigest, Values: [][]byte{octetString(digest(hash, c.Bytes))}}}, err
}

func contentType(kind string) (Attribute, error) {
	var b cryptobyte.Builder
	addOID(&b, kind)
	value, err := b.Bytes()
	return Attribute{Type: idContentType, Values: [][]byte{value}}, err
}

func (s Signer) signature(message []byte, hash crypto.Hash) ([]byte, error) {
	if _, ok := s.Key.Public().(ed25519.PublicKey); ok {
		return s.Key.Sign(rand.Reader, message, crypto.Hash(0))
	}
	return s.Key.Sign(rand.Reader, digest(hash, message), hash)
}

func octetString(content []byte) []byte {
	return append(appendHeader(nil, tagOctetString, len(content)), content...)
}
