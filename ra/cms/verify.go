// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
)

// Signed is a SignedData that nobody has verified. It gives nothing away but
// whose signatures it claims: the content comes from [Signed.Verify].
type Signed struct {
	content      Content
	certificates []*x509.Certificate
	signers      []signerInfo
}

// signerInfo is RFC 5652 section 5.3.
type signerInfo struct {
	id        Identifier
	digest    algorithm
	signed    cryptobyte.String // what is in signedAttrs
	hasSigned bool
	signature algorithm
	value     cryptobyte.String
	unsigned  []Attribute
}

// ReadSigned reads a SignedData with a content in it, in DER or BER, through
// [DER]. It verifies nothing. More than 8 signers, 64 certificates or 32
// attributes are an error. CRLs and attribute certificates are skipped.
func ReadSigned(message []byte) (*Signed, error) {
	s, err := readSigned(message)
	if err != nil {
		return nil, fmt.Errorf("signed message: %w", err)
	}
	return s, nil
}

func readSigned(message []byte) (*Signed, error) {
	body, err := ofPeer.open(message, IDSignedData)
	if err != nil {
		return nil, err
	}
	sd, err := readSignedData(body)
	if err != nil {
		return nil, err
	}
	s := new(Signed)
	if s.content, err = readEncapsulated(&sd.element); err != nil {
		return nil, err
	}
	if s.certificates, _, err = ofPeer.readCertificates(sd.certificates); err != nil {
		return nil, err
	}
	for n := 1; !sd.signers.Empty(); n++ {
		if n > maxSigners {
			return nil, fmt.Errorf("more than %d signers", maxSigners)
		}
		signer, err := readSignerInfo(&sd.signers)
		if err != nil {
			return nil, fmt.Errorf("signer %d: %w", n, err)
		}
		s.signers = append(s.signers, signer)
	}
	return s, nil
}

func readSignerInfo(s *cryptobyte.String) (signerInfo, error) {
	var info signerInfo
	var body, unsigned cryptobyte.String
	var version int64
	var hasUnsigned, ok bool
	if !s.ReadASN1(&body, der.SEQUENCE) || !body.ReadASN1Integer(&version) {
		return info, errors.New("it is no SignerInfo")
	}
	if version != 1 && version != 3 {
		return info, fmt.Errorf("version %d is unknown", version)
	}
	var err error
	if info.id, err = readIdentifier(&body); err != nil {
		return info, err
	}
	if info.digest, ok = readAlgorithm(&body, der.SEQUENCE); !ok {
		return info, errors.New("the digest algorithm is malformed")
	}
	if !body.ReadOptionalASN1(&info.signed, &info.hasSigned, explicit(0)) {
		return info, errors.New("the signed attributes are malformed")
	}
	if info.signature, ok = readAlgorithm(&body, der.SEQUENCE); !ok {
		return info, errors.New("the signature algorithm is malformed")
	}
	if !body.ReadASN1(&info.value, der.OCTET_STRING) || !body.ReadOptionalASN1(&unsigned, &hasUnsigned, explicit(1)) || !body.Empty() {
		return info, errors.New("what follows the signature algorithm is malformed")
	}
	if hasUnsigned {
		if info.unsigned, err = readAttributes(unsigned); err != nil {
			return info, fmt.Errorf("unsigned attributes: %w", err)
		}
	}
	return info, nil
}

// Signers gives whose signatures the message claims to have.
func (s *Signed) Signers() []Identifier {
	ids := make([]Identifier, len(s.signers))
	for i, signer := range s.signers {
		ids[i] = signer.id
	}
	return ids
}

// Unverified is what there is to find a signer's key by. Nothing in it is
// verified, and it is for nothing else.
type Unverified struct {
	Signer       Identifier
	Certificates []*x509.Certificate
	// Content may hold the key: a CMC request is signed with the key that it
	// asks a certificate for (RFC 5272 section 3.2).
	Content Content
}

// SignerKey is a key to verify with, and the certificate that it comes from,
// where there is one. Whether it is trusted is the caller's to decide.
type SignerKey struct {
	Public      crypto.PublicKey
	Certificate *x509.Certificate
}

// FindKey finds the key of a signer.
type FindKey func(Unverified) (SignerKey, error)

// FindCertificate finds the signer's certificate in the message or among more.
func FindCertificate(more ...*x509.Certificate) FindKey {
	return func(u Unverified) (SignerKey, error) {
		for _, list := range [][]*x509.Certificate{more, u.Certificates} {
			for _, c := range list {
				if u.Signer.Names(c) {
					return SignerKey{Public: c.PublicKey, Certificate: c}, nil
				}
			}
		}
		return SignerKey{}, fmt.Errorf("no certificate has the signer's %v", u.Signer)
	}
}

// Verified is the content of a message whose signatures, or whose MAC, have
// been verified: [Signed.Verify] and [Authenticated.Verify] alone make one with
// a content. The zero value holds nothing.
type Verified struct {
	content      Content
	certificates []*x509.Certificate
	signers      []VerifiedSigner
	unsigned     []Attribute
}

