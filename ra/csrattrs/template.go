// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// RFC 9908 appendix A.
var (
	oidTemplate           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 61}
	oidExtensionReqTmpl   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 62}
	oidExtensionReqMisprt = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 62} // as printed in RFC 9908 section 3.4
)

// A Template is a CertificationRequestInfoTemplate (RFC 9908 section 3.4): a
// request without its signature, some of whose values are left to the client.
type Template struct {
	// Subject are the expected RDNs, in order. None: the subject is free.
	Subject []RDN
	// Key is the expected key; nil: any.
	Key *Key
	// Extensions are the expected extensions.
	Extensions []Extension
	// Attributes are those beside the extensions. One without values is to
	// be filled in.
	Attributes []csr.Attribute
}

// An RDN is one expected RDN.
type RDN []NameAttribute

// A NameAttribute is an attribute of the subject. Value is its DER; nil: the
// client's.
type NameAttribute struct {
	Type  asn1.ObjectIdentifier
	Value []byte
}

// A Key is the expected key.
type Key struct {
	// Algorithm and Parameters are the AlgorithmIdentifier; Parameters are
	// DER, nil where absent.
	Algorithm  asn1.ObjectIdentifier
	Parameters []byte
	// Bits is the modulus length of the placeholder of an RSA key; 0: none.
	Bits int
}

// An Extension is an expected extension. Value is the content of extnValue;
// nil: the client's. The value of a subjectAltName can have names that are to
// be filled in: see Names.
type Extension struct {
	ID       asn1.ObjectIdentifier
	Critical bool
	Value    []byte
}

// Marshal encodes the template. Extensions that all have complete values go
// as id-ExtensionReq, else as id-aa-extensionReqTemplate (RFC 9908 section
// 3.4: never both).
func (t Template) Marshal() ([]byte, error) {
	attributes, err := t.attributes()
	if err != nil {
		return nil, err
	}
	key, err := t.Key.marshal()
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0) // v1
		if len(t.Subject) > 0 {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, rdn := range t.Subject {
					rdn.add(b)
				}
			})
		}
		b.AddBytes(key)
		// Not OPTIONAL: empty where there are none.
		b.AddASN1(cbasn1.Tag(1).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			for _, a := range attributes {
				b.AddBytes(a)
			}
		})
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("csrattrs: template: %w", err)
	}
	return der, nil
}

// add writes the RDN, in the order of a DER SET OF (X.690 section 11.6).
func (r RDN) add(b *cryptobyte.Builder) {
	if len(r) == 0 {
		b.SetError(fmt.Errorf("an RDN without attributes"))
		return
	}
	var encoded [][]byte
	for _, a := range r {
		var one cryptobyte.Builder
		one.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(a.Type)
			b.AddBytes(a.Value)
		})
		der, err := one.Bytes()
		if err != nil {
			b.SetError(err)
			return
		}
		encoded = append(encoded, der)
	}
	slices.SortFunc(encoded, bytes.Compare)
	b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
		for _, der := range encoded {
			b.AddBytes(der)
		}
	})
}

// marshal writes [0] SubjectPublicKeyInfoTemplate, or nothing.
func (k *Key) marshal() ([]byte, error) {
	if k == nil {
		return nil, nil
	}
	placeholder, err := rsaPlaceholder(k.Bits)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(k.Algorithm)
			b.AddBytes(k.Parameters)
		})
		if placeholder != nil {
			b.AddASN1BitString(placeholder)
		}
	})
	return b.Bytes()
}

// rsaPlaceholder makes an RSAPublicKey that shows a length and nothing else: a
// modulus of ones is nobody's key.
func rsaPlaceholder(bits int) ([]byte, error) {
	if bits == 0 {
		return nil, nil
	}
	if bits < 0 || bits > maxBits {
		return nil, fmt.Errorf("csrattrs: RSA key of %d bits", bits)
	}
	modulus := new(big.Int).Lsh(big.NewInt(1), uint(bits))
	modulus.Sub(modulus, big.NewInt(1))
	return asn1.Marshal(struct {
		N *big.Int
		E int
	}{modulus, 65537})
}

// attributes encodes the attributes, in the order of a DER SET OF.
func (t Template) attributes() ([][]byte, error) {
	list := make([]AttrOrOID, 0, len(t.Attributes)+1)
	seen := map[string]bool{oidExtensionReq.String(): true, oidExtensionReqTmpl.String(): true, oidExtensionReqMisprt.String(): true}
	for _, a := range t.Attributes {
		if seen[a.Type.String()] {
			return nil, fmt.Errorf("csrattrs: template: attribute %s is there twice, or is one for extensions", a.Type)
		}
		seen[a.Type.String()] = true
		list = append(list, AttrOrOID{OID: a.Type, Attribute: true, Values: a.Values})
	}
	if len(t.Extensions) > 0 {
		a, err := t.extensions()
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	var encoded [][]byte
	for _, a := range list {
		var b cryptobyte.Builder
		a.add(&b)
		der, err := b.Bytes()
		if err != nil {
			return nil, fmt.Errorf("csrattrs: template: attribute %s: %w", a.OID, err)
		}
		encoded = append(encoded, der)
	}
	slices.SortFunc(encoded, bytes.Compare)
	return encoded, nil
}

func (t Template) extensions() (AttrOrOID, error) {
	a := AttrOrOID{OID: oidExtensionReq, Attribute: true}
	seen := map[string]bool{}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range t.Extensions {
			if seen[e.ID.String()] {
				b.SetError(fmt.Errorf("extension %s is there twice", e.ID))
			}
			seen[e.ID.String()] = true
			if !e.complete() {
				a.OID = oidExtensionReqTmpl
			}
			e.add(b)
		}
	})
	der, err := b.Bytes()
	if err != nil {
		return a, fmt.Errorf("csrattrs: template: %w", err)
	}
	a.Values = [][]byte{der}
	return a, nil
}

