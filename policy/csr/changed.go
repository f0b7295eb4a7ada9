// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"encoding/asn1"
	"slices"
)

// A Change is what a registration authority asks for in the place of what a
// request says itself (RFC 5272 section 6.5.1). The request stays as it was
// signed: to alter it would break its proof of possession (section 7).
type Change struct {
	Subject []byte // Name, DER; nil: the request's
	// Extensions is a SEQUENCE OF Extension, DER: each takes the place of the
	// one with its ID, or is added. nil: none.
	Extensions []byte
	// Without are the extensions that are taken away.
	Without []asn1.ObjectIdentifier
	// NoSubject takes the subject away.
	NoSubject bool
}

// emptyName is an RDNSequence without RDNs.
var emptyName = []byte{0x30, 0}

// Changed gives the request as somebody else asks for it: other names and
// extensions, with the key, the attributes, the signature and Raw of the
// request. CheckPOP verifies what the request's own key has signed. Original
// gives its own names. The error is a *ParseError.
func (r *Request) Changed(c Change) (*Request, error) {
	out := *r
	if out.original == nil {
		own := r.Names
		out.original = &own
	}
	if c.Subject != nil {
		out.RawSubject = bytes.Clone(c.Subject)
	}
	if c.NoSubject {
		out.RawSubject = emptyName
	}
	out.Extensions = slices.DeleteFunc(slices.Clone(r.Extensions), func(e Extension) bool { return slices.ContainsFunc(c.Without, e.ID.Equal) })
	var err error
	if c.Extensions != nil {
		more, err := parseExtensions(bytes.Clone(c.Extensions))
		if err != nil {
			return nil, within("extensions", err)
		}
		for _, e := range more {
			out.put(e)
		}
	}
	if len(out.Extensions) > maxEntries {
		return nil, within("extensions", bad("more than %d", maxEntries))
	}
	if out.Names.Subject, err = parseName(out.RawSubject); err != nil {
		return nil, within("subject", err)
	}
	if out.Names.SAN, out.Names.HasSAN, err = sanOf(out.Extensions); err != nil {
		return nil, err
	}
	return &out, nil
}

func (r *Request) put(e Extension) {
	i := slices.IndexFunc(r.Extensions, func(have Extension) bool { return have.ID.Equal(e.ID) })
	if i < 0 {
		r.Extensions = append(r.Extensions, e)
		return
	}
	r.Extensions[i] = e
}

// Original gives the names that the request has by itself, where somebody else
// asks for others.
func (r *Request) Original() (names Names, changed bool) {
	if r.original == nil {
		return Names{}, false
	}
	return *r.original, true
}
