// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	"math/rand/v2"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Mutate gives a request with one to three changes: an element is taken away,
// stands twice, changes places, gets another tag, other content or a neighbour
// from the donor. The lengths around it are made to fit, so that most mutants
// are still DER, and one reader or another reads on. The same state of random
// gives the same mutant.
func Mutate(random *rand.Rand, der, donor []byte) []byte {
	roots, ok := elements(der)
	if !ok || len(roots) == 0 {
		return slices.Clone(der)
	}
	gifts, _ := elements(donor)
	for range 1 + random.IntN(3) {
		all := descendants(roots)
		at := all[random.IntN(len(all))]
		at.change(random, descendants(gifts))
	}
	return encode(roots)
}

// An element is one TLV of a request, taken apart.
type element struct {
	tag     byte
	content []byte     // of one that is in no parts
	prefix  []byte     // before the parts: the unused bits of a BIT STRING
	parts   []*element // of one that holds others, in an OCTET STRING too
	length  lengthForm
}

type lengthForm uint8

const (
	shortest   lengthForm = iota
	padded                // one octet more than DER has
	indefinite            // BER alone
)

// elements takes bytes apart that are one TLV after the other.
func elements(b []byte) (list []*element, ok bool) {
	rest := cryptobyte.String(b)
	for !rest.Empty() {
		var content cryptobyte.String
		var tag asn1.Tag
		if !rest.ReadAnyASN1(&content, &tag) {
			return nil, false
		}
		list = append(list, elementOf(byte(tag), content))
	}
	return list, true
}

func elementOf(tag byte, content []byte) *element {
	e := &element{tag: tag, content: content}
	inner := content
	switch {
	case tag == byte(asn1.BIT_STRING) && len(content) > 2 && content[0] == 0:
		e.prefix, inner = content[:1], content[1:]
	case tag&0x20 == 0 && tag != byte(asn1.OCTET_STRING):
		return e
	}
	if parts, ok := elements(inner); ok && len(parts) > 0 {
		e.parts = parts
	}
	return e
}

func descendants(list []*element) []*element {
	var all []*element
	for _, e := range list {
		all = append(append(all, e), descendants(e.parts)...)
	}
	return all
}

func encode(list []*element) []byte {
	var b []byte
	for _, e := range list {
		b = append(b, e.encode()...)
	}
	return b
}

func (e *element) encode() []byte {
	content := e.content
	if len(e.parts) > 0 {
		content = append(slices.Clone(e.prefix), encode(e.parts)...)
	}
	if e.length == indefinite {
		return slices.Concat([]byte{e.tag, 0x80}, content, []byte{0, 0})
	}
	size := []byte{byte(len(content))}
	if n := len(content); n >= 0x80 || e.length == padded {
		size = nil
		for ; n > 0 || size == nil; n >>= 8 {
			size = append([]byte{byte(n)}, size...)
		}
		if e.length == padded && len(content) >= 0x80 {
			size = append([]byte{0}, size...)
		}
		size = append([]byte{0x80 | byte(len(size))}, size...)
	}
	return slices.Concat([]byte{e.tag}, size, content)
}

// tags are those at which readers part.
var tags = []byte{1, 2, 3, 4, 5, 6, 10, 12, 18, 19, 20, 22, 23, 26, 27, 28, 30, 0x2c, 0x30, 0x31,
	0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xbf, 0x1f}

// texts are contents at which readers part.
var texts = []string{"", "\x00", "a\x00b", "*.example", "\xff", "\xc3\xa9", "a, DNS:b", "admin\n", "\x30\x00", "\x01\x01\xff", "xn--", "%2e"}

func (e *element) change(random *rand.Rand, gifts []*element) {
	if len(e.parts) == 0 {
		e.changeContent(random)
		return
	}
	i := random.IntN(len(e.parts))
	switch random.IntN(8) {
	case 0:
		e.parts = slices.Delete(e.parts, i, i+1)
		e.content = nil
	case 1:
		e.parts = slices.Insert(e.parts, i, e.parts[i].clone())
	case 2:
		j := random.IntN(len(e.parts))
		e.parts[i], e.parts[j] = e.parts[j], e.parts[i]
	case 3:
		e.tag = tags[random.IntN(len(tags))]
	case 4:
		e.parts[i] = &element{tag: 0x30 | byte(random.IntN(2)), parts: []*element{e.parts[i]}}
	case 5:
		e.length = lengthForm(random.IntN(3))
	default:
		if len(gifts) > 0 {
			e.parts = slices.Insert(e.parts, i, gifts[random.IntN(len(gifts))].clone())
		}
	}
}

func (e *element) changeContent(random *rand.Rand) {
	content := slices.Clone(e.content)
	at := random.IntN(len(content) + 1)
	switch random.IntN(6) {
	case 0:
		e.tag = tags[random.IntN(len(tags))]
	case 1:
		content = content[:at]
	case 2:
		content = slices.Insert(content, at, byte(random.IntN(256)))
	case 3:
		content = slices.Insert(content, at, []byte(texts[random.IntN(len(texts))])...)
	case 4:
		content = []byte(texts[random.IntN(len(texts))])
	default:
		if at < len(content) {
			content[at] ^= 1 << random.IntN(8)
		}
	}
	e.content = content
}

func (e *element) clone() *element {
	c := *e
	c.parts = nil
	for _, part := range e.parts {
		c.parts = append(c.parts, part.clone())
	}
	return &c
}
