// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"crypto/x509"
	"encoding/asn1"
	"math/bits"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// keyUsageBits is how many bits KeyUsage has (RFC 5280 section 4.2.1.3).
const keyUsageBits = 9

// RequestedKeyUsage decodes the keyUsage that was asked for. present is
// false when there is none. An extension that is there and malformed, asks
// for nothing, or has bits beyond decipherOnly is an error.
func (r *Request) RequestedKeyUsage() (usage x509.KeyUsage, present bool, err error) {
	e, present := r.Extension(OIDKeyUsage)
	if !present {
		return 0, false, nil
	}
	input := cryptobyte.String(e.Value)
	var set asn1.BitString
	if !input.ReadASN1BitString(&set) || !input.Empty() {
		return 0, true, within("keyUsage", bad("not a BIT STRING in DER"))
	}
	for i := range set.BitLength {
		if set.At(i) == 0 {
			continue
		}
		if i >= keyUsageBits {
			return 0, true, within("keyUsage", bad("bit %d is unknown", i))
		}
		usage |= 1 << i
	}
	if usage == 0 {
		return 0, true, within("keyUsage", bad("no bit is set"))
	}
	return usage, true, nil
}

// MarshalKeyUsage encodes the value of a keyUsage extension. No usage, or
// one that RFC 5280 doesn't know, is an error.
func MarshalKeyUsage(usage x509.KeyUsage) ([]byte, error) {
	if usage <= 0 || usage >= 1<<keyUsageBits {
		return nil, within("keyUsage", bad("%#x is not a set of key usages", int(usage)))
	}
	// X.690 section 11.2.2: a named bit list ends with its last one bit.
	length := bits.Len(uint(usage))
	reversed := bits.Reverse16(uint16(usage))
	content := []byte{byte((8 - length%8) % 8), byte(reversed >> 8)}
	if length > 8 {
		content = append(content, byte(reversed&0xff))
	}
	return wrap(der.BIT_STRING, content)
}

// RequestedExtKeyUsage decodes the extKeyUsage that was asked for, in the
// order sent. present is false when there is none; a malformed or empty one
// is an error.
func (r *Request) RequestedExtKeyUsage() (usages []asn1.ObjectIdentifier, present bool, err error) {
	e, present := r.Extension(OIDExtKeyUsage)
	if !present {
		return nil, false, nil
	}
	input := cryptobyte.String(e.Value)
	var list cryptobyte.String
	if !input.ReadASN1(&list, der.SEQUENCE) || !input.Empty() || list.Empty() {
		return nil, true, within("extKeyUsage", bad("not a SEQUENCE of at least one OID"))
	}
	for !list.Empty() {
		var oid asn1.ObjectIdentifier
		if len(usages) == maxEntries || !list.ReadASN1ObjectIdentifier(&oid) {
			return nil, true, within("extKeyUsage", bad("entry %d is not an OID, or one too many", len(usages)+1))
		}
		usages = append(usages, oid)
	}
	return usages, true, nil
}

// MarshalExtKeyUsage encodes the value of an extKeyUsage extension in the
// order given. An empty list is an error.
func MarshalExtKeyUsage(usages []asn1.ObjectIdentifier) ([]byte, error) {
	if len(usages) == 0 {
		return nil, within("extKeyUsage", bad("empty"))
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(c *cryptobyte.Builder) {
		for _, oid := range usages {
			c.AddASN1ObjectIdentifier(oid)
		}
	})
	return b.Bytes()
}

// RequestedBasicConstraints decodes the basicConstraints that were asked
// for (RFC 5280 section 4.2.1.9). present is false when there are none. A
// malformed extension, or a path length without cA, is an error.
func (r *Request) RequestedBasicConstraints() (isCA, present bool, err error) {
	e, present := r.Extension(OIDBasicConstraints)
	if !present {
		return false, false, nil
	}
	input := cryptobyte.String(e.Value)
	var body cryptobyte.String
	if !input.ReadASN1(&body, der.SEQUENCE) || !input.Empty() ||
		body.PeekASN1Tag(der.BOOLEAN) && !body.ReadASN1Boolean(&isCA) {
		return false, true, within("basicConstraints", bad("not BasicConstraints in DER"))
	}
	if body.Empty() {
		return isCA, true, nil
	}
	var pathLen uint64
	if !isCA || !body.ReadASN1Integer(&pathLen) || !body.Empty() {
		return isCA, true, within("basicConstraints", bad("a path length that is malformed or without cA"))
	}
	return isCA, true, nil
}

// MarshalExtensions encodes Extensions (RFC 5280 section 4.1), in the order
// given. An empty list is an error.
func MarshalExtensions(list []Extension) ([]byte, error) {
	if len(list) == 0 {
		return nil, within("extensions", bad("empty"))
	}
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, e := range list {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(e.ID)
				if e.Critical {
					b.AddASN1Boolean(true)
				}
				b.AddASN1OctetString(e.Value)
			})
		}
	})
	return b.Bytes()
}
