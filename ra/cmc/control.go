// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// NewControl makes a control of one of the types named here.
func NewControl(id BodyPartID, oid string, values ...[]byte) Control {
	return Control{ID: id, Type: oidOf(oid), Values: values}
}

// All gives the controls of a type, in the order sent.
func (c Controls) All(oid string) Controls {
	var found Controls
	for _, control := range c {
		if control.Type.String() == oid {
			found = append(found, control)
		}
	}
	return found
}

// Only gives the one value of a control that may occur once. present is false
// where there is none; a second control of the type, or another number of
// values, is an error.
func (c Controls) Only(oid string) (id BodyPartID, value []byte, present bool, err error) {
	found := c.All(oid)
	if len(found) == 0 {
		return 0, nil, false, nil
	}
	if len(found) > 1 {
		return found[1].ID, nil, true, of(found[1].ID, within(names[oid], bad("occurs twice")))
	}
	value, err = found[0].Value()
	return found[0].ID, value, true, err
}

// Value gives the one value of a control.
func (c Control) Value() ([]byte, error) {
	if len(c.Values) != 1 {
		return nil, of(c.ID, within(Name(c.Type), bad("%d values, where there is one", len(c.Values))))
	}
	return c.Values[0], nil
}

// Octets gives the one value of a control whose type is OCTET STRING:
// senderNonce, recipientNonce, dataReturn, identityProof, popLinkRandom,
// regInfo, responseInfo, queryPending.
func (c Controls) Octets(oid string) (octets []byte, present bool, err error) {
	id, value, present, err := c.Only(oid)
	if !present || err != nil {
		return nil, present, err
	}
	if octets, err = ParseOctets(value); err != nil {
		return nil, true, of(id, within(names[oid], err))
	}
	return octets, true, nil
}

// Identification gives the text of the identification control (RFC 5272 section
// 6.2.3).
func (c Controls) Identification() (text string, present bool, err error) {
	id, value, present, err := c.Only(OIDIdentification)
	if !present || err != nil {
		return "", present, err
	}
	input := cryptobyte.String(value)
	if text, err = readUTF8(&input); err == nil && !input.Empty() {
		err = bad("trailing bytes")
	}
	if err != nil {
		return "", true, of(id, within("identification", err))
	}
	return text, true, nil
}

// maxTransaction bounds a transactionId, which has to be kept and compared.
const maxTransaction = 64

// TransactionID gives the number of the transactionId control (RFC 5272 section
// 6.6), of at most 64 bytes.
func (c Controls) TransactionID() (n *big.Int, present bool, err error) {
	id, value, present, err := c.Only(OIDTransactionID)
	if !present || err != nil {
		return nil, present, err
	}
	input := cryptobyte.String(value)
	n = new(big.Int)
	if len(value) > maxTransaction || !input.ReadASN1Integer(n) || !input.Empty() {
		return nil, true, of(id, within("transactionId", bad("not an INTEGER of at most %d bytes", maxTransaction)))
	}
	return n, true, nil
}

// ParseOctets decodes an OCTET STRING.
func ParseOctets(value []byte) ([]byte, error) {
	input := cryptobyte.String(value)
	var octets []byte
	if !input.ReadASN1Bytes(&octets, der.OCTET_STRING) || !input.Empty() {
		return nil, bad("not an OCTET STRING in DER")
	}
	return octets, nil
}

// Octets encodes an OCTET STRING.
func Octets(octets []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1OctetString(octets)
	return b.BytesOrPanic() // of a length that Go can have
}

// UTF8 encodes a UTF8String.
func UTF8(text string) []byte {
	var b cryptobyte.Builder
	addUTF8(&b, text)
	return b.BytesOrPanic() // as above
}

// Integer encodes an INTEGER.
func Integer(n *big.Int) []byte {
	var b cryptobyte.Builder
	b.AddASN1BigInt(n)
	return b.BytesOrPanic() // as above
}

// ParseID decodes a BodyPartID, the value of authData (RFC 5272 section 6.16).
func ParseID(value []byte) (BodyPartID, error) {
	input := cryptobyte.String(value)
	id, err := readID(&input)
	if err == nil && !input.Empty() {
		err = bad("trailing bytes")
	}
	return id, err
}

// ParsePath decodes a BodyPartPath or a BodyPartList of at least one id: the
// value of raIdentityWitness and responseBody, of batchRequests and
// batchResponses.
func ParsePath(value []byte) ([]BodyPartID, error) {
	input := cryptobyte.String(value)
	path, err := readPath(&input)
	if err == nil && !input.Empty() {
		err = bad("trailing bytes")
	}
	return path, err
}

// MarshalPath encodes a BodyPartPath or BodyPartList.
func MarshalPath(path []BodyPartID) ([]byte, error) {
	if len(path) == 0 {
		return nil, bad("no body part id")
	}
	return build(func(b *cryptobyte.Builder) {
		for _, id := range path {
			addID(b, id)
		}
	})
}

// ParseProcessed decodes the value of controlProcessed (RFC 5272 section 6.19).
func ParseProcessed(value []byte) ([]Reference, error) {
	body, err := readWhole(value, "ControlList")
	if err != nil {
		return nil, err
	}
	list, err := readList(&body, "bodyList", "reference", readReference)
	if err == nil && (len(list) == 0 || !body.Empty()) {
		err = bad("not one list of references")
	}
	return list, err
}

// MarshalProcessed encodes the value of controlProcessed.
func MarshalProcessed(list []Reference) ([]byte, error) {
	if len(list) == 0 {
		return nil, bad("no references")
	}
	return build(func(b *cryptobyte.Builder) { addList(b, list, addReference) })
}
