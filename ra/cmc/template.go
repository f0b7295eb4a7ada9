// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// A CertTemplate is some of the fields of a certificate (RFC 4211 section 5). A
// nil field isn't there.
type CertTemplate struct {
	Version    bool     // v3 is written out
	Serial     *big.Int // an RA's alone
	SigningAlg []byte   // AlgorithmIdentifier, DER
	Issuer     []byte   // Name, DER
	// NotBefore and NotAfter are zero where they aren't there.
	NotBefore, NotAfter time.Time
	Subject             []byte // Name, DER; an empty one is there and empty
	SPKI                []byte // SubjectPublicKeyInfo, DER
	IssuerUID           []byte // the content of the BIT STRING
	SubjectUID          []byte // the content of the BIT STRING
	Extensions          []byte // SEQUENCE OF Extension, DER

	raw []byte // as it was read, which Marshal gives again
}

func primitive(n uint8) der.Tag   { return der.Tag(n).ContextSpecific() }
func constructed(n uint8) der.Tag { return der.Tag(n).ContextSpecific().Constructed() }

// ParseCertTemplate decodes a CertTemplate, which is a SEQUENCE. Names,
// extensions and key are given as they are, for csr to read.
func ParseCertTemplate(element []byte) (CertTemplate, error) {
	t := CertTemplate{raw: element}
	body, err := readWhole(element, "CertTemplate")
	if err != nil {
		return t, err
	}
	last := -1
	for !body.Empty() {
		var content cryptobyte.String
		var tag der.Tag
		if !body.ReadAnyASN1(&content, &tag) {
			return t, bad("not DER")
		}
		field := int(tag & 0x1f)
		if tag&0xc0 != 0x80 || field <= last || field >= len(templateFields) || tag&0x20 != templateFields[field].form {
			return t, bad("tag %#x has no place here", uint8(tag))
		}
		last = field
		if err := templateFields[field].read(&t, content); err != nil {
			return t, within(templateFields[field].name, err)
		}
	}
	return t, nil
}

// templateFields are by their tags. Names are CHOICEs, so their tags are
// explicit; all others stand in the place of the type's own.
var templateFields = [...]struct {
	name string
	form der.Tag // 0x20: constructed
	read func(*CertTemplate, cryptobyte.String) error
}{
	{"version", 0, (*CertTemplate).readVersion},
	{"serialNumber", 0, (*CertTemplate).readSerial},
	{"signingAlg", 0x20, func(t *CertTemplate, s cryptobyte.String) error { return sequence(&t.SigningAlg, s) }},
	{"issuer", 0x20, func(t *CertTemplate, s cryptobyte.String) error { return setName(&t.Issuer, s) }},
	{"validity", 0x20, (*CertTemplate).readValidity},
	{"subject", 0x20, func(t *CertTemplate, s cryptobyte.String) error { return setName(&t.Subject, s) }},
	{"publicKey", 0x20, func(t *CertTemplate, s cryptobyte.String) error { return sequence(&t.SPKI, s) }},
	{"issuerUID", 0, func(t *CertTemplate, s cryptobyte.String) error { t.IssuerUID = s; return nil }},
	{"subjectUID", 0, func(t *CertTemplate, s cryptobyte.String) error { t.SubjectUID = s; return nil }},
	{"extensions", 0x20, func(t *CertTemplate, s cryptobyte.String) error { return sequence(&t.Extensions, s) }},
}

// sequence gives the type its own tag again.
func sequence(field *[]byte, content cryptobyte.String) (err error) {
	*field, err = build(func(b *cryptobyte.Builder) { b.AddBytes(content) })
	return err
}

func setName(field *[]byte, content cryptobyte.String) error {
	var name cryptobyte.String
	if !content.ReadASN1Element(&name, der.SEQUENCE) || !content.Empty() {
		return bad("not a Name")
	}
	*field = name
	return nil
}

func (t *CertTemplate) readVersion(content cryptobyte.String) error {
	if len(content) != 1 || content[0] != 2 { // RFC 4211 section 5
		return bad("not v3")
	}
	t.Version = true
	return nil
}

