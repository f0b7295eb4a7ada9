// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"encoding/asn1"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// maxDepth bounds how deep a value may be nested. The deepest extension of
// RFC 5280 has less than ten levels.
const maxDepth = 32

// CheckDER tells what is wrong with bytes that should be exactly one value in
// DER, down to the primitive ones: their tags and lengths, not their meaning.
// Tags above 30, which no extension of a certificate has, are an error.
func CheckDER(element []byte) error {
	input := cryptobyte.String(element)
	if err := checkDER(&input, 0); err != nil {
		return err
	}
	if !input.Empty() {
		return bad("%d trailing bytes", len(input))
	}
	return nil
}

func checkDER(s *cryptobyte.String, depth int) error {
	var content cryptobyte.String
	var tag der.Tag
	if depth > maxDepth {
		return bad("nested more than %d levels deep", maxDepth)
	}
	if !s.ReadAnyASN1(&content, &tag) {
		return bad("not DER")
	}
	const constructed = 0x20
	if tag&constructed == 0 {
		return nil
	}
	for !content.Empty() {
		if err := checkDER(&content, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// ValueOf gives the value of an attribute as it would stand in a name, with
// its bytes as they are.
func ValueOf(oid asn1.ObjectIdentifier, element []byte) (AttributeValue, error) {
	v := AttributeValue{Type: slices.Clone(oid)}
	rest := cryptobyte.String(bytes.Clone(element))
	if err := v.read(&rest); err != nil {
		return AttributeValue{}, err
	}
	if !rest.Empty() {
		return AttributeValue{}, bad("%s: %d trailing bytes after the value", TypeName(oid), len(rest))
	}
	return v, nil
}

// MarshalDirectoryAttributes encodes the value of a subjectDirectoryAttributes
// extension (RFC 5280 section 4.2.1.8). Each attribute has at least one value,
// and there is at least one attribute.
func MarshalDirectoryAttributes(attributes []Attribute) ([]byte, error) {
	if len(attributes) == 0 {
		return nil, within("subjectDirectoryAttributes", bad("empty"))
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(list *cryptobyte.Builder) {
		for _, a := range attributes {
			list.AddASN1(der.SEQUENCE, func(c *cryptobyte.Builder) {
				c.AddASN1ObjectIdentifier(a.Type)
				c.AddASN1(der.SET, func(set *cryptobyte.Builder) {
					for _, value := range slices.SortedFunc(slices.Values(a.Values), bytes.Compare) { // X.690 section 11.6
						set.AddBytes(value)
					}
				})
			})
		}
	})
	value, err := b.Bytes()
	if err != nil {
		return nil, within("subjectDirectoryAttributes", err)
	}
	if _, err := ParseDirectoryAttributes(value); err != nil {
		return nil, err
	}
	return value, nil
}

// ParseDirectoryAttributes decodes the value of a subjectDirectoryAttributes
// extension.
func ParseDirectoryAttributes(value []byte) ([]Attribute, error) {
	attributes, err := parseDirectoryAttributes(value)
	if err != nil {
		return nil, within("subjectDirectoryAttributes", err)
	}
	return attributes, nil
}

func parseDirectoryAttributes(value []byte) ([]Attribute, error) {
	input := cryptobyte.String(value)
	var list cryptobyte.String
	if !input.ReadASN1(&list, der.SEQUENCE) || !input.Empty() || list.Empty() {
		return nil, bad("not a SEQUENCE of at least one Attribute")
	}
	var attributes []Attribute
	for !list.Empty() {
		if len(attributes) == maxEntries {
			return nil, bad("more than %d attributes", maxEntries)
		}
		a, err := readAttribute(&list)
		if err != nil {
			return nil, withinNth("attribute", len(attributes)+1, err)
		}
		if len(a.Values) == 0 {
			return nil, withinNth("attribute", len(attributes)+1, bad("no value"))
		}
		attributes = append(attributes, a)
	}
	return attributes, nil
}

// MarshalPolicies encodes the value of a certificatePolicies extension without
// qualifiers (RFC 5280 section 4.2.1.4). An empty list is an error.
func MarshalPolicies(policies []asn1.ObjectIdentifier) ([]byte, error) {
	if len(policies) == 0 {
		return nil, within("certificatePolicies", bad("empty"))
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(list *cryptobyte.Builder) {
		for _, oid := range policies {
			list.AddASN1(der.SEQUENCE, func(c *cryptobyte.Builder) { c.AddASN1ObjectIdentifier(oid) })
		}
	})
	return b.Bytes()
}

// ParsePolicies gives the policies in a certificatePolicies extension, without
// their qualifiers.
func ParsePolicies(value []byte) ([]asn1.ObjectIdentifier, error) {
	input := cryptobyte.String(value)
	var list cryptobyte.String
	if !input.ReadASN1(&list, der.SEQUENCE) || !input.Empty() || list.Empty() {
		return nil, within("certificatePolicies", bad("not a SEQUENCE of at least one policy"))
	}
	var policies []asn1.ObjectIdentifier
	for !list.Empty() {
		var information, qualifiers cryptobyte.String
		var oid asn1.ObjectIdentifier
		qualified := false
		if len(policies) == maxEntries || !list.ReadASN1(&information, der.SEQUENCE) || !information.ReadASN1ObjectIdentifier(&oid) ||
			!information.ReadOptionalASN1(&qualifiers, &qualified, der.SEQUENCE) || !information.Empty() {
			return nil, within("certificatePolicies", bad("policy %d can't be read, or is one too many", len(policies)+1))
		}
		policies = append(policies, oid)
	}
	return policies, nil
}
