// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"bytes"
	"encoding/asn1"
)

// Form is how a request was written.
type Form uint8

// The forms of a request. What needs a PKCS #10 asks for it: see
// [Request.PKCS10].
const (
	PKCS10 Form = iota // RFC 2986
	CRMF               // RFC 4211
)

// Form tells a PKCS #10 from a CRMF request.
func (r *Request) Form() Form { return r.form }

// PKCS10 gives the CertificationRequest, for who must have one. ok is false
// where the request was written in another form: Raw is then something else.
func (r *Request) PKCS10() (raw []byte, ok bool) { return r.Raw, r.form == PKCS10 }

// A Template is what a CertReqMsg of CRMF (RFC 4211) asks for, taken apart by
// who read it.
type Template struct {
	Raw     []byte // the whole CertReqMsg, DER
	Signed  []byte // CertRequest, DER: what a signature in it covers
	Subject []byte // Name, DER
	SPKI    []byte // SubjectPublicKeyInfo, DER
	// Extensions is the SEQUENCE OF Extension, DER. Nil where there is none.
	Extensions []byte
	// Controls are those of the CertRequest. They are read as the attributes of
	// a PKCS #10 are: RFC 6402 section 2.8 and RFC 5272 section 6.3.1.1 give both
	// the same content.
	Controls []Attribute

	// The signature of POPOSigningKey over Signed. A nil SignatureOID is that
	// of a request without one, whose possession is to be proven otherwise.
	SignatureOID    asn1.ObjectIdentifier
	SignatureParams []byte
	Signature       []byte
}

// FromCRMF makes a request of a CRMF template, as lossless as [Parse] makes it
// of a PKCS #10. CheckPOP verifies its signature, and fails where it has none.
// The request shares no memory with the template's elements. Errors are of type
// *ParseError.
func FromCRMF(t Template) (*Request, error) {
	r := &Request{
		form: CRMF, Raw: bytes.Clone(t.Raw), RawInfo: bytes.Clone(t.Signed),
		RawSubject: bytes.Clone(t.Subject), RawSPKI: bytes.Clone(t.SPKI),
		SignatureOID: t.SignatureOID, SignatureParams: bytes.Clone(t.SignatureParams), Signature: bytes.Clone(t.Signature),
	}
	var err error
	if r.Names.Subject, err = parseName(r.RawSubject); err != nil {
		return nil, within("subject", err)
	}
	if r.Key, err = parseKey(r.RawSPKI); err != nil {
		return nil, within("key", err)
	}
	if t.Extensions != nil {
		if r.Extensions, err = parseExtensions(bytes.Clone(t.Extensions)); err != nil {
			return nil, within("extensions", err)
		}
	}
	if err := r.addControls(t.Controls); err != nil {
		return nil, within("controls", err)
	}
	r.Names.SAN, r.Names.HasSAN, err = sanOf(r.Extensions)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// addControls takes in the controls under the rules of attributes. Extensions
// have their place in the template: in a control, a reader of the one might
// not see the other.
func (r *Request) addControls(controls []Attribute) error {
	if len(controls) > maxEntries {
		return bad("more than %d", maxEntries)
	}
	seen := map[string]bool{}
	for _, c := range controls {
		oid := c.Type.String()
		switch {
		case seen[oid]:
			return bad("%s occurs twice", oid)
		case oid == OIDExtensionRequest || oid == oidMicrosoftExtensions:
			return bad("%s carries extensions, whose place is the template", oid)
		}
		seen[oid] = true
		values := make([][]byte, len(c.Values))
		for i, v := range c.Values {
			values[i] = bytes.Clone(v)
		}
		r.Attributes = append(r.Attributes, Attribute{Type: c.Type, Values: values})
	}
	return nil
}