func (e Extension) add(b *cryptobyte.Builder) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(e.ID)
		if e.Critical { // DEFAULT FALSE is left out in DER
			b.AddASN1Boolean(true)
		}
		if e.Value != nil {
			b.AddASN1OctetString(e.Value)
		}
	})
}

// complete tells whether nothing of the value is left to the client.
func (e Extension) complete() bool {
	if e.Value == nil || !e.ID.Equal(oidSubjectAltName) {
		return e.Value != nil
	}
	names, err := e.Names()
	return err == nil && !slices.ContainsFunc(names, func(n Name) bool { return n.Raw == nil })
}

// templateOf gives the template that says the hints.
func templateOf(h policy.Hints) (Template, error) {
	var t Template
	for _, hint := range h.Subject {
		var rdn RDN
		for _, a := range hint {
			value, err := attributeValue(a)
			if err != nil {
				return t, err
			}
			rdn = append(rdn, NameAttribute{Type: a.Type, Value: value})
		}
		t.Subject = append(t.Subject, rdn)
	}
	var err error
	if len(h.Keys) > 0 && !h.AnyKey {
		if t.Key, err = keyOf(h.Keys[0]); err != nil {
			return t, err
		}
	}
	if t.Extensions, err = extensionsOf(h); err != nil {
		return t, err
	}
	// RFC 9908 has no other place for what linking and other attributes
	// need, and clients ignore what stands beside the template. The values
	// are the client's.
	seen := map[string]bool{}
	for _, oid := range slices.Concat(h.Linking, h.Attributes) {
		if !seen[oid.String()] {
			t.Attributes = append(t.Attributes, csr.Attribute{Type: oid})
		}
		seen[oid.String()] = true
	}
	return t, nil
}

// attributeValue encodes a value with the string type that csr picks.
func attributeValue(a policy.AttributeHint) ([]byte, error) {
	if a.Value == "" {
		return nil, nil
	}
	name, err := csr.Name{{csr.NewAttributeValue(a.Type, a.Value)}}.MarshalDER()
	if err != nil {
		return nil, fmt.Errorf("csrattrs: subject: %w", err)
	}
	input := cryptobyte.String(name)
	var rdns, set, pair cryptobyte.String
	var oid asn1.ObjectIdentifier
	if !input.ReadASN1(&rdns, cbasn1.SEQUENCE) || !rdns.ReadASN1(&set, cbasn1.SET) ||
		!set.ReadASN1(&pair, cbasn1.SEQUENCE) || !pair.ReadASN1ObjectIdentifier(&oid) {
		return nil, fmt.Errorf("csrattrs: subject: %s has no value", a.Type)
	}
	return pair, nil
}

func keyOf(hint policy.KeyHint) (*Key, error) {
	k := &Key{Algorithm: keyTypes[hint.Algorithm]}
	switch hint.Algorithm {
	case csr.RSA:
		k.Parameters, k.Bits = []byte{5, 0}, hint.Bits // RFC 3279 section 2.3.1
	case csr.ECDSA:
		curve, ok := curves[hint.Curve]
		if !ok {
			return nil, fmt.Errorf("csrattrs: curve %q has no OID", hint.Curve)
		}
		k.Parameters, _ = asn1.Marshal(curve)
	case csr.Ed25519:
	default:
		return nil, fmt.Errorf("csrattrs: key algorithm %q has no OID", hint.Algorithm)
	}
	return k, nil
}

// extensionsOf gives the extensions of the template: those that the list has,
// those that the certificate will have, and those that are the client's.
func extensionsOf(h policy.Hints) ([]Extension, error) {
	var list []Extension
	for _, e := range h.Extensions {
		list = append(list, Extension{ID: e.ID, Critical: e.Critical, Value: e.Value})
	}
	known := func(oid asn1.ObjectIdentifier) bool {
		return slices.ContainsFunc(list, func(e Extension) bool { return e.ID.Equal(oid) })
	}
	if len(h.SAN) > 0 && !known(oidSubjectAltName) {
		value, err := marshalNames(h.SAN)
		if err != nil {
			return nil, err
		}
		list = append(list, Extension{ID: oidSubjectAltName, Critical: h.SANCritical, Value: value})
	}
	if h.KeyUsage != 0 && !known(oidKeyUsage) {
		value, err := csr.MarshalKeyUsage(h.KeyUsage)
		if err != nil {
			return nil, fmt.Errorf("csrattrs: %w", err)
		}
		list = append(list, Extension{ID: oidKeyUsage, Critical: true, Value: value})
	}
	if len(h.ExtKeyUsage) > 0 && !known(oidExtKeyUsage) {
		value, err := csr.MarshalExtKeyUsage(h.ExtKeyUsage)
		if err != nil {
			return nil, fmt.Errorf("csrattrs: %w", err)
		}
		list = append(list, Extension{ID: oidExtKeyUsage, Value: value})
	}
	for _, e := range h.Planned {
		if !known(e.ID) {
			list = append(list, Extension{ID: e.ID, Critical: e.Critical, Value: e.Value})
		}
	}
	for _, oid := range h.Required {
		if !known(oid) {
			list = append(list, Extension{ID: oid})
		}
	}
	return list, nil
}
