// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
)

// Content types, in dotted form.
const (
	IDData              = "1.2.840.113549.1.7.1"       // RFC 5652 section 4
	IDSignedData        = "1.2.840.113549.1.7.2"       // RFC 5652 section 5.1
	IDEnvelopedData     = "1.2.840.113549.1.7.3"       // RFC 5652 section 6.1
	IDAuthenticatedData = "1.2.840.113549.1.9.16.1.2"  // RFC 5652 section 9.1
	IDAuthEnvelopedData = "1.2.840.113549.1.9.16.1.23" // RFC 5083 section 2.1
	IDKeyPackage        = "2.16.840.1.101.2.1.2.78.5"  // RFC 5958 section 2
	IDPKIData           = "1.3.6.1.5.5.7.12.2"         // RFC 5272 section 3.2.1
	IDPKIResponse       = "1.3.6.1.5.5.7.12.3"         // RFC 5272 section 4.2.1
	IDUnsignedData      = "1.2.840.113549.1.9.16.2.34" // RFC 5272 section 3.2.3: an attribute
	idContentType       = "1.2.840.113549.1.9.3"       // RFC 5652 section 11.1
	idMessageDigest     = "1.2.840.113549.1.9.4"       // RFC 5652 section 11.2
	idSigningTime       = "1.2.840.113549.1.9.5"       // RFC 5652 section 11.3
)

// Bounds of lists in what is read.
const (
	maxCertificates = 64
	maxSigners      = 8
	maxRecipients   = 16
	maxAttributes   = 32 // and values of one
)

var (
	// ErrVerify is a signature, a MAC or a digest that is not that of the
	// message (to CMC: badMessageCheck).
	ErrVerify = errors.New("the message does not verify")
	// ErrAlgorithm is a message by an algorithm, or with a key, that is not
	// accepted (to CMC: badAlg).
	ErrAlgorithm = errors.New("an algorithm is not accepted")
)

// Content is what a message carries: the type, dotted, and the octets of
// eContent (RFC 5652 section 5.2).
type Content struct {
	Type  string
	Bytes []byte
}

// Attribute is RFC 5652 section 5.3. Type is dotted, each value an element in
// DER.
type Attribute struct {
	Type   string
	Values [][]byte
}

// Identifier names a certificate or a key, by issuer and serial number or by
// subject key identifier (RFC 5652 section 5.3, SignerIdentifier; section
// 6.2.1, RecipientIdentifier).
type Identifier struct {
	Issuer []byte // a Name in DER, with Serial
	Serial *big.Int
	KeyID  []byte // or this
}

// IssuerAndSerial names a certificate.
func IssuerAndSerial(c *x509.Certificate) Identifier {
	return Identifier{Issuer: c.RawIssuer, Serial: c.SerialNumber}
}

// SubjectKeyID names a key by the value of the subjectKeyIdentifier extension.
func SubjectKeyID(id []byte) Identifier { return Identifier{KeyID: id} }

// Names says whether this is the identifier of a certificate.
func (id Identifier) Names(c *x509.Certificate) bool {
	if len(id.KeyID) > 0 {
		return bytes.Equal(id.KeyID, c.SubjectKeyId)
	}
	return id.Serial != nil && c.SerialNumber != nil && id.Serial.Cmp(c.SerialNumber) == 0 && bytes.Equal(id.Issuer, c.RawIssuer)
}

// String gives "serial number 4711" or "key identifier 0a1b".
func (id Identifier) String() string {
	if len(id.KeyID) > 0 {
		return "key identifier " + hex.EncodeToString(id.KeyID)
	}
	return fmt.Sprintf("serial number %v", id.Serial)
}

// check wants one of the two forms.
func (id Identifier) check() error {
	if len(id.KeyID) > 0 == (id.Serial != nil && len(id.Issuer) > 0) {
		return errors.New("an identifier is issuer and serial number, or a key identifier")
	}
	return nil
}

// ContentType gives the type of a message (RFC 5652 section 3), dotted. The
// message is looked at as [DER] does, and no further.
func ContentType(message []byte) (string, error) {
	message, err := DER(message)
	if err != nil {
		return "", err
	}
	kind, _, err := readContentInfo(message)
	return kind, err
}

// readContentInfo reads a ContentInfo in DER.
func readContentInfo(message cryptobyte.String) (kind string, content cryptobyte.String, err error) {
	var info cryptobyte.String
	if !message.ReadASN1(&info, der.SEQUENCE) || !readOID(&info, &kind) || !info.ReadASN1(&content, explicit(0)) || !info.Empty() {
		return "", nil, errors.New("it is no ContentInfo")
	}
	return kind, content, nil
}

// names of content types, for messages.
var names = map[string]string{
	IDData: "data", IDSignedData: "SignedData", IDEnvelopedData: "EnvelopedData", IDAuthenticatedData: "AuthenticatedData",
	IDAuthEnvelopedData: "AuthEnvelopedData", IDKeyPackage: "a key package", IDPKIData: "PKIData", IDPKIResponse: "PKIResponse",
}

func nameOf(kind string) string {
	if name, ok := names[kind]; ok {
		return name
	}
	return kind
}

