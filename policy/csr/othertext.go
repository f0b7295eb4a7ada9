// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// An otherSyntax is how the value of a type of otherName is written as text.
// text gives "" for a value that isn't of the syntax; value is the other way
// round, and gives no DER but that which text reads as the same text.
type otherSyntax struct {
	oid   string
	word  string // of String
	text  func(value []byte) string
	value func(text string) ([]byte, error)
}

// otherSyntaxes are the types with a syntax of their own.
var otherSyntaxes = []otherSyntax{
	{OIDUserPrincipalName, "upn", principalText, principalValue},
	{OIDPermanentIdentifier, "permanentIdentifier", permanentText, permanentValue},
	{OIDHardwareModuleName, "hardwareModuleName", hardwareText, hardwareValue},
}

// anySyntax is that of every other type.
var anySyntax = otherSyntax{"", OtherName.String(), anyText, anyValue}

func syntaxOf(typeID string) otherSyntax {
	for _, s := range otherSyntaxes {
		if s.oid == typeID {
			return s
		}
	}
	return anySyntax
}

func (o otherName) text() string { return syntaxOf(o.typeID.String()).text(o.value) }

// NewOtherName makes an otherName from the text that [GeneralName] has as its
// Value. It is an error where the type can't have that text, or has another
// spelling for the same value.
//
//	userPrincipalName     the text: anna@corp.example
//	permanentIdentifier   ASSIGNER/VALUE: the OID of who assigned it, which may
//	                      be left out, and a value, which may not (RFC 4043)
//	hardwareModuleName    TYPE/SERIAL: an OID, and the serial number in
//	                      lower-case hexadecimal (RFC 4108 section 5)
//	any other             utf8:TEXT, ia5:TEXT or oid:1.2.3 for a UTF8String, an
//	                      IA5String or an OBJECT IDENTIFIER; der:BASE64 for any
//	                      value that has none of these texts
func NewOtherName(typeID asn1.ObjectIdentifier, text string) (GeneralName, error) {
	syntax := syntaxOf(typeID.String())
	value, err := syntax.value(text)
	if err != nil {
		return GeneralName{}, within(syntax.word, err)
	}
	var b cryptobyte.Builder
	b.AddASN1ObjectIdentifier(typeID)
	b.AddASN1(der.Tag(0).ContextSpecific().Constructed(), func(c *cryptobyte.Builder) { c.AddBytes(value) })
	content, err := b.Bytes()
	if err != nil {
		return GeneralName{}, within(syntax.word, bad("%s is not an OBJECT IDENTIFIER", typeID))
	}
	g, err := newGeneralName(OtherName, content)
	if err == nil && g.Value != text {
		err = within(syntax.word, bad("%q is written %q", text, g.Value))
	}
	return g, err
}

func principalText(value []byte) string {
	text, _ := wholeText(value, tagUTF8)
	return text
}

func principalValue(text string) ([]byte, error) { return textValue(tagUTF8, text) }

// wholeText reads one string of a type and nothing after it.
func wholeText(value []byte, tag uint8) (string, bool) {
	input := cryptobyte.String(value)
	var content cryptobyte.String
	if !input.ReadASN1(&content, der.Tag(tag)) || !input.Empty() {
		return "", false
	}
	return decodeText(int(tag), content)
}

func textValue(tag uint8, text string) ([]byte, error) {
	if text == "" {
		return nil, bad("empty")
	}
	if _, ok := decodeText(int(tag), []byte(text)); !ok {
		return nil, bad("%q has a character that it can't have", text)
	}
	return wrap(der.Tag(tag), []byte(text))
}

func permanentText(value []byte) string {
	identifier, assigner, ok := permanentIdentifier(value)
	if !ok || identifier == "" {
		return "" // without a value it points at the subject's serialNumber
	}
	return assigner.String() + "/" + identifier
}

func permanentValue(text string) ([]byte, error) {
	assigner, identifier, found := strings.Cut(text, "/")
	if !found {
		return nil, bad("%q is not of the form ASSIGNER/VALUE", text)
	}
	body, err := textValue(tagUTF8, identifier)
	if err != nil {
		return nil, err
	}
	if assigner != "" {
		oid, err := oidValue(assigner)
		if err != nil {
			return nil, err
		}
		body = append(body, oid...)
	}
	return wrap(der.SEQUENCE, body)
}

func hardwareText(value []byte) string {
	hwType, serial, ok := hardwareModuleName(value)
	if !ok {
		return ""
	}
	return hwType.String() + "/" + hex.EncodeToString(serial)
}

func hardwareValue(text string) ([]byte, error) {
	hwType, digits, found := strings.Cut(text, "/")
	serial, err := hex.DecodeString(digits)
	if !found || err != nil || len(serial) == 0 {
		return nil, bad("%q is not of the form TYPE/SERIAL with an OID and hexadecimal digits", text)
	}
	body, err := oidValue(hwType)
	if err != nil {
		return nil, err
	}
	octets, err := wrap(der.OCTET_STRING, serial)
	if err != nil {
		return nil, err
	}
	return wrap(der.SEQUENCE, append(body, octets...))
}

func oidValue(dotted string) ([]byte, error) {
	oid, ok := parseOID(dotted)
	if !ok {
		return nil, bad("%q is not an OID", dotted)
	}
	var b cryptobyte.Builder
	b.AddASN1ObjectIdentifier(oid)
	return b.Bytes()
}

// The prefixes of anyText.
const (
	utf8Prefix = "utf8:"
	ia5Prefix  = "ia5:"
	oidPrefix  = "oid:"
	derPrefix  = "der:"
)

// anyText never gives "": what has no text of its own is written as DER.
func anyText(value []byte) string {
	if text, ok := wholeText(value, tagUTF8); ok && text != "" {
		return utf8Prefix + text
	}
	if text, ok := wholeText(value, tagIA5); ok && text != "" {
		return ia5Prefix + text
	}
	if oid, ok := readWholeOID(value); ok {
		return oidPrefix + oid.String()
	}
	return derPrefix + base64.StdEncoding.EncodeToString(value)
}

func anyValue(text string) ([]byte, error) {
	prefix, rest, _ := strings.Cut(text, ":")
	switch prefix + ":" {
	case utf8Prefix:
		return textValue(tagUTF8, rest)
	case ia5Prefix:
		return textValue(tagIA5, rest)
	case oidPrefix:
		return oidValue(rest)
	case derPrefix:
		value, err := base64.StdEncoding.Strict().DecodeString(rest)
		if err != nil {
			return nil, bad("%q is not base64", rest)
		}
		return value, nil // newGeneralName looks whether it is one element
	}
	return nil, bad("%q begins with none of utf8:, ia5:, oid: and der:", text)
}
