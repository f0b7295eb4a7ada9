// SPDX-License-Identifier: Apache-2.0

package csr

import "golang.org/x/crypto/cryptobyte"

// Parts are what a record keeps of a request.
type Parts struct {
	Size       int    // of the whole request, in bytes of DER
	Subject    []byte // Name, DER
	SPKI       []byte // SubjectPublicKeyInfo, DER
	Extensions []Extension
	// Attributes may lack their values, which a record doesn't keep of all.
	Attributes []Attribute
	Signature  string // as SignatureName gives it
}

// Restore makes a request of what a record has kept of it, so that a decision
// can be repeated. It has no signature: CheckPOP fails, and Raw has the right
// size and no content. The error is a *ParseError.
func Restore(p Parts) (*Request, error) {
	r := &Request{
		Raw: make([]byte, max(p.Size, 0)), RawSubject: p.Subject, RawSPKI: p.SPKI,
		Extensions: p.Extensions, Attributes: p.Attributes, restored: p.Signature,
	}
	var err error
	if r.Names.Subject, err = parseName(p.Subject); err != nil {
		return nil, within("subject", err)
	}
	if r.Key, err = parseKey(cryptobyte.String(p.SPKI)); err != nil {
		return nil, within("key", err)
	}
	if r.Names.SAN, r.Names.HasSAN, err = sanOf(r.Extensions); err != nil {
		return nil, err
	}
	return r, nil
}
