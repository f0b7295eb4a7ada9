// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
)

// extensionForms turn the text of each form into the content of extnValue.
var extensionForms = map[string]func(string) ([]byte, error){
	"der":  derOf,
	"utf8": utf8Of,
	"ia5":  ia5Of,
	"oid":  oidValueOf,
}

// derOf reads base64. YAML folds long text, so spaces in it don't count.
func derOf(text string) ([]byte, error) {
	value, err := base64.StdEncoding.Strict().DecodeString(strings.Join(strings.Fields(text), ""))
	if err != nil {
		return nil, errors.New("it is not base64")
	}
	return value, nil
}

func utf8Of(text string) ([]byte, error) {
	if _, err := spellText(text); err != nil {
		return nil, err
	}
	return encode(der.UTF8String, []byte(text))
}

func ia5Of(text string) ([]byte, error) {
	if _, err := spellText(text); err != nil {
		return nil, err
	}
	if i := strings.IndexFunc(text, func(r rune) bool { return r > 0x7e }); i >= 0 {
		return nil, errors.New("an IA5String has ASCII only")
	}
	return encode(der.IA5String, []byte(text))
}

func oidValueOf(text string) ([]byte, error) {
	oid, ok := parseOID(text)
	if !ok {
		return nil, errors.New("it is no OID, such as 1.3.6.1.4.1.32473.1")
	}
	var b cryptobyte.Builder
	b.AddASN1ObjectIdentifier(oid)
	return b.Bytes()
}

func encode(tag der.Tag, content []byte) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(c *cryptobyte.Builder) { c.AddBytes(content) })
	return b.Bytes()
}

// evaluate gives what the expression gives: as text for people, empty where it
// gives nothing, and a function that encodes it.
func (s *extensionSet) evaluate(in *celInput) (encoded func() ([]byte, error), text string, err error) {
	if s.form == "der" {
		octets, err := s.by.octets(in)
		return func() ([]byte, error) { return octets, nil }, hex.EncodeToString(octets), err
	}
	texts, err := s.by.texts(in)
	if err != nil {
		return nil, "", err
	}
	text = strings.Join(texts, ", ")
	if s.form == "policies" {
		return func() ([]byte, error) { return policiesOf(texts) }, text, nil
	}
	return func() ([]byte, error) { return extensionForms[s.form](text) }, text, nil
}

// policiesOf encodes the policies that an expression gives.
func policiesOf(texts []string) ([]byte, error) {
	var oids []asn1.ObjectIdentifier
	for _, text := range texts {
		oid, ok := parseOID(text)
		switch {
		case !ok:
			return nil, fmt.Errorf("%s is no OID", quote(text))
		case containsOID(oids, oid):
			return nil, fmt.Errorf("the policy %s stands twice", text)
		}
		oids = append(oids, oid)
	}
	return csr.MarshalPolicies(oids)
}

// knownForm tells why a value can't be that of an extension: it is not one
// value in DER, or not of the form that the extension has.
func knownForm(oid asn1.ObjectIdentifier, value []byte) error {
	if err := csr.CheckDER(value); err != nil {
		return fmt.Errorf("it is not one value in DER: %w", err)
	}
	var err error
	switch oid.String() {
	case csr.OIDCertificatePolicies:
		_, err = csr.ParsePolicies(value)
	case csr.OIDDirectoryAttributes:
		_, err = csr.ParseDirectoryAttributes(value)
	}
	return err
}

// readableText gives the text of a string or an OID, and of anything else
// nothing.
func readableText(value []byte) string {
	input := cryptobyte.String(value)
	var oid asn1.ObjectIdentifier
	if input.ReadASN1ObjectIdentifier(&oid) && input.Empty() {
		return show(oid.String())
	}
	if v, err := csr.ValueOf(nil, value); err == nil && v.Text {
		return quote(v.Value)
	}
	return ""
}
