// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// NewAttributeValue makes a value for a name that we write. It has no Raw:
// [Name.MarshalDER] picks the string type, or says that the type has none
// for this text.
func NewAttributeValue(oid asn1.ObjectIdentifier, value string) AttributeValue {
	return AttributeValue{Type: oid, Value: value, Text: isText(value)}
}

// NameFromDER reads a whole Name in DER, such as the issuer of a certificate,
// as Parse reads a subject. The error is a *ParseError.
func NameFromDER(element []byte) (Name, error) { return parseName(element) }

// parseName reads a whole Name (RFC 5280 section 4.1.2.4). The order within
// a multi-valued RDN is kept as sent.
func parseName(element []byte) (Name, error) {
	input := cryptobyte.String(element)
	var rdns cryptobyte.String
	if !input.ReadASN1(&rdns, der.SEQUENCE) {
		return nil, bad("not a SEQUENCE of RDNs in DER")
	}
	if !input.Empty() {
		return nil, bad("%d trailing bytes", len(input))
	}
	var name Name
	for !rdns.Empty() {
		if len(name) == maxEntries {
			return nil, bad("more than %d RDNs", maxEntries)
		}
		rdn, err := readRDN(&rdns)
		if err != nil {
			return nil, withinNth("RDN", len(name)+1, err)
		}
		name = append(name, rdn)
	}
	return name, nil
}

func readRDN(s *cryptobyte.String) (RDN, error) {
	var set cryptobyte.String
	if !s.ReadASN1(&set, der.SET) {
		return nil, bad("not a SET in DER")
	}
	if set.Empty() {
		return nil, bad("empty")
	}
	var rdn RDN
	for !set.Empty() {
		if len(rdn) == maxEntries {
			return nil, bad("more than %d attributes", maxEntries)
		}
		v, err := readAttributeValue(&set)
		if err != nil {
			return nil, err
		}
		rdn = append(rdn, v)
	}
	return rdn, nil
}

func readAttributeValue(s *cryptobyte.String) (AttributeValue, error) {
	var v AttributeValue
	var pair cryptobyte.String
	if !s.ReadASN1(&pair, der.SEQUENCE) || !pair.ReadASN1ObjectIdentifier(&v.Type) {
		return v, bad("not an AttributeTypeAndValue")
	}
	if err := v.read(&pair); err != nil {
		return v, err
	}
	if !pair.Empty() {
		return v, bad("%s: %d trailing bytes after the value", TypeName(v.Type), len(pair))
	}
	return v, nil
}

// read takes the value itself from s.
func (v *AttributeValue) read(s *cryptobyte.String) error {
	var element, content cryptobyte.String
	var tag der.Tag
	if !s.ReadAnyASN1Element(&element, &tag) {
		return bad("%s: value is not DER", TypeName(v.Type))
	}
	v.Tag, v.Raw = int(tag), element
	if !element.ReadAnyASN1(&content, nil) {
		return bad("%s: value is not DER", TypeName(v.Type))
	}
	v.Value, v.Text = decodeText(v.Tag, content)
	return nil
}

// MarshalDER encodes the name. A value that was parsed keeps its bytes, so
// that a parsed name comes out as it went in. A value that we made becomes a
// PrintableString where it fits and a UTF8String where it doesn't (RFC 5280
// section 4.1.2.4), save where its type allows one string type only.
func (n Name) MarshalDER() ([]byte, error) {
	var content []byte
	for i, rdn := range n {
		set, err := rdn.marshal()
		if err != nil {
			return nil, withinNth("RDN", i+1, err)
		}
		content = append(content, set...)
	}
	return wrap(der.SEQUENCE, content)
}

func (r RDN) marshal() ([]byte, error) {
	if len(r) == 0 {
		return nil, bad("empty")
	}
	made := false
	var pairs [][]byte
	for _, v := range r {
		pair, err := v.marshal()
		if err != nil {
			return nil, within(TypeName(v.Type), err)
		}
		pairs = append(pairs, pair)
		made = made || len(v.Raw) == 0
	}
	if made { // X.690 section 11.6: DER sorts a SET OF
		slices.SortFunc(pairs, bytes.Compare)
	}
	return wrap(der.SET, slices.Concat(pairs...))
}

