// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // for the signatures below
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
)

// A Template is what a certification request says beside its key.
type Template struct {
	Names csr.Names
	// SANCritical makes the SAN critical, as it is to be where the subject is
	// empty (RFC 5280 section 4.2.1.6).
	SANCritical bool
	// Extensions are those beyond the SAN.
	Extensions []csr.Extension
	// Attributes are those beyond extensionRequest and challengePassword.
	Attributes []csr.Attribute
	// Signature is the signature scheme, where the key can do it; nil, and
	// one that it can't do: the usual one for the key.
	Signature asn1.ObjectIdentifier
	// LinkBy is the attribute for the channel binding: challengePassword, or
	// estIdentityLinking of RFC 7894. Nil is challengePassword.
	LinkBy asn1.ObjectIdentifier
}

// RFC 2985 sections 5.4.1 and 5.4.2, RFC 5280 section 4.2.1.6.
var (
	oidChallengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	oidExtensionRequest  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidSubjectAltName    = asn1.ObjectIdentifier{2, 5, 29, 17}
)

// Request makes a CertificationRequest (RFC 2986) in DER, signed by key: RSA
// (PKCS #1 v1.5), ECDSA on P-256, P-384 or P-521, or Ed25519. Challenge goes
// into the attribute t.LinkBy; empty means that the attribute is left out. crypto/x509 isn't used, since it can't write that attribute as
// RFC 2985 wants it.
func Request(random io.Reader, key crypto.Signer, t Template, challenge string) ([]byte, error) {
	if key == nil {
		return nil, errors.New("certification request: no key")
	}
	info, err := requestInfo(key.Public(), t, challenge)
	if err != nil {
		return nil, fmt.Errorf("certification request: %w", err)
	}
	scheme, err := schemeFor(key.Public(), t.Signature)
	if err != nil {
		return nil, fmt.Errorf("certification request: %w", err)
	}
	signature, err := scheme.sign(random, key, info)
	if err != nil {
		return nil, fmt.Errorf("certification request: signing: %w", err)
	}
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(info)
		scheme.add(b)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// requestInfo is the CertificationRequestInfo: what is signed.
func requestInfo(public crypto.PublicKey, t Template, challenge string) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	subject, err := t.Names.Subject.MarshalDER()
	if err != nil {
		return nil, err
	}
	list, err := attributesOf(t, challenge)
	if err != nil {
		return nil, err
	}
	attributes, err := encode(list)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0) // v1
		b.AddBytes(subject)
		b.AddBytes(spki)
		b.AddASN1(tag.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			for _, a := range attributes {
				b.AddBytes(a)
			}
		})
	})
	return b.Bytes()
}

func attributesOf(t Template, challenge string) ([]csr.Attribute, error) {
	var attributes []csr.Attribute
	value, err := t.extensions()
	if err != nil {
		return nil, err
	}
	if value != nil {
		attributes = append(attributes, csr.Attribute{Type: oidExtensionRequest, Values: [][]byte{value}})
	}
	rest, err := t.otherAttributes(challenge)
	return append(attributes, rest...), err
}

// extensions are the SAN and all others, as a SEQUENCE OF Extension; nil where
// there are none.
func (t Template) extensions() ([]byte, error) {
	extensions := t.Extensions
	if t.Names.HasSAN || len(t.Names.SAN) > 0 {
		san, err := csr.MarshalSAN(t.Names.SAN)
		if err != nil {
			return nil, err
		}
		extensions = append([]csr.Extension{{ID: oidSubjectAltName, Critical: t.SANCritical, Value: san}}, extensions...)
	}
	if len(extensions) == 0 {
		return nil, nil
	}
	return csr.MarshalExtensions(extensions)
}

// otherAttributes are those that hold no extensions.
func (t Template) otherAttributes(challenge string) ([]csr.Attribute, error) {
	var attributes []csr.Attribute
	if challenge != "" {
		// RFC 7030 section 3.5: base64, at most 255 bytes.
		value, err := asn1.MarshalWithParams(challenge, "printable")
		if err != nil {
			return nil, err
		}
		by := t.LinkBy
		if by == nil {
			by = oidChallengePassword
		}
		attributes = append(attributes, csr.Attribute{Type: by, Values: [][]byte{value}})
	}
	return append(attributes, t.Attributes...), nil
}

