// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Marshal encodes the message in DER. Ids must be as [ParsePKIData] takes them.
func (d *PKIData) Marshal() ([]byte, error) {
	if err := unique(d.IDs()); err != nil {
		return nil, err
	}
	requests, err := d.MarshalRequests()
	if err != nil {
		return nil, err
	}
	return build(func(b *cryptobyte.Builder) {
		addList(b, d.Controls, addControl)
		b.AddBytes(requests)
		addList(b, d.Contents, addContent)
		addList(b, d.Others, addOther)
	})
}

// MarshalRequests gives reqSequence with tag and length: what an identity proof
// is computed over (RFC 5272 section 6.2.1).
func (d *PKIData) MarshalRequests() ([]byte, error) {
	if d.RawRequests != nil {
		return d.RawRequests, nil
	}
	return build(func(b *cryptobyte.Builder) {
		for _, r := range d.Requests {
			b.AddBytes(r.Raw)
		}
	})
}

// Marshal encodes the message in DER. Ids must be as [ParsePKIResponse] takes
// them.
func (r *PKIResponse) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		addList(b, r.Controls, addControl)
		addList(b, r.Contents, addContent)
		addList(b, r.Others, addOther)
	})
}

// build gives a SEQUENCE.
func build(content func(*cryptobyte.Builder)) ([]byte, error) { return buildTag(der.SEQUENCE, content) }

func buildTag(tag der.Tag, content func(*cryptobyte.Builder)) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(tag, content)
	return b.Bytes()
}

func addList[T any](b *cryptobyte.Builder, list []T, add func(*cryptobyte.Builder, T)) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range list {
			add(b, e)
		}
	})
}

func addID(b *cryptobyte.Builder, id BodyPartID) { b.AddASN1Uint64(uint64(id)) }

func addControl(b *cryptobyte.Builder, c Control) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		addID(b, c.ID)
		b.AddASN1ObjectIdentifier(c.Type)
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) {
			for _, v := range c.Values {
				b.AddBytes(v)
			}
		})
	})
}

func addContent(b *cryptobyte.Builder, c Content) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		addID(b, c.ID)
		b.AddBytes(c.Raw)
	})
}

func addOther(b *cryptobyte.Builder, o OtherMsg) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) { addTyped(b, o) })
}

func addTyped(b *cryptobyte.Builder, o OtherMsg) {
	addID(b, o.ID)
	b.AddASN1ObjectIdentifier(o.Type)
	b.AddBytes(o.Value)
}

// NewPKCS10 makes a tcr of a CertificationRequest in DER.
func NewPKCS10(id BodyPartID, request []byte) (Request, error) {
	return newRequest(tagPKCS10, func(b *cryptobyte.Builder) {
		addID(b, id)
		b.AddBytes(request)
	})
}

// NewCRMF makes a crm of a CertReqMsg in DER, whose certReqId becomes its id.
func NewCRMF(msg []byte) (Request, error) {
	content, err := readWhole(msg, "CertReqMsg")
	if err != nil {
		return Request{}, err
	}
	return newRequest(tagCRMF, func(b *cryptobyte.Builder) { b.AddBytes(content) })
}

// NewOther makes an orm.
func NewOther(id BodyPartID, kind asn1.ObjectIdentifier, value []byte) (Request, error) {
	return newRequest(tagOther, func(b *cryptobyte.Builder) { addTyped(b, OtherMsg{id, kind, value}) })
}

// newRequest reads what it has made: nobody sends what a server can't read.
func newRequest(tag der.Tag, content func(*cryptobyte.Builder)) (Request, error) {
	raw, err := buildTag(tag, content)
	if err != nil {
		return Request{}, err
	}
	input := cryptobyte.String(raw)
	r, err := readRequest(&input)
	if err == nil && !input.Empty() {
		err = bad("%d bytes after the request", len(input))
	}
	return r, err
}
