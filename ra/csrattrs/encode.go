// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// ErrEmpty means that the hints say nothing. An empty list means the same as
// 204 (RFC 8951 section 4), and libest gives up on it, so none is made.
var ErrEmpty = errors.New("csrattrs: no key, attribute, extension or signature scheme to ask for")

// ErrOff means that the profile doesn't offer /csrattrs.
var ErrOff = errors.New("csrattrs: off for this profile")

// Encode writes hints as /csrattrs says them: the list of RFC 7030, the
// template of RFC 9908, or the list with the template as its last element, as
// h.Format has it.
//
// In the list, attributes and the signature scheme are bare OIDs, keys and
// extensions are attributes, in the order of the examples in RFC 9908 section
// 5: linking, keys, extensions, attributes, signature. Of several keys the
// first of each type is named, since RFC 9908 section 3.2 allows exactly one
// attribute of a key type, with at most one parameter. A key without a size or
// curve has none. Where any key will do, none is named, unless there is
// nothing else to say. An attribute that is there twice is written once; an
// extension that is there twice is an error, since its two values can't both
// be meant.
func Encode(h policy.Hints) ([]byte, error) {
	if h.Off {
		return nil, ErrOff
	}
	var list []AttrOrOID
	if h.Format != policy.HintTemplate {
		elements, err := elementsOf(h)
		if err != nil {
			return nil, err
		}
		list = elements
	}
	if h.Format != policy.HintList {
		template, err := templateAttribute(h)
		if err != nil {
			return nil, err
		}
		list = append(list, template)
	}
	der, err := marshalList(list)
	if err != nil {
		return nil, fmt.Errorf("csrattrs: %w", err)
	}
	return der, nil
}

// Plain gives the hints for clients that read no values but OIDs and numbers:
// libest copies every OID that it finds at any depth into its request, and
// fails on an attribute that it then has twice; the client of danharkins/est
// reads a SEQUENCE in a SET for ever, and stops at a SET without values. They
// get the list alone, without extensions, and of the keys those with a
// parameter.
func Plain(h policy.Hints) policy.Hints {
	if h.Format == policy.HintTemplate {
		return h // nothing else is to be said
	}
	h.Format, h.Extensions = policy.HintList, nil
	var keys []policy.KeyHint
	for _, k := range h.Keys {
		if k.Bits != 0 || k.Curve != "" {
			keys = append(keys, k)
		}
	}
	h.Keys = keys
	return h
}

// elementsOf gives the elements of the list.
func elementsOf(h policy.Hints) ([]AttrOrOID, error) {
	if err := checkExtensions(h.Extensions); err != nil {
		return nil, err
	}
	linking, attributes := bare(h)
	if h.AnyKey && len(linking)+len(attributes)+len(h.Extensions) > 0 {
		h.Keys, h.Signature = nil, nil
	}
	keys, err := keyAttributes(h.Keys)
	if err != nil {
		return nil, err
	}
	list := append(linking, keys...)
	if len(h.Extensions) > 0 {
		value, err := extensionsDER(h.Extensions)
		if err != nil {
			return nil, err
		}
		// One id-ExtensionReq, whose SET holds exactly one Extensions. Never a
		// bare OID, as in the macAddress example that RFC 9908 section 5.2
		// calls not correct.
		list = append(list, AttrOrOID{OID: oidExtensionReq, Attribute: true, Values: [][]byte{value}})
	}
	list = append(list, attributes...)
	if len(h.Signature) > 0 {
		list = append(list, AttrOrOID{OID: h.Signature})
	}
	if len(list) == 0 {
		return nil, ErrEmpty
	}
	return list, nil
}

// bare gives each attribute once, those for linking apart, and no
// extensionRequest beside the one that carries extensions (RFC 9908 section
// 3.2).
func bare(h policy.Hints) (linking, attributes []AttrOrOID) {
	seen := map[string]bool{oidExtensionReq.String(): len(h.Extensions) > 0}
	once := func(oids []asn1.ObjectIdentifier) (list []AttrOrOID) {
		for _, oid := range oids {
			if !seen[oid.String()] {
				list = append(list, AttrOrOID{OID: oid})
			}
			seen[oid.String()] = true
		}
		return list
	}
	return once(h.Linking), once(h.Attributes)
}

// checkExtensions refuses two extensions of one type.
func checkExtensions(extensions []csr.Extension) error {
	seen := map[string]bool{}
	for _, e := range extensions {
		if seen[e.ID.String()] {
			return fmt.Errorf("csrattrs: extension %s is there twice (RFC 9908 section 3.2)", e.ID)
		}
		seen[e.ID.String()] = true
	}
	return nil
}

// keyAttributes names the first key of each type.
func keyAttributes(hints []policy.KeyHint) ([]AttrOrOID, error) {
	var list []AttrOrOID
	seen := map[csr.KeyAlgorithm]bool{}
	for _, k := range hints {
		oid, ok := keyTypes[k.Algorithm]
		if !ok {
			return nil, fmt.Errorf("csrattrs: key algorithm %q has no OID", k.Algorithm)
		}
		if seen[k.Algorithm] {
			continue
		}
		seen[k.Algorithm] = true
		parameter, err := keyParameter(k)
		if err != nil {
			return nil, err
		}
		a := AttrOrOID{OID: oid, Attribute: true}
		if parameter != nil {
			a.Values = [][]byte{parameter}
		}
		list = append(list, a)
	}
	return list, nil
}

// keyParameter is the one value of a key's attribute: the modulus length in
// bits, or the curve. Nil means that there is nothing to say, as for Ed25519.
func keyParameter(k policy.KeyHint) ([]byte, error) {
	switch {
	case k.Algorithm == csr.RSA && k.Bits != 0:
		if k.Bits < 0 {
			return nil, fmt.Errorf("csrattrs: RSA key of %d bits", k.Bits)
		}
		return asn1.Marshal(k.Bits)
	case k.Algorithm == csr.ECDSA && k.Curve != "":
		curve, ok := curves[k.Curve]
		if !ok {
			return nil, fmt.Errorf("csrattrs: curve %q has no OID", k.Curve)
		}
		return asn1.Marshal(curve)
	}
	return nil, nil
}

// add writes the element.
func (a AttrOrOID) add(b *cryptobyte.Builder) {
	if !a.Attribute {
		b.AddASN1ObjectIdentifier(a.OID)
		return
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(a.OID)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			for _, v := range a.Values {
				b.AddBytes(v)
			}
		})
	})
}

// marshalList encodes a list.
func marshalList(list []AttrOrOID) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, a := range list {
			a.add(b)
		}
	})
	return b.Bytes()
}

// extensionsDER encodes an Extensions (RFC 5280 section 4.1).
func extensionsDER(extensions []csr.Extension) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range extensions {
			whole := Extension{ID: e.ID, Critical: e.Critical, Value: e.Value}
			if whole.Value == nil {
				whole.Value = []byte{}
			}
			whole.add(b)
		}
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("csrattrs: %w", err)
	}
	return der, nil
}
