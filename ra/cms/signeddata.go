// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// signedData is RFC 5652 section 5.1, not looked into further than one level.
type signedData struct {
	kind         string            // eContentType
	encapsulated cryptobyte.String // what follows it, empty without eContent
	element      cryptobyte.String // the EncapsulatedContentInfo
	certificates cryptobyte.String
	signers      cryptobyte.String
}

func readSignedData(body cryptobyte.String) (signedData, error) {
	var sd signedData
	var all, digests, inner, crls cryptobyte.String
	var version int64
	if !body.ReadASN1(&all, der.SEQUENCE) || !body.Empty() || !all.ReadASN1Integer(&version) || !all.ReadASN1(&digests, der.SET) {
		return sd, errors.New("SignedData: it has no version or no digest algorithms")
	}
	// Version 2 never was; some write 1 where RFC 5652 wants 3.
	if version < 1 || version > 5 {
		return sd, fmt.Errorf("SignedData: version %d is unknown", version)
	}
	if !all.ReadASN1Element(&sd.element, der.SEQUENCE) {
		return sd, errors.New("SignedData: it has no encapContentInfo")
	}
	inner = sd.element
	if !inner.ReadASN1(&inner, der.SEQUENCE) || !readOID(&inner, &sd.kind) {
		return sd, errors.New("SignedData: encapContentInfo has no content type")
	}
	sd.encapsulated = inner
	if !all.ReadOptionalASN1(&sd.certificates, nil, explicit(0)) || !all.ReadOptionalASN1(&crls, nil, explicit(1)) ||
		!all.ReadASN1(&sd.signers, der.SET) || !all.Empty() {
		return sd, errors.New("SignedData: what follows the content is not certificates, CRLs and signers")
	}
	return sd, nil
}

// readCertificates reads a CertificateSet. Each element is parsed by itself,
// so that an error says which one is wrong. Attribute certificates and the
// obsolete forms (RFC 5652 section 10.2.2) are left out; other is the place of
// one, counted from 1, or 0.
func (most bounds) readCertificates(set cryptobyte.String) (certs []*x509.Certificate, other int, err error) {
	for n := 1; !set.Empty(); n++ {
		if n > most.certificates {
			return nil, 0, fmt.Errorf("more than %d certificates", most.certificates)
		}
		var element cryptobyte.String
		var tag der.Tag
		if !set.ReadAnyASN1Element(&element, &tag) {
			return nil, 0, fmt.Errorf("certificate %d is malformed", n)
		}
		if tag != der.SEQUENCE {
			other = n
			continue
		}
		c, err := x509.ParseCertificate(element)
		if err != nil {
			return nil, 0, fmt.Errorf("certificate %d: %w", n, err)
		}
		certs = append(certs, c)
	}
	return certs, other, nil
}

// readAttributes reads what is in a SET OF Attribute. No type may come twice
// (RFC 5652 sections 11.1 to 11.3, and RFC 5272 section 3.2.3).
func readAttributes(set cryptobyte.String) ([]Attribute, error) {
	var list []Attribute
	for !set.Empty() {
		if len(list) == maxAttributes {
			return nil, fmt.Errorf("more than %d attributes", maxAttributes)
		}
		var body, values cryptobyte.String
		var a Attribute
		if !set.ReadASN1(&body, der.SEQUENCE) || !readOID(&body, &a.Type) || !body.ReadASN1(&values, der.SET) || !body.Empty() {
			return nil, fmt.Errorf("attribute %d is malformed", len(list)+1)
		}
		for !values.Empty() {
			var value cryptobyte.String
			if len(a.Values) == maxAttributes || !values.ReadAnyASN1Element(&value, nil) {
				return nil, fmt.Errorf("attribute %s: a value is malformed, or there are more than %d", a.Type, maxAttributes)
			}
			a.Values = append(a.Values, value)
		}
		if _, twice := attribute(list, a.Type); twice {
			return nil, fmt.Errorf("attribute %s is there twice", a.Type)
		}
		list = append(list, a)
	}
	if len(list) == 0 {
		return nil, errors.New("a set of attributes is empty")
	}
	return list, nil
}

func attribute(list []Attribute, kind string) (Attribute, bool) {
	for _, a := range list {
		if a.Type == kind {
			return a, true
		}
	}
	return Attribute{}, false
}

// singleValue gives the only value of an attribute that must have one.
func singleValue(list []Attribute, kind, name string) (cryptobyte.String, error) {
	a, ok := attribute(list, kind)
	if !ok {
		return nil, fmt.Errorf("the %s attribute is missing", name)
	}
	if len(a.Values) != 1 {
		return nil, fmt.Errorf("the %s attribute has %d values, want one", name, len(a.Values))
	}
	return cryptobyte.String(a.Values[0]), nil
}

// checkAttributes holds the signed or authenticated attributes to the content
// (RFC 5652 sections 5.6 and 9.3). digest is that of the content.
func checkAttributes(list []Attribute, contentType string, digest []byte) error {
	value, err := singleValue(list, idContentType, "content-type")
	if err != nil {
		return err
	}
	var kind string
	if !readOID(&value, &kind) || !value.Empty() {
		return errors.New("the content-type attribute is malformed")
	}
	if kind != contentType {
		return fmt.Errorf("%w: its content-type attribute is %s, and the content is %s", ErrVerify, kind, contentType)
	}
	if digest == nil {
		return nil
	}
	if value, err = singleValue(list, idMessageDigest, "message-digest"); err != nil {
		return err
	}
	var octets cryptobyte.String
	if !value.ReadASN1(&octets, der.OCTET_STRING) || !value.Empty() {
		return errors.New("the message-digest attribute is malformed")
	}
	if !bytes.Equal(octets, digest) {
		return fmt.Errorf("%w: its message digest is not that of the content", ErrVerify)
	}
	return nil
}

// sorted says whether what is in a SET OF is in DER order (X.690 section
// 11.6).
func sorted(set cryptobyte.String) bool {
	var before, element cryptobyte.String
	for !set.Empty() {
		if !set.ReadAnyASN1Element(&element, nil) || bytes.Compare(before, element) > 0 {
			return false
		}
		before = element
	}
	return true
}

// marshalAttributes gives what is in a SET OF Attribute, in DER order.
func marshalAttributes(list []Attribute) ([]byte, error) {
	elements := make([][]byte, len(list))
	for i, a := range list {
		var b cryptobyte.Builder
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			addOID(b, a.Type)
			b.AddASN1(der.SET, func(b *cryptobyte.Builder) { b.AddBytes(join(a.Values)) })
		})
		var err error
		if elements[i], err = b.Bytes(); err != nil {
			return nil, err
		}
	}
	return join(elements), nil
}

// join puts the elements of a SET OF in DER order.
func join(elements [][]byte) []byte {
	elements = slices.Clone(elements)
	slices.SortFunc(elements, bytes.Compare)
	return bytes.Join(elements, nil)
}

// asSet gives contents the tag of a SET: what is signed is not the tag that
// stands in the message (RFC 5652 section 5.4).
func asSet(contents []byte) []byte {
	return append(appendHeader(nil, tagSet, len(contents)), contents...)
}
