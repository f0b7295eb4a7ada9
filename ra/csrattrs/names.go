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

// RFC 5280 section 4.2.1.
var (
	oidKeyUsage       = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidExtKeyUsage    = asn1.ObjectIdentifier{2, 5, 29, 37}
)

// A Name is one name of an expected SAN. Raw is the whole GeneralName; nil:
// the client fills in one of the form.
type Name struct {
	Form csr.NameForm
	// TypeID is that of an otherName.
	TypeID asn1.ObjectIdentifier
	Raw    []byte
}

// marshalNames writes a SAN with names that are left to the client: RFC 9908
// section 3.4 has an iPAddress of no bytes and a directoryName of no RDNs for
// that, and the others follow. A form that has no empty value leaves the whole
// value to the client: nil.
func marshalNames(hints []policy.NameHint) ([]byte, error) {
	var b cryptobyte.Builder
	whole := true
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, h := range hints {
			tag := cbasn1.Tag(h.Form).ContextSpecific()
			switch {
			case h.Raw != nil:
				b.AddBytes(h.Raw)
			case h.Form == csr.DNS, h.Form == csr.Email, h.Form == csr.URI, h.Form == csr.IP:
				b.AddASN1(tag, func(*cryptobyte.Builder) {})
			case h.Form == csr.DirectoryName:
				b.AddASN1(tag.Constructed(), func(b *cryptobyte.Builder) {
					b.AddASN1(cbasn1.SEQUENCE, func(*cryptobyte.Builder) {})
				})
			default: // otherName, registeredID
				whole = false
			}
		}
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("csrattrs: subjectAltName: %w", err)
	}
	if !whole {
		return nil, nil
	}
	return der, nil
}

// Names reads the value of a subjectAltName. A name without content is one to
// be filled in.
func (e Extension) Names() ([]Name, error) {
	input, list := cryptobyte.String(e.Value), cryptobyte.String(nil)
	if !input.ReadASN1(&list, cbasn1.SEQUENCE) || !input.Empty() {
		return nil, errors.New("csrattrs: the subjectAltName is not a SEQUENCE of names in DER")
	}
	var names []Name
	for !list.Empty() {
		if len(names) == maxEntries {
			return nil, fmt.Errorf("csrattrs: the subjectAltName has more than %d names", maxEntries)
		}
		name, err := readName(&list)
		if err != nil {
			return nil, fmt.Errorf("csrattrs: the subjectAltName's name %d: %w", len(names)+1, err)
		}
		names = append(names, name)
	}
	return names, nil
}

func readName(list *cryptobyte.String) (Name, error) {
	var element, content cryptobyte.String
	var tag cbasn1.Tag
	if !list.ReadAnyASN1Element(&element, &tag) {
		return Name{}, errors.New("it is not DER")
	}
	name := Name{Form: csr.NameForm(tag & 0x1f), Raw: element}
	if tag&0xc0 != cbasn1.Tag(0).ContextSpecific() || name.Form > csr.RegisteredID {
		return Name{}, fmt.Errorf("tag %#02x is not that of a GeneralName", uint8(tag))
	}
	whole := element
	if !whole.ReadAnyASN1(&content, nil) {
		return Name{}, errors.New("it is not DER")
	}
	switch {
	case content.Empty():
		name.Raw = nil
	case name.Form == csr.DirectoryName && len(content) == 2 && content[1] == 0:
		name.Raw = nil
	case name.Form == csr.OtherName:
		if !content.ReadASN1ObjectIdentifier(&name.TypeID) {
			return Name{}, errors.New("an otherName without a type")
		}
		if content.Empty() { // a type without a value
			name.Raw = nil
		}
	}
	return name, nil
}
