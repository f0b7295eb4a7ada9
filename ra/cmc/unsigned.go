// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"encoding/asn1"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// UnsignedData is a value of the unsigned attribute id-aa-cmc-unsignedData (RFC
// 5272 section 3.2.3): what an RA on the way may take out.
type UnsignedData struct {
	Path    []BodyPartID // the control that it belongs to, from the outside in
	Type    asn1.ObjectIdentifier
	Content []byte // DER
}

// ParseUnsignedData decodes one value.
func ParseUnsignedData(value []byte) (u UnsignedData, err error) {
	body, err := readWhole(value, "CMCUnsignedData")
	if err != nil {
		return u, err
	}
	if u.Path, err = readPath(&body); err != nil {
		return u, within("bodyPartPath", err)
	}
	var content cryptobyte.String
	if !body.ReadASN1ObjectIdentifier(&u.Type) || !body.ReadAnyASN1Element(&content, nil) || !body.Empty() {
		return u, bad("not CMCUnsignedData")
	}
	u.Content = content
	return u, nil
}

// Marshal encodes one value.
func (u UnsignedData) Marshal() ([]byte, error) {
	if len(u.Path) == 0 {
		return nil, within("bodyPartPath", bad("no body part id"))
	}
	return build(func(b *cryptobyte.Builder) {
		addList(b, u.Path, addID)
		b.AddASN1ObjectIdentifier(u.Type)
		b.AddBytes(u.Content)
	})
}

// Raised is the value one layer up, where the message that it was in is the
// element id of another (RFC 5272 section 3.2.3).
func (u UnsignedData) Raised(id BodyPartID) UnsignedData {
	u.Path = slices.Insert(slices.Clone(u.Path), 0, id)
	return u
}
