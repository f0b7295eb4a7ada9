// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// What a client takes of a server: no device needs more.
const (
	maxEntries = 100   // RDNs, attributes, values, extensions, names
	maxBits    = 16384 // of an RSA placeholder
)

// ParseTemplate reads a CertificationRequestInfoTemplate as a client meets it.
// Beyond RFC 9908 section 3.4 it takes: absent attributes; extensions under
// the OID that the RFC's own example misprints, or as the single
// ExtensionTemplate that its text speaks of; id-ExtensionReq beside
// id-aa-extensionReqTemplate, whose extensions are joined; attributes without
// values; RDNs whose value is an empty string, as CMP writes what is left to
// the client; a critical FALSE that is written out. The parts share der's
// memory.
func ParseTemplate(der []byte) (Template, error) {
	t, err := parseTemplate(der)
	if err != nil {
		return Template{}, fmt.Errorf("csrattrs: template: %w", err)
	}
	return t, nil
}

func parseTemplate(der []byte) (t Template, err error) {
	input, body := cryptobyte.String(der), cryptobyte.String(nil)
	var version int
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) || !input.Empty() || !body.ReadASN1Integer(&version) {
		return t, errors.New("not a SEQUENCE that begins with a version")
	}
	if version != 0 {
		return t, fmt.Errorf("version %d, and only v1 (0) is known", version)
	}
	var subject, key, attributes cryptobyte.String
	var present bool
	if body.PeekASN1Tag(cbasn1.SEQUENCE) {
		if !body.ReadASN1(&subject, cbasn1.SEQUENCE) {
			return t, errors.New("the subject is not DER")
		}
		if t.Subject, err = parseSubject(subject); err != nil {
			return t, err
		}
	}
	if !body.ReadOptionalASN1(&key, &present, cbasn1.Tag(0).ContextSpecific().Constructed()) {
		return t, errors.New("subjectPKInfo is not DER")
	}
	if present {
		if t.Key, err = parseKey(key); err != nil {
			return t, err
		}
	}
	if !body.ReadOptionalASN1(&attributes, nil, cbasn1.Tag(1).ContextSpecific().Constructed()) || !body.Empty() {
		return t, errors.New("attributes [1] are malformed, or something follows them")
	}
	return t, t.parseAttributes(attributes)
}

func parseSubject(list cryptobyte.String) ([]RDN, error) {
	var subject []RDN
	for !list.Empty() {
		var set cryptobyte.String
		if len(subject) == maxEntries || !list.ReadASN1(&set, cbasn1.SET) || set.Empty() {
			return nil, fmt.Errorf("RDN %d is not a SET with an attribute, or one too many", len(subject)+1)
		}
		var rdn RDN
		for !set.Empty() {
			a, known, err := parseNameAttribute(&set)
			if err != nil || len(rdn) == maxEntries {
				return nil, fmt.Errorf("RDN %d: an attribute is malformed, or one too many", len(subject)+1)
			}
			if known {
				rdn = append(rdn, a)
			}
		}
		if len(rdn) > 0 {
			subject = append(subject, rdn)
		}
	}
	return subject, nil
}

func parseNameAttribute(set *cryptobyte.String) (a NameAttribute, known bool, err error) {
	var pair, value, content cryptobyte.String
	if !set.ReadASN1(&pair, cbasn1.SEQUENCE) {
		return a, false, errors.New("not an attribute")
	}
	if a.Type, known, err = readOID(&pair); err != nil || pair.Empty() {
		return a, known, err
	}
	if !pair.ReadAnyASN1Element(&value, nil) || !pair.Empty() {
		return a, false, errors.New("not one value")
	}
	whole := value
	if !whole.ReadAnyASN1(&content, nil) {
		return a, false, errors.New("the value is not DER")
	}
	if !content.Empty() {
		a.Value = value
	}
	return a, known, nil
}

func parseKey(body cryptobyte.String) (*Key, error) {
	var k Key
	var algorithm cryptobyte.String
	var known bool
	var err error
	if !body.ReadASN1(&algorithm, cbasn1.SEQUENCE) {
		return nil, errors.New("subjectPKInfo has no algorithm")
	}
	if k.Algorithm, known, err = readOID(&algorithm); err != nil || !known {
		return nil, errors.New("subjectPKInfo has no algorithm that can be read")
	}
	if !algorithm.Empty() {
		var parameters cryptobyte.String
		if !algorithm.ReadAnyASN1Element(&parameters, nil) || !algorithm.Empty() {
			return nil, errors.New("the parameters of subjectPKInfo are not DER")
		}
		k.Parameters = parameters
	}
	if body.Empty() {
		return &k, nil
	}
	var public []byte
	if !body.ReadASN1BitStringAsBytes(&public) || !body.Empty() {
		return nil, errors.New("subjectPublicKey is not a BIT STRING")
	}
	if k.Algorithm.Equal(keyTypes[csr.RSA]) && len(public) > 0 {
		if k.Bits, err = placeholderBits(public); err != nil {
			return nil, err
		}
	}
	return &k, nil
}