func (t *CertTemplate) readSerial(content cryptobyte.String) error {
	element, err := buildTag(der.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	if err != nil {
		return err
	}
	input := cryptobyte.String(element)
	t.Serial, err = readSerial(&input)
	return err
}

func (t *CertTemplate) readValidity(content cryptobyte.String) error {
	for i, field := range []*time.Time{&t.NotBefore, &t.NotAfter} {
		var value cryptobyte.String
		var present bool
		if !content.ReadOptionalASN1(&value, &present, constructed(uint8(i))) {
			return bad("not DER")
		}
		if present && !readTime(value, field) {
			return bad("not a Time")
		}
	}
	if !content.Empty() || t.NotBefore.IsZero() && t.NotAfter.IsZero() {
		return bad("not an OptionalValidity of at least one Time")
	}
	return nil
}

func readTime(s cryptobyte.String, into *time.Time) bool {
	if s.PeekASN1Tag(der.UTCTime) {
		return s.ReadASN1UTCTime(into) && s.Empty()
	}
	return s.ReadASN1GeneralizedTime(into) && s.Empty()
}

// checkRequest holds what a requester's template must have and may not (RFC 4211
// section 5, RFC 5272 section 3.2.1.2.2).
func (t CertTemplate) checkRequest() error {
	switch {
	case t.Subject == nil || t.SPKI == nil:
		return bad("subject and publicKey must be there")
	case t.Serial != nil || t.SigningAlg != nil:
		return bad("serialNumber and signingAlg are the CA's")
	case t.IssuerUID != nil || t.SubjectUID != nil:
		return bad("issuerUID and subjectUID must not be used")
	default:
		return nil
	}
}

// Marshal encodes the template; one that was read is given as it was.
func (t CertTemplate) Marshal() ([]byte, error) {
	if t.raw != nil {
		return t.raw, nil
	}
	return build(func(b *cryptobyte.Builder) {
		if t.Version {
			b.AddASN1(primitive(0), func(b *cryptobyte.Builder) { b.AddUint8(2) })
		}
		if t.Serial != nil {
			addInner(b, primitive(1), Integer(t.Serial))
		}
		addInner(b, constructed(2), t.SigningAlg)
		addExplicit(b, constructed(3), t.Issuer)
		if !t.NotBefore.IsZero() || !t.NotAfter.IsZero() {
			b.AddASN1(constructed(4), func(b *cryptobyte.Builder) {
				addTime(b, constructed(0), t.NotBefore)
				addTime(b, constructed(1), t.NotAfter)
			})
		}
		addExplicit(b, constructed(5), t.Subject)
		addInner(b, constructed(6), t.SPKI)
		addBare(b, primitive(7), t.IssuerUID)
		addBare(b, primitive(8), t.SubjectUID)
		addInner(b, constructed(9), t.Extensions)
	})
}

// addInner writes an element's content under another tag; nil is left out.
func addInner(b *cryptobyte.Builder, tag der.Tag, element []byte) {
	if element == nil {
		return
	}
	input, content := cryptobyte.String(element), cryptobyte.String(nil)
	if !input.ReadAnyASN1(&content, nil) || !input.Empty() {
		b.SetError(bad("template field %d is not one element in DER", tag&0x1f))
		return
	}
	addBare(b, tag, content)
}

func addExplicit(b *cryptobyte.Builder, tag der.Tag, element []byte) {
	if element != nil {
		addBare(b, tag, element)
	}
}

func addBare(b *cryptobyte.Builder, tag der.Tag, content []byte) {
	if content != nil {
		b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	}
}

// lastUTC is the last year of a UTCTime (RFC 5280 section 4.1.2.5).
const lastUTC = 2049

func addTime(b *cryptobyte.Builder, tag der.Tag, t time.Time) {
	if t.IsZero() {
		return
	}
	b.AddASN1(tag, func(b *cryptobyte.Builder) {
		if t = t.UTC(); t.Year() <= lastUTC {
			b.AddASN1UTCTime(t)
			return
		}
		b.AddASN1GeneralizedTime(t)
	})
}
