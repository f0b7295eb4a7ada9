// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// ErrEmpty means that the hints say nothing. An empty list means the same as
// 204 (RFC 8951 section 4), and libest gives up on it, so none is made.
var ErrEmpty = errors.New("csrattrs: no key, attribute, extension or signature scheme to ask for")

// ErrOff means that the profile doesn't offer /csrattrs.
var ErrOff = errors.New("csrattrs: off for this profile")

// Encode writes hints as the list of RFC 7030: attributes and the signature
// scheme as bare OIDs, keys and extensions as attributes, in the order
// attributes, keys, extensions, signature.
//
// Of several keys the first of each type is named, since RFC 9908 section
// 3.2 allows exactly one attribute of a key type, with at most one parameter.
// A key without a size or curve has none. An attribute that is there twice is
// written once; an extension that is there twice is an error, since its two
// values can't both be meant.
func Encode(h policy.Hints) ([]byte, error) {
	if h.Off {
		return nil, ErrOff
	}
	if len(h.Attributes)+len(h.Keys)+len(h.Extensions)+len(h.Signature) == 0 {
		return nil, ErrEmpty
	}
	if err := checkExtensions(h.Extensions); err != nil {
		return nil, err
	}
	keys, err := keyAttributes(h.Keys)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, oid := range bare(h) {
			b.AddASN1ObjectIdentifier(oid)
		}
		for _, key := range keys {
			key.add(b)
		}
		if len(h.Extensions) > 0 {
			addExtensionReq(b, h.Extensions)
		}
		if len(h.Signature) > 0 {
			b.AddASN1ObjectIdentifier(h.Signature)
		}
	})
	der, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("csrattrs: %w", err)
	}
	return der, nil
}

// bare gives each attribute once, and no extensionRequest beside the one that
// carries extensions (RFC 9908 section 3.2).
func bare(h policy.Hints) []asn1.ObjectIdentifier {
	var list []asn1.ObjectIdentifier
	seen := map[string]bool{oidExtensionReq.String(): len(h.Extensions) > 0}
	for _, oid := range h.Attributes {
		if !seen[oid.String()] {
			list = append(list, oid)
		}
		seen[oid.String()] = true
	}
	return list
}

// checkExtensions refuses two extensions of one type.
func checkExtensions(extensions []csr.Extension) error {
	seen := map[string]bool{}
	for _, e := range extensions {
		if seen[e.ID.String()] {
			return fmt.Errorf("csrattrs: extension %s is there twice (RFC 9908 section 3.2)", e.ID)
		}
		seen[e.ID.String()] = true
	}
	return nil
}

// keyAttributes names the first key of each type.
func keyAttributes(hints []policy.KeyHint) ([]AttrOrOID, error) {
	var list []AttrOrOID
	seen := map[csr.KeyAlgorithm]bool{}
	for _, k := range hints {
		oid, ok := keyTypes[k.Algorithm]
		if !ok {
			return nil, fmt.Errorf("csrattrs: key algorithm %q has no OID", k.Algorithm)
		}
		if seen[k.Algorithm] {
			continue
		}
		seen[k.Algorithm] = true
		parameter, err := keyParameter(k)
		if err != nil {
			return nil, err
		}
		a := AttrOrOID{OID: oid, Attribute: true}
		if parameter != nil {
			a.Values = [][]byte{parameter}
		}
		list = append(list, a)
	}
	return list, nil
}

// keyParameter is the one value of a key's attribute: the modulus length in
// bits, or the curve. Nil means that there is nothing to say, as for Ed25519.
func keyParameter(k policy.KeyHint) ([]byte, error) {
	switch {
	case k.Algorithm == csr.RSA && k.Bits != 0:
		if k.Bits < 0 {
			return nil, fmt.Errorf("csrattrs: RSA key of %d bits", k.Bits)
		}
		return asn1.Marshal(k.Bits)
	case k.Algorithm == csr.ECDSA && k.Curve != "":
		curve, ok := curves[k.Curve]
		if !ok {
			return nil, fmt.Errorf("csrattrs: curve %q has no OID", k.Curve)
		}
		return asn1.Marshal(curve)
	}
	return nil, nil
}

// add writes the element.
func (a AttrOrOID) add(b *cryptobyte.Builder) {
	if !a.Attribute {
		b.AddASN1ObjectIdentifier(a.OID)
		return
	}
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(a.OID)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			for _, v := range a.Values {
				b.AddBytes(v)
			}
		})
	})
}

// addExtensionReq writes the one id-ExtensionReq: its SET holds exactly one
// Extensions. Never a bare OID, as in the macAddress example that RFC 9908
// section 5.2 calls not correct.
func addExtensionReq(b *cryptobyte.Builder, extensions []csr.Extension) {
	b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oidExtensionReq)
		b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				for _, e := range extensions {
					b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddASN1ObjectIdentifier(e.ID)
						if e.Critical { // DEFAULT FALSE is left out in DER
							b.AddASN1Boolean(true)
						}
						b.AddASN1OctetString(e.Value)
					})
				}
			})
		})
	})
}