// VerifiedSigner is a signature that was verified.
type VerifiedSigner struct {
	ID        Identifier
	Key       SignerKey
	Algorithm string      // as csr.SignatureAlgorithm.Name has it: "ECDSA-SHA256"
	Signed    []Attribute // none where the message has none, which needs IDData
	Unsigned  []Attribute // covered by no signature
	Time      time.Time   // signing-time (RFC 5652 section 11.3), or zero
}

// Content is what was signed, or authenticated.
func (v *Verified) Content() Content { return v.content }

// Certificates are those in the message. No signature covers the set.
func (v *Verified) Certificates() []*x509.Certificate { return v.certificates }

// Signers is empty for an AuthenticatedData.
func (v *Verified) Signers() []VerifiedSigner { return v.signers }

// Unsigned are the unsigned attributes of the first signer, or the
// unauthenticated ones of an AuthenticatedData. Nothing covers them.
func (v *Verified) Unsigned() []Attribute { return v.unsigned }

// Verify verifies the signature of every signer (RFC 5652 section 5.6), of
// which there must be one, with the keys that find gives. Accepted are RSA
// PKCS #1 v1.5 and PSS and ECDSA with SHA-256, SHA-384 or SHA-512, and Ed25519
// with SHA-512 (RFC 8419). Signed attributes must be there unless the content
// is [IDData]. The error is [ErrVerify], [ErrAlgorithm] or that of find,
// wrapped, or says what is malformed.
func (s *Signed) Verify(find FindKey) (*Verified, error) {
	if len(s.signers) == 0 {
		return nil, fmt.Errorf("signed message: %w: nobody has signed it", ErrVerify)
	}
	v := &Verified{content: s.content, certificates: s.certificates, unsigned: s.signers[0].unsigned}
	for i := range s.signers {
		signer, err := s.verify(&s.signers[i], find)
		if err != nil {
			return nil, fmt.Errorf("signed message: signer %d: %w", i+1, err)
		}
		v.signers = append(v.signers, signer)
	}
	return v, nil
}

func (s *Signed) verify(info *signerInfo, find FindKey) (VerifiedSigner, error) {
	v := VerifiedSigner{ID: info.id, Unsigned: info.unsigned}
	hash, err := info.digest.hash()
	if err != nil {
		return v, err
	}
	algorithm, err := info.signature.forSignature(hash)
	if err != nil {
		return v, err
	}
	v.Algorithm = algorithm.Name()
	message := s.content.Bytes
	if info.hasSigned {
		if v.Signed, v.Time, err = s.signedAttributes(info.signed, hash); err != nil {
			return v, err
		}
		message = asSet(info.signed)
	} else if err := s.bare(); err != nil {
		return v, err
	}
	if v.Key, err = find(Unverified{Signer: info.id, Certificates: s.certificates, Content: s.content}); err != nil {
		return v, err
	}
	err = algorithm.Verify(v.Key.Public, message, info.value)
	switch {
	case errors.Is(err, csr.ErrSignature):
		return v, fmt.Errorf("%w: the signature is wrong", ErrVerify)
	case err != nil:
		return v, fmt.Errorf("%w: %w", ErrAlgorithm, err)
	}
	return v, nil
}

// signedAttributes reads the signed attributes and holds them to the content.
// They must be in DER even where the message is in BER (RFC 5652 section 5.3).
func (s *Signed) signedAttributes(set cryptobyte.String, hash crypto.Hash) ([]Attribute, time.Time, error) {
	list, err := readAttributes(set)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("signed attributes: %w", err)
	}
	if !sorted(set) {
		return nil, time.Time{}, errors.New("signed attributes: they are not in the order of DER")
	}
	if err := checkAttributes(list, s.content.Type, digest(hash, s.content.Bytes)); err != nil {
		return nil, time.Time{}, fmt.Errorf("signed attributes: %w", err)
	}
	at, err := signingTime(list)
	return list, at, err
}

// bare allows a signature without signed attributes. A signature over signed
// attributes is one over a content of the same bytes as well: so a content that
// reads as attributes is none.
func (s *Signed) bare() error {
	if s.content.Type != IDData {
		return fmt.Errorf("a content of type %s needs signed attributes", nameOf(s.content.Type))
	}
	if readsAsAttributes(s.content.Bytes) {
		return fmt.Errorf("%w: the content is a set of signed attributes", ErrVerify)
	}
	return nil
}

func readsAsAttributes(content cryptobyte.String) bool {
	var set cryptobyte.String
	if !content.ReadASN1(&set, der.SET) {
		return false
	}
	_, err := readAttributes(set)
	return err == nil
}

func signingTime(list []Attribute) (time.Time, error) {
	if _, ok := attribute(list, idSigningTime); !ok {
		return time.Time{}, nil
	}
	value, err := singleValue(list, idSigningTime, "signing-time")
	if err != nil {
		return time.Time{}, err
	}
	var at time.Time
	if value.PeekASN1Tag(der.UTCTime) && value.ReadASN1UTCTime(&at) || value.ReadASN1GeneralizedTime(&at) {
		if value.Empty() {
			return at, nil
		}
	}
	return time.Time{}, errors.New("the signing-time attribute is malformed")
}