// open reads the content of a message of one type.
func (most bounds) open(message []byte, want string) (cryptobyte.String, error) {
	message, err := most.der(message)
	if err != nil {
		return nil, err
	}
	kind, content, err := readContentInfo(message)
	if err != nil {
		return nil, err
	}
	if kind != want {
		return nil, fmt.Errorf("its content type is %s, want %s", nameOf(kind), nameOf(want))
	}
	return content, nil
}

func explicit(n uint8) der.Tag { return der.Tag(n).ContextSpecific().Constructed() }
func implicit(n uint8) der.Tag { return der.Tag(n).ContextSpecific() }

func readOID(s *cryptobyte.String, into *string) bool {
	var oid asn1.ObjectIdentifier
	if !s.ReadASN1ObjectIdentifier(&oid) {
		return false
	}
	*into = oid.String()
	return true
}

// addOID appends a dotted OID.
func addOID(b *cryptobyte.Builder, dotted string) {
	oid, ok := csr.TypeOID(dotted)
	if !ok {
		b.SetError(fmt.Errorf("%q is no object identifier", dotted))
		return
	}
	b.AddASN1ObjectIdentifier(oid)
}

// An algorithm is an AlgorithmIdentifier; params is a whole element, or empty.
type algorithm struct {
	oid    string
	params []byte
}

// asn1NULL is NULL, DER.
var asn1NULL = []byte{5, 0}

// plain says that there are no parameters, or NULL, which many algorithms
// allow as well (RFC 4055 section 2.1, RFC 5754 section 2).
func (a algorithm) plain() bool { return len(a.params) == 0 || bytes.Equal(a.params, asn1NULL) }

func readAlgorithm(s *cryptobyte.String, tag der.Tag) (algorithm, bool) {
	var a algorithm
	var body, params cryptobyte.String
	if !s.ReadASN1(&body, tag) || !readOID(&body, &a.oid) {
		return a, false
	}
	if body.Empty() {
		return a, true
	}
	if !body.ReadAnyASN1Element(&params, nil) || !body.Empty() {
		return a, false
	}
	a.params = params
	return a, true
}

func (a algorithm) add(b *cryptobyte.Builder, tag der.Tag) {
	b.AddASN1(tag, func(b *cryptobyte.Builder) {
		addOID(b, a.oid)
		b.AddBytes(a.params)
	})
}

// contentInfo wraps a content in a ContentInfo.
func contentInfo(kind string, content func(*cryptobyte.Builder)) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, kind)
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, content)
		})
	})
	return b.Bytes()
}

// readEncapsulated reads an EncapsulatedContentInfo (RFC 5652 section 5.2)
// whose content is there.
func readEncapsulated(s *cryptobyte.String) (Content, error) {
	var body, wrapped, octets cryptobyte.String
	var c Content
	if !s.ReadASN1(&body, der.SEQUENCE) || !readOID(&body, &c.Type) {
		return c, errors.New("encapContentInfo: it has no content type")
	}
	if body.Empty() {
		return c, errors.New("encapContentInfo: the content is not in the message")
	}
	if !body.ReadASN1(&wrapped, explicit(0)) || !body.Empty() || !wrapped.ReadASN1(&octets, der.OCTET_STRING) || !wrapped.Empty() {
		return c, errors.New("encapContentInfo: the content is no OCTET STRING")
	}
	c.Bytes = octets
	return c, nil
}

func (c Content) add(b *cryptobyte.Builder) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, c.Type)
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddASN1OctetString(c.Bytes) })
	})
}

// readIdentifier reads a SignerIdentifier or a RecipientIdentifier.
func readIdentifier(s *cryptobyte.String) (Identifier, error) {
	var id Identifier
	var content cryptobyte.String
	if s.PeekASN1Tag(implicit(0)) {
		if !s.ReadASN1(&content, implicit(0)) || len(content) == 0 || len(content) > maxKeyID {
			return id, fmt.Errorf("a key identifier has 1 to %d bytes", maxKeyID)
		}
		id.KeyID = content
		return id, nil
	}
	return readIssuerAndSerial(s)
}

// maxKeyID is generous: that of a certificate has 20 bytes mostly.
const maxKeyID = 128

func readIssuerAndSerial(s *cryptobyte.String) (Identifier, error) {
	var body, issuer cryptobyte.String
	id := Identifier{Serial: new(big.Int)}
	if !s.ReadASN1(&body, der.SEQUENCE) || !body.ReadASN1Element(&issuer, der.SEQUENCE) || !body.ReadASN1Integer(id.Serial) || !body.Empty() {
		return id, errors.New("neither issuer and serial number nor a key identifier")
	}
	id.Issuer = issuer
	return id, nil
}

func (id Identifier) add(b *cryptobyte.Builder) {
	if err := id.check(); err != nil {
		b.SetError(err)
		return
	}
	if len(id.KeyID) > 0 {
		b.AddASN1(implicit(0), func(b *cryptobyte.Builder) { b.AddBytes(id.KeyID) })
		return
	}
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(id.Issuer)
		b.AddASN1BigInt(id.Serial)
	})
}
