// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The universal tags of the string types (X.680 section 8).
const (
	tagUTF8      = 12
	tagNumeric   = 18
	tagPrintable = 19
	tagTeletex   = 20
	tagIA5       = 22
	tagVisible   = 26
	tagUniversal = 28
	tagBMP       = 30
)

// decodeText gives the text of a string type. It is false for another type,
// for bytes that the type doesn't allow, and for a text with NUL or another
// control character: those are how one name passes for another.
func decodeText(tag int, b []byte) (string, bool) {
	text, ok := decodeString(tag, b)
	if !ok || !isText(text) {
		return "", false
	}
	return text, true
}

func decodeString(tag int, b []byte) (string, bool) {
	switch tag {
	case tagUTF8:
		return string(b), true
	case tagNumeric:
		return string(b), onlyBytes(b, isNumeric)
	case tagPrintable:
		return string(b), onlyBytes(b, isPrintable)
	case tagTeletex, tagIA5, tagVisible:
		// T.61 beyond ASCII is read in three ways by three libraries, so
		// only what all read alike is text.
		return string(b), onlyBytes(b, isASCII)
	case tagUniversal:
		return decodeWide(b, 4)
	case tagBMP:
		return decodeWide(b, 2)
	default:
		return "", false
	}
}

// decodeWide reads big-endian code points of size bytes each. BMPString is
// UCS-2, not UTF-16: a surrogate is no character.
func decodeWide(b []byte, size int) (string, bool) {
	if len(b)%size != 0 {
		return "", false
	}
	var s strings.Builder
	for ; len(b) > 0; b = b[size:] {
		point := uint32(binary.BigEndian.Uint16(b))
		if size == 4 {
			point = binary.BigEndian.Uint32(b)
		}
		if point > unicode.MaxRune || !utf8.ValidRune(rune(point)) {
			return "", false
		}
		s.WriteRune(rune(point))
	}
	return s.String(), true
}

func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0
}

func onlyBytes(b []byte, allowed func(byte) bool) bool {
	for _, c := range b {
		if !allowed(c) {
			return false
		}
	}
	return true
}

func isASCII(c byte) bool   { return c < utf8.RuneSelf }
func isNumeric(c byte) bool { return c == ' ' || '0' <= c && c <= '9' }

// isPrintable is the alphabet of PrintableString (X.680 section 41.4).
func isPrintable(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte(" '()+,-./:=?", c) >= 0
}

// foldASCII makes ASCII letters lower case and leaves everything else as it
// is. Unicode folding would let U+212A, the Kelvin sign, pass for a k.
func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
