// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// Parse reads the list as a client meets it. An empty list is no error; nor
// is an attribute without values (RFC 9908 section 3.2) or with values that
// don't fit its type. An element whose OID is beyond 31 bits an arc is left
// out: nobody here can recognize it, and what isn't recognized is to be
// ignored (RFC 8951 section 4). Broken DER and bytes after the list are
// errors. The values share der's memory.
func Parse(der []byte) ([]AttrOrOID, error) {
	input, body := cryptobyte.String(der), cryptobyte.String(nil)
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) {
		return nil, errors.New("csrattrs: not a SEQUENCE in DER")
	}
	if !input.Empty() {
		return nil, fmt.Errorf("csrattrs: %d bytes follow the list", len(input))
	}
	var list []AttrOrOID
	for n := 1; !body.Empty(); n++ {
		a, known, err := parseElement(&body)
		if err != nil {
			return nil, fmt.Errorf("csrattrs: element %d: %w", n, err)
		}
		if known {
			list = append(list, a)
		}
	}
	return list, nil
}

// parseElement reads one AttrOrOID. Known is false where the OID is valid and
// too large for us.
func parseElement(body *cryptobyte.String) (a AttrOrOID, known bool, err error) {
	if body.PeekASN1Tag(cbasn1.OBJECT_IDENTIFIER) {
		a.OID, known, err = readOID(body)
		return a, known, err
	}
	var attribute, values cryptobyte.String
	if !body.ReadASN1(&attribute, cbasn1.SEQUENCE) {
		return a, false, errors.New("neither an OID nor an attribute")
	}
	a.Attribute = true
	if a.OID, known, err = readOID(&attribute); err != nil {
		return a, false, err
	}
	if !attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() {
		return a, false, errors.New("the attribute's values are not one SET")
	}
	for !values.Empty() {
		var value cryptobyte.String
		var tag cbasn1.Tag
		if !values.ReadAnyASN1Element(&value, &tag) {
			return a, false, errors.New("the attribute's values are not DER")
		}
		a.Values = append(a.Values, value)
	}
	return a, known, nil
}

func readOID(from *cryptobyte.String) (oid asn1.ObjectIdentifier, known bool, err error) {
	var element cryptobyte.String
	if !from.ReadASN1Element(&element, cbasn1.OBJECT_IDENTIFIER) {
		return nil, false, errors.New("no OID where one must stand")
	}
	if oid, known = parseOID(element); known {
		return oid, true, nil
	}
	var content cryptobyte.String
	var large x509.OID
	if !element.ReadASN1(&content, cbasn1.OBJECT_IDENTIFIER) || large.UnmarshalBinary(content) != nil {
		return nil, false, errors.New("the OID is malformed")
	}
	return nil, false, nil
}

// parseOID reads an element that is an OID and nothing else.
func parseOID(der []byte) (asn1.ObjectIdentifier, bool) {
	s, oid := cryptobyte.String(der), asn1.ObjectIdentifier(nil)
	ok := s.ReadASN1ObjectIdentifier(&oid) && s.Empty()
	return oid, ok
}

// Asks says whether an OID is in the list, bare or as an attribute's type.
func Asks(list []AttrOrOID, oid asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(list, func(a AttrOrOID) bool { return a.OID.Equal(oid) })
}

// Keys are the keys that the list asks for, in its order. A key type that we
// can't make and parameters that don't fit the type are left out.
func Keys(list []AttrOrOID) []policy.KeyHint {
	var keys []policy.KeyHint
	for _, a := range list {
		if !a.Attribute {
			continue
		}
		for algorithm, oid := range keyTypes {
			if !a.OID.Equal(oid) {
				continue
			}
			if len(a.Values) == 0 {
				keys = append(keys, policy.KeyHint{Algorithm: algorithm})
			}
			for _, v := range a.Values {
				if k, ok := readKey(algorithm, v); ok {
					keys = append(keys, k)
				}
			}
		}
	}
	return keys
}

// readKey turns a key parameter back into a hint.
func readKey(algorithm csr.KeyAlgorithm, value []byte) (policy.KeyHint, bool) {
	k := policy.KeyHint{Algorithm: algorithm}
	switch algorithm {
	case csr.RSA:
		s := cryptobyte.String(value)
		return k, s.ReadASN1Integer(&k.Bits) && s.Empty() && k.Bits > 0
	case csr.ECDSA:
		oid, ok := parseOID(value)
		for name, curve := range curves {
			if ok && oid.Equal(curve) {
				k.Curve = name
			}
		}
		return k, k.Curve != ""
	default:
		return k, false
	}
}
