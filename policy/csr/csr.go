// SPDX-License-Identifier: Apache-2.0

// Package csr is a lossless view of a certification request, a PKCS #10 (RFC
// 2986) or a CRMF template (RFC 4211), and of the names in a certificate.
//
// Parse keeps every RDN, every attribute, every extension and every
// GeneralName just as they were encoded. What crypto/x509 leaves out without
// a word (otherName, directoryName, registeredID, repeated and unknown RDNs)
// is here in full, so that what is decided upon is what was asked.
package csr

import "encoding/asn1"

// A Request is a decoded certification request. Nothing in it has been
// verified: call [Request.CheckPOP] for the signature.
type Request struct {
	Raw        []byte // the whole CertificationRequest (of a CRMF request, CertReqMsg), DER
	RawInfo    []byte // CertificationRequestInfo (CertRequest): what the signature covers
	RawSubject []byte // Name, DER
	RawSPKI    []byte // SubjectPublicKeyInfo, DER

	Version    int // 0 is v1, the only one RFC 2986 knows
	Names      Names
	Key        Key
	Attributes []Attribute // all but extensionRequest, in the order sent
	Extensions []Extension // from extensionRequest, in the order sent; the SAN among them

	SignatureOID asn1.ObjectIdentifier
	// SignatureParams is the DER of the signature algorithm's parameters,
	// empty when they are absent.
	SignatureParams []byte
	Signature       []byte

	form     Form   // PKCS10 but for what FromCRMF made
	original *Names // of what Changed made
	restored string // the signature's name, of a request that Restore made
}

// Names is everything in a request or a certificate that names its subject.
type Names struct {
	Subject Name
	SAN     []GeneralName
	// HasSAN tells a SAN extension from none: RFC 7030 section 4.2.2 wants
	// its presence to be the same on renewal.
	HasSAN bool
}

// A Name is an RDNSequence (RFC 5280 section 4.1.2.4), in the order encoded.
type Name []RDN

// An RDN is one RelativeDistinguishedName: a SET, so usually one attribute.
type RDN []AttributeValue

// An AttributeValue is one AttributeTypeAndValue.
type AttributeValue struct {
	Type asn1.ObjectIdentifier
	// Tag is the identifier octet of the value. For a string type that is
	// its universal tag: 12 UTF8String, 19 PrintableString, 22 IA5String and
	// so on. 0 in a value that we made.
	Tag int
	// Raw is the value with tag and length. Empty in a value that we made:
	// the encoder then picks the tag.
	Raw []byte
	// Value is the text of a string type. Text is false, and Value empty,
	// when the value isn't a string, holds bytes that its type doesn't
	// allow, or holds a control character.
	Value string
	Text  bool
}

// NameForm is the context tag of a GeneralName (RFC 5280 section 4.2.1.6).
type NameForm uint8

// The forms of GeneralName, by their tags.
const (
	OtherName     NameForm = 0
	Email         NameForm = 1 // rfc822Name
	DNS           NameForm = 2
	X400Address   NameForm = 3
	DirectoryName NameForm = 4
	EDIParty      NameForm = 5
	URI           NameForm = 6
	IP            NameForm = 7
	RegisteredID  NameForm = 8
)

// A GeneralName is one entry of a subjectAltName.
type GeneralName struct {
	Form NameForm
	// Raw is the whole GeneralName with its context tag.
	Raw []byte
	// Value is the name as text, which [NewName] and [NewOtherName] read:
	//
	//	Email, DNS, URI      as sent
	//	IP                   netip form, so an IPv4-mapped IPv6 address stays one
	//	RegisteredID         dotted
	//	DirectoryName        as [Name.String] has it
	//	OtherName            by its type: see [NewOtherName]
	//
	// It is empty where there is no such text: for X400Address, EDIParty, a
	// directoryName without RDNs, and an otherName whose content isn't that
	// of its type.
	Value string
	// TypeID is the type-id of an otherName.
	TypeID asn1.ObjectIdentifier
}

// An Attribute is a PKCS #10 attribute with all its values.
type Attribute struct {
	Type   asn1.ObjectIdentifier
	Values [][]byte // each value's DER
}

// An Extension is an X.509 extension, requested or planned.
type Extension struct {
	ID       asn1.ObjectIdentifier
	Critical bool
	Value    []byte // the content of extnValue, DER
}

// A Key is what a policy asks about a public key.
type Key struct {
	Algorithm KeyAlgorithm
	Bits      int    // RSA modulus length; curve size for ECDSA
	Curve     string // "P-256" and so on; empty but for ECDSA
	Exponent  int    // RSA public exponent; 0 if it doesn't fit an int
	Public    any    // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or nil when unknown
}

// KeyAlgorithm is the kind of a public key.
type KeyAlgorithm string

// The algorithms a policy can name. Any other key has UnknownKey and is
// never accepted.
const (
	UnknownKey KeyAlgorithm = ""
	RSA        KeyAlgorithm = "rsa"
	ECDSA      KeyAlgorithm = "ecdsa"
	Ed25519    KeyAlgorithm = "ed25519"
)
