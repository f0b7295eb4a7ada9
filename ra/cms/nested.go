// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Nested gives a message as the content of another one: its type, and its
// content without the ContentInfo (RFC 5652 section 6.1 has the type beside the
// encrypted content, so that a ContentInfo would say it twice).
func Nested(message []byte) (Content, error) {
	message, err := DER(message)
	if err != nil {
		return Content{}, err
	}
	kind, content, err := readContentInfo(message)
	return Content{Type: kind, Bytes: content}, err
}

// Message is the other way round. Content that is a ContentInfo already, as some
// senders nest it, stays as it is.
func (c Content) Message() ([]byte, error) {
	input := cryptobyte.String(c.Bytes)
	var body cryptobyte.String
	if input.ReadASN1(&body, der.SEQUENCE) && body.PeekASN1Tag(der.OBJECT_IDENTIFIER) {
		return c.Bytes, nil
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, c.Type)
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) { b.AddBytes(c.Bytes) })
	})
	return b.Bytes()
}
