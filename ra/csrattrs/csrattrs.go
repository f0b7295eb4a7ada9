// SPDX-License-Identifier: Apache-2.0

// Package csrattrs writes and reads the body of /csrattrs: RFC 7030 section
// 4.5.2, as replaced by RFC 8951 section 4 and made precise by RFC 9908.
//
//	CsrAttrs  ::= SEQUENCE SIZE (0..MAX) OF AttrOrOID
//	AttrOrOID ::= CHOICE { oid OBJECT IDENTIFIER, attribute Attribute }
//	Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET OF ANY }
package csrattrs

import (
	"encoding/asn1"
	"encoding/hex"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// An AttrOrOID is one element of the list: a bare OID, or an attribute with
// values.
type AttrOrOID struct {
	// OID is the bare OID, or the attribute's type.
	OID asn1.ObjectIdentifier
	// Attribute tells an attribute, which may have no values, from a bare OID.
	Attribute bool
	// Values are the attribute's values, each as DER, in the order sent.
	Values [][]byte
}

// String gives the OID, and an attribute's values as OIDs where they are
// ones, else in hex: "1.2.840.10045.2.1 {1.3.132.0.34}".
func (a AttrOrOID) String() string {
	if !a.Attribute {
		return a.OID.String()
	}
	values := make([]string, len(a.Values))
	for i, v := range a.Values {
		values[i] = hex.EncodeToString(v)
		if oid, ok := parseOID(v); ok {
			values[i] = oid.String()
		}
	}
	return a.OID.String() + " {" + strings.Join(values, " ") + "}"
}

// oidExtensionReq is id-ExtensionReq, the pkcs-9-at-extensionRequest of RFC
// 2985 section 5.4.2.
var oidExtensionReq = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}

// Key types: the algorithm of a SubjectPublicKeyInfo (RFC 3279 section 2.3,
// RFC 8410 section 3).
var keyTypes = map[csr.KeyAlgorithm]asn1.ObjectIdentifier{
	csr.RSA:     {1, 2, 840, 113549, 1, 1, 1},
	csr.ECDSA:   {1, 2, 840, 10045, 2, 1},
	csr.Ed25519: {1, 3, 101, 112},
}

// Named curves (RFC 5480 section 2.1.1.1).
var curves = map[string]asn1.ObjectIdentifier{
	"P-256": {1, 2, 840, 10045, 3, 1, 7},
	"P-384": {1, 3, 132, 0, 34},
	"P-521": {1, 3, 132, 0, 35},
}
