// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"encoding/hex"
	"net/netip"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// forms are the GeneralNames by tag (RFC 5280 section 4.2.1.6): the words
// that String uses, and whether the encoding is constructed.
var forms = []struct {
	word        string
	constructed bool
}{
	OtherName:     {"otherName", true},
	Email:         {"email", false},
	DNS:           {"dns", false},
	X400Address:   {"x400Address", true},
	DirectoryName: {"directoryName", true},
	EDIParty:      {"ediPartyName", true},
	URI:           {"uri", false},
	IP:            {"ip", false},
	RegisteredID:  {"registeredID", false},
}

// String gives the word for the form: "dns", "email", "uri", "ip",
// "otherName", "directoryName", "registeredID", "x400Address" or
// "ediPartyName".
func (f NameForm) String() string {
	if int(f) >= len(forms) {
		return "unknown"
	}
	return forms[f].word
}

// sanOf finds the subjectAltName among extensions and reads it.
func sanOf(list []Extension) (names []GeneralName, present bool, err error) {
	san, present := extension(list, OIDSubjectAltName)
	if !present {
		return nil, false, nil
	}
	names, err = parseSAN(san.Value)
	if err != nil {
		return nil, false, within("subjectAltName", err)
	}
	return names, true, nil
}

// ParseSAN reads the value of a subjectAltName extension. Nothing is lost: a
// name that isn't understood has its Raw.
func ParseSAN(value []byte) ([]GeneralName, error) {
	names, err := parseSAN(value)
	if err != nil {
		return nil, within("subjectAltName", err)
	}
	return names, nil
}

func parseSAN(value []byte) ([]GeneralName, error) {
	input := cryptobyte.String(value)
	var list cryptobyte.String
	if !input.ReadASN1(&list, der.SEQUENCE) {
		return nil, bad("not a SEQUENCE of GeneralNames in DER")
	}
	if !input.Empty() {
		return nil, bad("%d trailing bytes", len(input))
	}
	if list.Empty() {
		// RFC 5280 section 4.2.1.6: at least one entry.
		return nil, bad("empty")
	}
	var names []GeneralName
	for !list.Empty() {
		if len(names) == maxEntries {
			return nil, bad("more than %d names", maxEntries)
		}
		g, err := readGeneralName(&list)
		if err != nil {
			return nil, withinNth("name", len(names)+1, err)
		}
		names = append(names, g)
	}
	return names, nil
}

func readGeneralName(s *cryptobyte.String) (GeneralName, error) {
	var g GeneralName
	var element, content cryptobyte.String
	var tag der.Tag
	if !s.ReadAnyASN1Element(&element, &tag) {
		return g, bad("not DER")
	}
	const class, number, constructed = 0xc0, 0x1f, 0x20
	g.Form, g.Raw = NameForm(tag&number), element
	if tag&class != der.Tag(0).ContextSpecific() || int(g.Form) >= len(forms) {
		return g, bad("tag %#02x is not that of a GeneralName", uint8(tag))
	}
	if forms[g.Form].constructed != (tag&constructed != 0) {
		return g, within(g.Form.String(), bad("tag %#02x has the wrong encoding form", uint8(tag)))
	}
	if !element.ReadAnyASN1(&content, nil) {
		return g, bad("not DER")
	}
	if err := g.parseContent(content); err != nil {
		return g, within(g.Form.String(), err)
	}
	return g, nil
}

// parseContent checks the content of a form and sets Value and TypeID. An
// otherName whose content isn't that of its type is kept, without a Value.
func (g *GeneralName) parseContent(content []byte) error {
	switch g.Form {
	case Email, DNS, URI:
		g.Value = string(content)
		return checkIA5(content)
	case IP:
		addr, ok := netip.AddrFromSlice(content)
		if !ok {
			return bad("%d bytes, where an address has 4 or 16", len(content))
		}
		g.Value = addr.String()
	case RegisteredID:
		oid, err := parseOIDContent(content)
		if err != nil {
			return err
		}
		g.Value = oid
	case OtherName:
		other, err := parseOtherName(content)
		if err != nil {
			return err
		}
		g.TypeID = other.typeID
		g.Value = other.text()
	case DirectoryName:
		name, err := parseName(content)
		if err != nil {
			return err
		}
		g.Value = name.String()
	case X400Address, EDIParty:
		// Kept as they are: no policy can allow them.
	}
	return nil
}

// checkIA5 holds what is common to dNSName, rfc822Name and URI: IA5String,
// not empty. A NUL or another control character is how one name passes for
// another, so it is refused at once.
func checkIA5(content []byte) error {
	if len(content) == 0 {
		return bad("empty")
	}
	for i, c := range content {
		if c < 0x20 || c >= 0x7f {
			return bad("byte %d of %q is a control character or beyond ASCII", i+1, content)
		}
	}
	return nil
}

// parseOIDContent gives the dotted form of an OID without tag and length.
func parseOIDContent(content []byte) (string, error) {
	element, err := wrap(der.OBJECT_IDENTIFIER, content)
	if err != nil {
		return "", err
	}
	oid, ok := readWholeOID(element)
	if !ok {
		return "", bad("not an OBJECT IDENTIFIER")
	}
	return oid.String(), nil
}

// DirectoryName gives the name in a directoryName.
func (g GeneralName) DirectoryName() (Name, error) {
	if g.Form != DirectoryName {
		return nil, bad("%s is not a directoryName", g.Form)
	}
	content, ok := g.content()
	if !ok {
		return nil, bad("a directoryName without its encoding")
	}
	return parseName(content)
}

func (g GeneralName) content() ([]byte, bool) { return elementContent(g.Raw) }

// elementContent gives what stands behind tag and length of one element.
func elementContent(element []byte) ([]byte, bool) {
	input := cryptobyte.String(element)
	var content cryptobyte.String
	if !input.ReadAnyASN1(&content, nil) || !input.Empty() {
		return nil, false
	}
	return content, true
}

// MarshalSAN encodes the value of a subjectAltName extension from the Raw of
// each name. No names, or a Raw that isn't a GeneralName, is an error.
func MarshalSAN(names []GeneralName) ([]byte, error) {
	var content []byte
	for _, g := range names {
		content = append(content, g.Raw...)
	}
	value, err := wrap(der.SEQUENCE, content)
	if err != nil {
		return nil, within("subjectAltName", err)
	}
	parsed, err := parseSAN(value)
	if err != nil {
		return nil, within("subjectAltName", err)
	}
	same := func(a, b GeneralName) bool { return a.Form == b.Form && slices.Equal(a.Raw, b.Raw) }
	if !slices.EqualFunc(names, parsed, same) {
		return nil, within("subjectAltName", bad("a name whose form and encoding disagree"))
	}
	return value, nil
}

// String gives the name for messages: Word, a colon, and Value with what isn't
// printable escaped: "dns:a.example", "directoryName:CN=device",
// "upn:anna@corp.example". After "otherName:" comes the type first:
// "otherName:1.2.3:utf8:device". Any other name without a Value is its content
// in hex.
func (g GeneralName) String() string {
	prefix := g.Word() + ":"
	content, _ := g.content()
	switch {
	case prefix == "otherName:":
		other, err := parseOtherName(content)
		if err != nil {
			return prefix + hex.EncodeToString(content)
		}
		return prefix + other.typeID.String() + ":" + escapeControl(anyText(other.value))
	case g.Value != "":
		return prefix + escapeControl(g.Value)
	}
	return prefix + hex.EncodeToString(content)
}
