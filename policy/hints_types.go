// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"

	"github.com/caddy-est/estra/policy/csr"
)

// Hints is what /csrattrs must say about a profile (RFC 7030 section 4.5). It
// is made from the same compiled rules as Decide: a request of this shape,
// with values that the profile takes, gets no finding except from who and
// checks.
type Hints struct {
	// Off: the operation answers 404.
	Off bool
	// Format says which forms the answer has.
	Format HintFormat
	// Keys are the key types in order of preference.
	Keys []KeyHint
	// AnyKey says that the policy writes no keys: they are accepted as the
	// defaults are, and Keys and Signature are for a list that would be empty.
	AnyKey bool
	// Signature is the signature scheme that goes with the first key, or nil.
	Signature asn1.ObjectIdentifier
	// Linking are the attributes for the channel binding (RFC 7030 section
	// 3.5, RFC 7894 section 3.3), where an operation requires one.
	Linking []asn1.ObjectIdentifier
	// Attributes are other PKCS #10 attributes that the request must have.
	Attributes []asn1.ObjectIdentifier
	// Extensions are extensions with complete values that the request is to
	// have: an id-ExtensionReq in the list. The SAN is among them where the
	// policy sets every name of it.
	Extensions []csr.Extension

	// What follows is for the template alone.

	// Subject are the RDNs that are expected; none: the subject is free.
	Subject []RDNHint
	// SAN are the names that are expected in the SAN. SANCritical goes with
	// an empty subject (RFC 5280 section 4.2.1.6).
	SAN         []NameHint
	SANCritical bool
	// KeyUsage and ExtKeyUsage are those of the certificate. Zero and none:
	// any.
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []asn1.ObjectIdentifier
	// Planned are further extensions that every certificate has.
	Planned []csr.Extension
	// Required are further extensions that must be there, with a value of
	// the client's.
	Required []asn1.ObjectIdentifier
}

// HintFormat is the form in which /csrattrs answers.
type HintFormat uint8

// The forms. A client that knows both must use the template and ignore the
// rest (RFC 9908 section 4).
const (
	HintList     HintFormat = iota // RFC 7030 section 4.5.2, as corrected by RFC 8951 and RFC 9908
	HintTemplate                   // RFC 9908 section 3.4
	HintBoth
)

// A KeyHint is one acceptable key.
type KeyHint struct {
	Algorithm csr.KeyAlgorithm
	Bits      int    // RSA
	Curve     string // ECDSA
}

// An RDNHint is one expected RDN: a single attribute, save where the policy
// puts several together.
type RDNHint []AttributeHint

// An AttributeHint is an expected attribute of the subject.
type AttributeHint struct {
	Type asn1.ObjectIdentifier
	// Value is the one value that there can be; empty: it is the client's.
	Value string
}

// A NameHint is an expected name in the SAN.
type NameHint struct {
	Form csr.NameForm
	// TypeID is that of an otherName.
	TypeID asn1.ObjectIdentifier
	// Raw is the whole GeneralName where there can be only one; none: it is
	// the client's.
	Raw []byte
}
