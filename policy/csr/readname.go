// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"encoding/hex"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// ParseName reads a name as [Name.String] writes it: "O=Example, CN=device",
// in the order encoded, with RFC 4514's escapes and + between the attributes
// of one RDN. Types are short names or dotted OIDs, and #HEX is a value in
// DER. Spaces around a separator don't count. An empty text is an empty name.
func ParseName(text string) (Name, error) {
	rest := strings.TrimLeft(text, " ") // a space at the end may be escaped
	if rest == "" {
		return nil, nil
	}
	var name Name
	var rdn RDN
	for {
		v, end, err := parseAttribute(rest)
		if err != nil {
			return nil, err
		}
		rdn = append(rdn, v)
		if len(rdn) > maxEntries || len(name) > maxEntries {
			return nil, bad("more than %d attributes", maxEntries)
		}
		if end == "" || end[0] == ',' {
			name, rdn = append(name, rdn), nil
		}
		if end == "" {
			return name, nil
		}
		rest = strings.TrimLeft(end[1:], " ")
	}
}

// parseAttribute reads TYPE=VALUE, and gives the rest from its separator on.
func parseAttribute(text string) (v AttributeValue, rest string, err error) {
	kind, after, found := strings.Cut(text, "=")
	if !found {
		return v, "", bad("want TYPE=VALUE at %q", text)
	}
	kind = strings.TrimSpace(kind)
	oid, known := TypeOID(kind)
	if !known {
		return v, "", bad("%q is neither a known attribute, such as CN, nor an OID", kind)
	}
	after = strings.TrimLeft(after, " ")
	value, rest, err := unescape(after)
	if err != nil {
		return v, "", within(kind, err)
	}
	if !strings.HasPrefix(after, "#") {
		v = NewAttributeValue(oid, value)
		if !v.Text {
			return v, "", within(kind, bad("the value is not text without control characters"))
		}
		return v, rest, nil
	}
	v = AttributeValue{Type: oid}
	element, err := hex.DecodeString(value[1:])
	input := cryptobyte.String(element)
	var tag der.Tag
	var content cryptobyte.String
	if err != nil || !input.ReadAnyASN1(&content, &tag) || !input.Empty() {
		return v, "", within(kind, bad("%s is not # and one DER value in hexadecimal", value))
	}
	v.Raw, v.Tag = element, int(tag)
	v.Value, v.Text = decodeText(v.Tag, content)
	return v, rest, nil
}

// unescape reads one value up to an unescaped comma or plus, which the rest
// begins with.
func unescape(text string) (value, rest string, err error) {
	var out strings.Builder
	kept := 0 // up to here, a space at the end was escaped
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == ',' || c == '+':
			return trimTail(out.String(), kept), text[i:], nil
		case c != '\\':
			out.WriteByte(c)
		case i+1 == len(text):
			return "", "", bad("a backslash at the end escapes nothing")
		case strings.IndexByte(` ,+"\<>;=#`, text[i+1]) >= 0:
			i++
			out.WriteByte(text[i])
			kept = out.Len()
		default:
			pair := text[i+1 : min(i+3, len(text))]
			octet, err := hex.DecodeString(pair)
			if err != nil || len(octet) != 1 {
				return "", "", bad("\\%s is no escape of RFC 4514", pair)
			}
			out.WriteByte(octet[0])
			i += 2
			kept = out.Len()
		}
	}
	return trimTail(out.String(), kept), "", nil
}

func trimTail(s string, kept int) string {
	return s[:kept] + strings.TrimRight(s[kept:], " ")
}