// encode gives the attributes in the order of a DER SET OF (X.690 section
// 11.6).
func encode(list []csr.Attribute) ([][]byte, error) {
	encoded := make([][]byte, len(list))
	for i, a := range list {
		var b cryptobyte.Builder
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(a.Type)
			b.AddASN1(tag.SET, func(b *cryptobyte.Builder) {
				for _, v := range a.Values {
					b.AddBytes(v)
				}
			})
		})
		der, err := b.Bytes()
		if err != nil {
			return nil, err
		}
		encoded[i] = der
	}
	slices.SortFunc(encoded, bytes.Compare)
	return encoded, nil
}

// A scheme is a signature algorithm with its identifier.
type scheme struct {
	oid    asn1.ObjectIdentifier
	null   bool // RSA's parameters are NULL (RFC 4055 section 5)
	digest crypto.Hash
	pss    bool // parameters as in RFC 4055 section 3.1, for SHA-256
}

// schemeOf picks the usual scheme for a key: RFC 4055, RFC 5758 section 3.2,
// RFC 8410.
func schemeOf(public crypto.PublicKey) (scheme, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return rsaSchemes[0], nil
	case ed25519.PublicKey:
		return scheme{asn1.ObjectIdentifier{1, 3, 101, 112}, false, 0, false}, nil
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return ecdsaSchemes[0], nil
		case 384:
			return ecdsaSchemes[1], nil
		case 521:
			return ecdsaSchemes[2], nil
		}
	}
	return scheme{}, fmt.Errorf("cannot sign with a key of type %T", public)
}

// schemes are those that a server can ask for, by the kind of key: RFC 8017
// appendix A.2.4, RFC 5758 section 3.2.
var (
	rsaSchemes = []scheme{
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, true, crypto.SHA256, false},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, true, crypto.SHA384, false},
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, true, crypto.SHA512, false},
		// A bare OID can't name the hash: SHA-256, as everybody has it.
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 10}, false, crypto.SHA256, true},
	}
	ecdsaSchemes = []scheme{
		{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, false, crypto.SHA256, false},
		{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, false, crypto.SHA384, false},
		{asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, false, crypto.SHA512, false},
	}
)

// schemeFor is the wanted scheme where the key can do it, else the usual one.
func schemeFor(public crypto.PublicKey, wanted asn1.ObjectIdentifier) (scheme, error) {
	usual, err := schemeOf(public)
	if err != nil {
		return scheme{}, err
	}
	var can []scheme
	switch public.(type) {
	case *rsa.PublicKey:
		can = rsaSchemes
	case *ecdsa.PublicKey:
		can = ecdsaSchemes
	}
	if i := slices.IndexFunc(can, func(s scheme) bool { return s.oid.Equal(wanted) }); i >= 0 {
		return can[i], nil
	}
	return usual, nil
}

// pssSHA256 are the parameters of RSASSA-PSS with SHA-256, MGF1 with SHA-256
// and a salt of 32 bytes (RFC 4055 section 3.1).
var pssSHA256 = []byte{
	0x30, 0x34,
	0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
	0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08,
	0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
	0xa2, 0x03, 0x02, 0x01, 0x20,
}

func (s scheme) add(b *cryptobyte.Builder) {
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(s.oid)
		if s.null {
			b.AddASN1NULL()
		}
		if s.pss {
			b.AddBytes(pssSHA256)
		}
	})
}

// sign signs the message; Ed25519 takes it whole (RFC 8410 section 6).
func (s scheme) sign(random io.Reader, key crypto.Signer, message []byte) ([]byte, error) {
	if s.digest == 0 {
		return key.Sign(random, message, crypto.Hash(0))
	}
	h := s.digest.New()
	_, _ = h.Write(message)
	var options crypto.SignerOpts = s.digest
	if s.pss {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.digest}
	}
	return key.Sign(random, h.Sum(nil), options)
}
