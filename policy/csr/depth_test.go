// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

// RFC 7030 section 6 warns of deep nesting. The parser goes as deep as a
// request does and no deeper, wherever the nest stands. What it takes as bytes
// alone, it doesn't open.
func TestThreat_DeepNestingIsRefused(t *testing.T) {
	nests := map[string]struct {
		der    []byte
		broken bool // not DER at all
	}{
		"30 80": {bytes.Repeat([]byte{0x30, 0x80}, 2048), true},
		"a0 80": {bytes.Repeat([]byte{0xa0, 0x80}, 2048), true},
		"30":    {nest(asn1.SEQUENCE), false},
		"31":    {nest(asn1.SET), false},
		"a0":    {nest(asn1.Tag(0).ContextSpecific().Constructed()), false},
		"a4":    {nest(asn1.Tag(4).ContextSpecific().Constructed()), false},
	}
	info := parse(t, New(t)).RawInfo
	places := map[string]struct {
		put    func(der []byte) []byte
		opaque bool
	}{
		"the whole":          {put: func(der []byte) []byte { return der }},
		"within a SEQUENCE":  {put: func(der []byte) []byte { return SEQ(der) }},
		"a signature":        {put: func(der []byte) []byte { return SEQ(info, der) }},
		"an RDN":             {put: func(der []byte) []byte { return New(t, Subject(der)) }},
		"a key":              {put: func(der []byte) []byte { return New(t, SPKI(der)) }},
		"an attribute":       {put: func(der []byte) []byte { return New(t, RawAttribute(der)) }},
		"an attribute value": {put: func(der []byte) []byte { return New(t, Attribute("1.2.3", der)) }, opaque: true},
		"extensions":         {put: func(der []byte) []byte { return New(t, Attribute(ExtensionRequest, der)) }},
		"a SAN":              {put: func(der []byte) []byte { return New(t, Extension(csr.OIDSubjectAltName, false, der)) }},
		"a name of a SAN":    {put: func(der []byte) []byte { return New(t, SAN(der)) }},
		"a directoryName":    {put: func(der []byte) []byte { return New(t, SAN(DirectoryName(der))) }},
		"an otherName":       {put: func(der []byte) []byte { return New(t, SAN(OtherName("1.2.3", der))) }, opaque: true},
	}
	start := time.Now()
	for shape, nest := range nests {
		for name, place := range places {
			_, err := csr.Parse(place.put(nest.der))
			if want := nest.broken || !place.opaque; (err != nil) != want {
				t.Errorf("%s as %s: refused %v, want %v", shape, name, err != nil, want)
			}
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// nest has some 4 KiB of one element in another, each with its length.
func nest(tag asn1.Tag) []byte {
	der := []byte{5, 0}
	for len(der) < 4<<10 {
		der = TLV(tag, der)
	}
	return der
}
