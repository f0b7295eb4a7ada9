// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"

	"golang.org/x/crypto/cryptobyte"
)

// A Keyless is a request to /serverkeygen, whose key and signature nobody has
// looked at: RFC 7030 section 4.4.1, "the server MUST ignore the public key
// values and signature in the CSR". It is a type of its own, so that no other
// operation can take it for a request that proves something.
type Keyless struct{ request Request }

// ParseKeyless decodes a certification request as Parse does, save that any
// value in DER may stand where the key, the signature and its algorithm do.
// Errors are of type *ParseError.
func ParseKeyless(raw []byte) (*Keyless, error) {
	k := &Keyless{Request{Raw: bytes.Clone(raw)}}
	unread := func([]byte) error { return nil }
	if err := k.request.parse(unread, skipSignature); err != nil {
		return nil, err
	}
	k.request.RawInfo = nil // there is nothing that it would prove
	return k, nil
}

// skipSignature wants two values, an algorithm and a signature, whatever they are.
func skipSignature(outer *cryptobyte.String) error {
	var algorithm, signature cryptobyte.String
	if !outer.ReadAnyASN1Element(&algorithm, nil) || !outer.ReadAnyASN1Element(&signature, nil) || !outer.Empty() {
		return bad("not two values in DER, and nothing after them")
	}
	return nil
}

// Unkeyed gives the request as if it had neither key nor signature: its key is
// of no kind that a policy can accept, and CheckPOP fails.
func (k *Keyless) Unkeyed() *Request {
	if k == nil {
		return nil
	}
	r := k.request
	return &r
}