// Sorted gives the RDN in the order that DER wants (X.690 section 11.6). One
// that was parsed keeps the order in which it came, until it is changed.
func (r RDN) Sorted() RDN {
	encoded := func(v AttributeValue) []byte {
		pair, _ := v.marshal() // of what can't be encoded the order is no matter
		return pair
	}
	return slices.SortedStableFunc(slices.Values(r), func(a, b AttributeValue) int { return bytes.Compare(encoded(a), encoded(b)) })
}

func (v AttributeValue) marshal() ([]byte, error) {
	value, err := v.Element()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(c *cryptobyte.Builder) {
		c.AddASN1ObjectIdentifier(v.Type)
		c.AddBytes(value)
	})
	return b.Bytes()
}

// Element gives the value alone in DER, as an attribute of PKCS #10 has it.
func (v AttributeValue) Element() ([]byte, error) {
	if len(v.Raw) > 0 {
		return v.Raw, nil
	}
	return v.encodeText()
}

func (v AttributeValue) encodeText() ([]byte, error) {
	if !v.Text || !isText(v.Value) {
		return nil, bad("the value is not text without control characters")
	}
	if v.Value == "" {
		return nil, bad("the value is empty")
	}
	tag := onlyTag(v.Type)
	fits := onlyBytes([]byte(v.Value), isPrintable)
	switch {
	case tag == tagPrintable && !fits:
		return nil, bad("%q does not fit a PrintableString, the only type that it may have", v.Value)
	case tag == tagIA5 && !onlyBytes([]byte(v.Value), isASCII):
		return nil, bad("%q does not fit an IA5String, the only type that it may have", v.Value)
	case tag == 0 && fits:
		tag = tagPrintable
	case tag == 0:
		tag = tagUTF8
	}
	return wrap(der.Tag(tag), []byte(v.Value))
}

// wrap puts tag and length before content.
func wrap(tag der.Tag, content []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(c *cryptobyte.Builder) { c.AddBytes(content) })
	return b.Bytes()
}

// String gives the name for messages, much as RFC 4514 does but in the order
// encoded: "C=DE, O=Example, CN=device". What isn't printable, and what RFC
// 4514 section 2.4 reserves, is escaped; a value that isn't text is its DER
// in hex after a #.
func (n Name) String() string {
	rdns := make([]string, 0, len(n))
	for _, rdn := range n {
		values := make([]string, 0, len(rdn))
		for _, v := range rdn {
			values = append(values, v.String())
		}
		rdns = append(rdns, strings.Join(values, "+"))
	}
	return strings.Join(rdns, ", ")
}

// String gives "type=value" as [Name.String] does.
func (v AttributeValue) String() string {
	if !v.Text {
		return TypeName(v.Type) + "=#" + hex.EncodeToString(v.Raw)
	}
	return TypeName(v.Type) + "=" + escape(v.Value)
}

func escape(value string) string {
	var s strings.Builder
	for i, r := range value {
		edge := i == 0 || i == len(value)-1
		reserved := strings.ContainsRune(`,+"\<>;=`, r) || i == 0 && r == '#' || edge && r == ' '
		if reserved {
			s.WriteByte('\\')
		}
		writePrintable(&s, r)
	}
	return s.String()
}

// escapeControl makes a text harmless for a terminal and a log line.
func escapeControl(value string) string {
	var s strings.Builder
	for _, r := range value {
		writePrintable(&s, r)
	}
	return s.String()
}

// writePrintable writes a character, or the bytes of an unprintable one as
// RFC 4514 section 2.4 writes them.
func writePrintable(s *strings.Builder, r rune) {
	if unicode.IsPrint(r) {
		s.WriteRune(r)
		return
	}
	for _, b := range []byte(string(r)) {
		fmt.Fprintf(s, `\%02X`, b)
	}
}
