// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"encoding/asn1"
	"net/netip"
	"strings"

	der "golang.org/x/crypto/cryptobyte/asn1"
)

// NewName makes a GeneralName from the text that [GeneralName] has as its
// Value. form is DNS, Email, URI, IP (an address as netip reads it, without a
// zone), RegisteredID (a dotted OID) or DirectoryName (a name as [ParseName]
// reads it); any other is an error. [NewOtherName] makes otherNames.
func NewName(form NameForm, value string) (GeneralName, error) {
	content, err := contentOf(form, value)
	if err != nil {
		return GeneralName{}, err
	}
	return newGeneralName(form, content)
}

func contentOf(form NameForm, value string) ([]byte, error) {
	switch form {
	case DNS, Email, URI:
		return []byte(value), nil
	case IP:
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Zone() != "" {
			return nil, within("ip", bad("%q is not an address", value))
		}
		return addr.AsSlice(), nil
	case RegisteredID:
		element, err := oidValue(value)
		if err != nil {
			return nil, within(form.String(), err)
		}
		content, _ := elementContent(element)
		return content, nil
	case DirectoryName:
		name, err := ParseName(value)
		if err == nil && len(name) == 0 {
			err = bad("empty")
		}
		if err != nil {
			return nil, within(form.String(), err)
		}
		content, err := name.MarshalDER()
		if err != nil {
			return nil, within(form.String(), err)
		}
		return content, nil
	default:
		return nil, bad("a name of form %s can't be made from text", form)
	}
}

// newGeneralName makes a GeneralName of content without its tag.
func newGeneralName(form NameForm, content []byte) (GeneralName, error) {
	tag := der.Tag(form).ContextSpecific()
	if forms[form].constructed {
		tag = tag.Constructed()
	}
	raw, err := wrap(tag, content)
	if err != nil {
		return GeneralName{}, within(form.String(), err)
	}
	g := GeneralName{Form: form, Raw: raw}
	if err := g.parseContent(content); err != nil {
		return GeneralName{}, within(form.String(), err)
	}
	return g, nil
}

// Word gives the word with which String begins: "dns", "email", "uri", "ip",
// "directoryName", "registeredID", "upn", "permanentIdentifier",
// "hardwareModuleName", "otherName", "x400Address" or "ediPartyName". An
// otherName whose content isn't that of its type is an "otherName".
func (g GeneralName) Word() string {
	if g.Form != OtherName || g.Value == "" {
		return g.Form.String()
	}
	return syntaxOf(g.TypeID.String()).word
}

// ParseGeneralName reads what String writes: a word, a colon and a Value; for
// an otherName without a word of its own "otherName:", the OID of its type, a
// colon and a Value. The words may be written with underscores instead of
// capitals, as the policy file has them: "directory_name:CN=device".
func ParseGeneralName(text string) (GeneralName, error) {
	word, value, found := strings.Cut(text, ":")
	if !found {
		return GeneralName{}, bad("%q is not of the form WORD:NAME, such as dns:a.example", text)
	}
	plain := strings.ToLower(strings.ReplaceAll(word, "_", ""))
	for form := range forms {
		if strings.ToLower(forms[form].word) == plain && NameForm(form) != OtherName {
			return NewName(NameForm(form), value)
		}
	}
	for _, s := range otherSyntaxes {
		if strings.ToLower(s.word) == plain {
			return NewOtherName(mustOID(s.oid), value)
		}
	}
	if plain != strings.ToLower(anySyntax.word) {
		return GeneralName{}, bad("%q is not a form of name", word)
	}
	typeID, value, _ := strings.Cut(value, ":")
	oid, ok := parseOID(typeID)
	if !ok {
		return GeneralName{}, within(anySyntax.word, bad("%q is not the OID of its type", typeID))
	}
	if own := syntaxOf(typeID); own.word != anySyntax.word {
		return GeneralName{}, within(anySyntax.word, bad("the type %s is written %s:", typeID, own.word))
	}
	return NewOtherName(oid, value)
}

func mustOID(dotted string) asn1.ObjectIdentifier {
	oid, ok := parseOID(dotted)
	if !ok {
		panic("csr: not an OID: " + dotted)
	}
	return oid
}
