// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// A Modification is the value of modCertTemplate: an RA changes what requests
// ask for without touching them (RFC 5272 section 6.5.1).
type Modification struct {
	// Data leads to the message that the requests are in; 0 is this one.
	Data     []BodyPartID
	Requests []BodyPartID
	// Replace is false where the fields of Template are taken away.
	Replace  bool
	Template CertTemplate
}

// ParseModification decodes the value of modCertTemplate. A replace of TRUE that
// is written out, against DER, can mean nothing else and is read.
func ParseModification(value []byte) (m Modification, err error) {
	m.Replace = true
	body, err := readWhole(value, "ModCertTemplate")
	if err != nil {
		return m, err
	}
	if m.Data, err = readPath(&body); err != nil {
		return m, within("pkiDataReference", err)
	}
	if m.Requests, err = readPath(&body); err != nil {
		return m, within("certReferences", err)
	}
	if body.PeekASN1Tag(der.BOOLEAN) && !body.ReadASN1Boolean(&m.Replace) {
		return m, within("replace", bad("not a BOOLEAN in DER"))
	}
	var template cryptobyte.String
	if !body.ReadASN1Element(&template, der.SEQUENCE) || !body.Empty() {
		return m, bad("not ModCertTemplate")
	}
	if m.Template, err = ParseCertTemplate(template); err != nil {
		return m, within("certTemplate", err)
	}
	return m, nil
}

// Marshal encodes the value of modCertTemplate.
func (m Modification) Marshal() ([]byte, error) {
	if len(m.Data) == 0 || len(m.Requests) == 0 {
		return nil, bad("modCertTemplate without references")
	}
	template, err := m.Template.Marshal()
	if err != nil {
		return nil, err
	}
	return build(func(b *cryptobyte.Builder) {
		addList(b, m.Data, addID)
		addList(b, m.Requests, addID)
		if !m.Replace {
			b.AddASN1Boolean(false)
		}
		b.AddBytes(template)
	})
}