// placeholderBits is the modulus length of an RSAPublicKey.
func placeholderBits(public []byte) (int, error) {
	input, body := cryptobyte.String(public), cryptobyte.String(nil)
	modulus := new(big.Int)
	if !input.ReadASN1(&body, cbasn1.SEQUENCE) || !body.ReadASN1Integer(modulus) || modulus.Sign() <= 0 || modulus.BitLen() > maxBits {
		return 0, fmt.Errorf("the placeholder is not an RSA key of up to %d bits", maxBits)
	}
	return modulus.BitLen(), nil
}

// Hint gives the key as a hint, where we can make one.
func (k Key) Hint() (policy.KeyHint, bool) {
	for algorithm, oid := range keyTypes {
		if !k.Algorithm.Equal(oid) {
			continue
		}
		if algorithm == csr.ECDSA {
			return readKey(algorithm, k.Parameters)
		}
		return policy.KeyHint{Algorithm: algorithm, Bits: k.Bits}, true
	}
	return policy.KeyHint{}, false
}

func (t *Template) parseAttributes(list cryptobyte.String) error {
	for n := 1; !list.Empty(); n++ {
		if n > maxEntries {
			return fmt.Errorf("more than %d attributes", maxEntries)
		}
		a, known, err := parseElement(&list)
		if err != nil || !a.Attribute {
			return fmt.Errorf("attribute %d is malformed", n)
		}
		switch {
		case !known: // nobody here can recognize it
		case a.OID.Equal(oidExtensionReq), a.OID.Equal(oidExtensionReqTmpl), a.OID.Equal(oidExtensionReqMisprt):
			for _, value := range a.Values {
				if err := t.parseExtensions(value); err != nil {
					return fmt.Errorf("attribute %s: %w", a.OID, err)
				}
			}
		case slices.ContainsFunc(t.Attributes, func(b csr.Attribute) bool { return b.Type.Equal(a.OID) }): // said already
		default:
			t.Attributes = append(t.Attributes, csr.Attribute{Type: a.OID, Values: a.Values})
		}
	}
	return nil
}

func (t *Template) parseExtensions(der []byte) error {
	input, list := cryptobyte.String(der), cryptobyte.String(nil)
	if !input.ReadASN1(&list, cbasn1.SEQUENCE) || !input.Empty() {
		return errors.New("not a SEQUENCE of extensions")
	}
	if list.PeekASN1Tag(cbasn1.OBJECT_IDENTIFIER) {
		list = der // a single ExtensionTemplate
	}
	for !list.Empty() {
		e, known, err := parseExtension(&list)
		if err != nil {
			return fmt.Errorf("extension %d: %w", len(t.Extensions)+1, err)
		}
		if len(t.Extensions) == maxEntries || known && t.extension(e.ID) != nil {
			return fmt.Errorf("extension %s is there twice, or one too many", e.ID)
		}
		if known {
			t.Extensions = append(t.Extensions, e)
		}
	}
	return nil
}

func (t *Template) extension(oid asn1.ObjectIdentifier) *Extension {
	for i := range t.Extensions {
		if t.Extensions[i].ID.Equal(oid) {
			return &t.Extensions[i]
		}
	}
	return nil
}

func parseExtension(list *cryptobyte.String) (e Extension, known bool, err error) {
	var body, value cryptobyte.String
	if !list.ReadASN1(&body, cbasn1.SEQUENCE) {
		return e, false, errors.New("not a SEQUENCE")
	}
	if e.ID, known, err = readOID(&body); err != nil {
		return e, false, err
	}
	if body.PeekASN1Tag(cbasn1.BOOLEAN) && !body.ReadASN1Boolean(&e.Critical) {
		return e, false, errors.New("critical is not a BOOLEAN in DER")
	}
	if body.Empty() {
		return e, known, nil
	}
	if !body.ReadASN1(&value, cbasn1.OCTET_STRING) || !body.Empty() {
		return e, false, errors.New("not one OCTET STRING")
	}
	e.Value = value
	// An empty one is how CMP leaves a value to the client; no extension has
	// a value of no bytes.
	if value.Empty() {
		e.Value = nil
	}
	if known && e.ID.Equal(oidSubjectAltName) && e.Value != nil {
		_, err = e.Names()
	}
	return e, known, err
}
