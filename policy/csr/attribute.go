// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Attribute gives the attribute of a type in dotted form, such as
// [OIDChallengePassword]. There is at most one of each type.
func (r *Request) Attribute(oid string) (Attribute, bool) {
	for _, a := range r.Attributes {
		if a.Type.String() == oid {
			return a, true
		}
	}
	return Attribute{}, false
}

// Extension gives the requested extension with an ID in dotted form, such as
// [OIDKeyUsage]. There is at most one of each.
func (r *Request) Extension(oid string) (Extension, bool) {
	return extension(r.Extensions, oid)
}

func extension(list []Extension, oid string) (Extension, bool) {
	for _, e := range list {
		if e.ID.String() == oid {
			return e, true
		}
	}
	return Extension{}, false
}

// parseAttributes reads the content of the attributes' SET (RFC 2986 section
// 4.1). RFC 2985 lets no attribute occur twice in a set: with two, one reader
// takes the first and another the last.
func (r *Request) parseAttributes(set cryptobyte.String) error {
	seen := map[string]bool{}
	for n := 1; !set.Empty(); n++ {
		if n > maxEntries {
			return within("attributes", bad("more than %d", maxEntries))
		}
		a, err := readAttribute(&set)
		if err != nil {
			return withinNth("attribute", n, err)
		}
		oid := a.Type.String()
		if seen[oid] {
			return within("attribute "+oid, bad("occurs twice"))
		}
		seen[oid] = true
		if oid != OIDExtensionRequest {
			r.Attributes = append(r.Attributes, a)
			continue
		}
		if r.Extensions, err = parseExtensionRequest(a.Values); err != nil {
			return within("extensionRequest", err)
		}
	}
	// Microsoft's attribute has the same content. Where both stand, a CA may
	// read the one that nobody checked.
	if seen[OIDExtensionRequest] && seen[oidMicrosoftExtensions] {
		return within("attribute "+oidMicrosoftExtensions, bad("stands beside extensionRequest: only one may carry extensions"))
	}
	return nil
}

// readAttribute reads one Attribute. A SET without values is kept: what it
// means is for the reader of that type to say.
func readAttribute(s *cryptobyte.String) (Attribute, error) {
	var a Attribute
	var body, values cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) || !body.ReadASN1ObjectIdentifier(&a.Type) ||
		!body.ReadASN1(&values, der.SET) || !body.Empty() {
		return a, bad("not an Attribute")
	}
	for !values.Empty() {
		var value cryptobyte.String
		if len(a.Values) == maxEntries {
			return a, bad("%v: more than %d values", a.Type, maxEntries)
		}
		if !values.ReadAnyASN1Element(&value, nil) {
			return a, bad("%v: value %d is not DER", a.Type, len(a.Values)+1)
		}
		a.Values = append(a.Values, value)
	}
	return a, nil
}

// parseExtensionRequest reads the values of extensionRequest, which is
// single-valued (RFC 2985 section 5.4.2).
func parseExtensionRequest(values [][]byte) ([]Extension, error) {
	if len(values) != 1 {
		return nil, bad("%d values, where RFC 2985 section 5.4.2 has one", len(values))
	}
	return parseExtensions(values[0])
}

// parseExtensions reads a SEQUENCE OF Extension.
func parseExtensions(element []byte) ([]Extension, error) {
	value := cryptobyte.String(element)
	var list cryptobyte.String
	if !value.ReadASN1(&list, der.SEQUENCE) || !value.Empty() {
		return nil, bad("not a SEQUENCE of extensions")
	}
	var extensions []Extension
	seen := map[string]bool{}
	for !list.Empty() {
		if len(extensions) == maxEntries {
			return nil, bad("more than %d extensions", maxEntries)
		}
		e, err := readExtension(&list)
		if err != nil {
			return nil, withinNth("extension", len(extensions)+1, err)
		}
		oid := e.ID.String()
		if seen[oid] {
			// RFC 5280 section 4.2: no more than one instance of each.
			return nil, bad("extension %s occurs twice", oid)
		}
		seen[oid] = true
		extensions = append(extensions, e)
	}
	return extensions, nil
}

// readExtension reads an Extension (RFC 5280 section 4.1). A critical FALSE
// that is written out isn't DER, but real encoders write it, and it can mean
// nothing else.
func readExtension(s *cryptobyte.String) (Extension, error) {
	var e Extension
	var body cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) || !body.ReadASN1ObjectIdentifier(&e.ID) {
		return e, bad("not an Extension")
	}
	if body.PeekASN1Tag(der.BOOLEAN) && !body.ReadASN1Boolean(&e.Critical) {
		return e, bad("%v: critical is not a BOOLEAN in DER", e.ID)
	}
	if !body.ReadASN1Bytes(&e.Value, der.OCTET_STRING) || !body.Empty() {
		return e, bad("%v: not an Extension", e.ID)
	}
	return e, nil
}

// Texts gives the values that are text of a string type, in the order sent.
func (a Attribute) Texts() []string {
	var texts []string
	for _, value := range a.Values {
		input := cryptobyte.String(value)
		var content cryptobyte.String
		var tag der.Tag
		if !input.ReadAnyASN1(&content, &tag) {
			continue
		}
		if text, ok := decodeText(int(tag), content); ok {
			texts = append(texts, text)
		}
	}
	return texts
}
