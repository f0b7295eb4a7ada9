// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"encoding/asn1"
	"slices"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// Wanted is what a server asks for, in whichever form it says it.
type Wanted struct {
	// FromTemplate tells that a template said it.
	FromTemplate bool
	Subject      []RDN
	// Keys are the keys in the server's order; none: any.
	Keys       []policy.KeyHint
	Extensions []Extension
	// Attributes are PKCS #10 attributes. One without values is the
	// client's to fill in.
	Attributes []csr.Attribute
	// Signature is the scheme; nil: any. A template has no field for it.
	Signature asn1.ObjectIdentifier
}

// Asks says whether an attribute is wanted.
func (w Wanted) Asks(oid asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(w.Attributes, func(a csr.Attribute) bool { return a.Type.Equal(oid) })
}

// Read says what a list wants. Where it has a template, nothing else in it
// counts (RFC 9908 section 4). A malformed template, or extensions in neither
// of the forms that are out there, are an error.
func Read(list []AttrOrOID) (Wanted, error) {
	for _, a := range list {
		if a.Attribute && a.OID.Equal(oidTemplate) && len(a.Values) > 0 {
			return readTemplate(a.Values[0])
		}
	}
	w := Wanted{Keys: Keys(list)}
	for _, a := range list {
		if err := w.element(a); err != nil {
			return Wanted{}, err
		}
	}
	return w, nil
}

func readTemplate(der []byte) (Wanted, error) {
	t, err := ParseTemplate(der)
	if err != nil {
		return Wanted{}, err
	}
	w := Wanted{FromTemplate: true, Subject: t.Subject, Extensions: t.Extensions, Attributes: t.Attributes}
	if t.Key != nil {
		if hint, ok := t.Key.Hint(); ok {
			w.Keys = []policy.KeyHint{hint}
		}
	}
	return w, nil
}

// element reads one element of the list.
func (w *Wanted) element(a AttrOrOID) error {
	switch {
	case a.OID.Equal(oidTemplate):
		return nil // without a value
	case a.Attribute && a.OID.Equal(oidExtensionReq):
		return w.extensionReq(a.Values)
	case isKeyType(a.OID):
		// Read by Keys. The OID of Ed25519 is that of its signature too.
		if !a.Attribute && isSignature(a.OID) && w.Signature == nil {
			w.Signature = a.OID
		}
		return nil
	case isSignature(a.OID):
		if w.Signature == nil {
			w.Signature = a.OID
		}
		return nil
	}
	if !w.Asks(a.OID) {
		w.Attributes = append(w.Attributes, csr.Attribute{Type: a.OID, Values: a.Values})
	}
	return nil
}

// extensionReq reads id-ExtensionReq. A bare OID in it is what RFC 9908
// section 5.2 calls not correct, and means an attribute.
func (w *Wanted) extensionReq(values [][]byte) error {
	t := Template{Extensions: w.Extensions}
	for _, value := range values {
		if oid, ok := parseOID(value); ok {
			if !w.Asks(oid) {
				w.Attributes = append(w.Attributes, csr.Attribute{Type: oid})
			}
			continue
		}
		if err := t.parseExtensions(value); err != nil {
			return err
		}
	}
	w.Extensions = t.Extensions
	return nil
}

func isKeyType(oid asn1.ObjectIdentifier) bool {
	for _, known := range keyTypes {
		if oid.Equal(known) {
			return true
		}
	}
	return false
}

// signatures are the schemes that a list can name: RFC 8017 appendix A.2.4,
// RFC 5758 section 3.2, RFC 8410 section 3.
var signatures = []asn1.ObjectIdentifier{
	{1, 2, 840, 113549, 1, 1, 10}, {1, 2, 840, 113549, 1, 1, 11}, {1, 2, 840, 113549, 1, 1, 12}, {1, 2, 840, 113549, 1, 1, 13},
	{1, 2, 840, 10045, 4, 3, 2}, {1, 2, 840, 10045, 4, 3, 3}, {1, 2, 840, 10045, 4, 3, 4},
	{1, 3, 101, 112},
}

func isSignature(oid asn1.ObjectIdentifier) bool { return slices.ContainsFunc(signatures, oid.Equal) }

// templateAttribute is the template as an element of the list.
func templateAttribute(h policy.Hints) (AttrOrOID, error) {
	t, err := templateOf(h)
	if err != nil {
		return AttrOrOID{}, err
	}
	der, err := t.Marshal()
	return AttrOrOID{OID: oidTemplate, Attribute: true, Values: [][]byte{der}}, err
}
