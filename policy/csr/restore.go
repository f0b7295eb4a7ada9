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
	k, err := RestoreKeyless(p)
	if err != nil {
		return nil, err
	}
	r := &k.request
	r.RawSPKI, r.restored = p.SPKI, p.Signature
	if r.Key, err = parseKey(cryptobyte.String(p.SPKI)); err != nil {
		return nil, within("key", err)
	}
	return r, nil
}

// RestoreKeyless is Restore for a request to /serverkeygen: of the parts, SPKI
// and Signature are not looked at.
func RestoreKeyless(p Parts) (*Keyless, error) {
	r := Request{
		Raw: make([]byte, max(p.Size, 0)), RawSubject: p.Subject,
		Extensions: p.Extensions, Attributes: p.Attributes,
	}
	var err error
	if r.Names.Subject, err = parseName(p.Subject); err != nil {
		return nil, within("subject", err)
	}
	if r.Names.SAN, r.Names.HasSAN, err = sanOf(r.Extensions); err != nil {
		return nil, err
	}
	return &Keyless{r}, nil
}
