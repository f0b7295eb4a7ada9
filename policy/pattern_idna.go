// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Two readers of international labels. lookupIDNA is for what people write:
// it maps letter case and width first (UTS 46). strictIDNA takes what is in
// its final form alone (RFC 5891 section 4).
var (
	lookupIDNA = idna.New(idna.MapForLookup(), idna.Transitional(false), idna.BidiRule(), idna.StrictDomainName(true))
	strictIDNA = idna.New(idna.ValidateForRegistration(), idna.BidiRule(), idna.StrictDomainName(true))
)

const aLabelPrefix = "xn--"

// toALabel gives the xn-- form of a label beyond ASCII.
func toALabel(label string) (string, error) {
	a, err := lookupIDNA.ToASCII(label)
	if err != nil || strings.Contains(a, ".") || !validALabel(a) {
		return "", errors.New("it has a label that is no international one (IDNA2008)")
	}
	return a, nil
}

// validALabel tells whether a label that begins with xn-- stands for an
// international label, in the one way in which that is written (RFC 5890
// section 2.3.2.1). The label is in lower case.
func validALabel(label string) bool {
	u, err := strictIDNA.ToUnicode(label)
	if err != nil || u == label {
		return false
	}
	a, err := strictIDNA.ToASCII(u)
	return err == nil && a == label && onlyPVALID(u)
}

// onlyPVALID holds a U-label against RFC 5892, where UTS 46 takes more: no
// symbols and no punctuation. What RFC 5892 section 2.6 names one by one is
// here by hand; contextual rules for joiners are idna's.
func onlyPVALID(label string) bool {
	runes := []rune(label)
	for i, r := range runes {
		if r < utf8.RuneSelf || unicode.In(r, unicode.Ll, unicode.Lo, unicode.Lm, unicode.Mn, unicode.Mc, unicode.Nd) {
			if !sameDigits(r, runes) {
				return false
			}
			continue
		}
		if !exceptionalRune(runes, i) {
			return false
		}
	}
	return true
}

// sameDigits: Arabic-Indic digits and the extended ones aren't mixed (RFC
// 5892 appendices A.8 and A.9).
func sameDigits(r rune, label []rune) bool {
	if r < 0x660 || r > 0x669 {
		return true
	}
	for _, other := range label {
		if other >= 0x6f0 && other <= 0x6f9 {
			return false
		}
	}
	return true
}

// exceptionalRune tells of the characters that RFC 5892 allows beside its
// classes, some of them by their neighbours (appendices A.1 to A.7).
func exceptionalRune(label []rune, i int) bool {
	before, after := rune(0), rune(0)
	if i > 0 {
		before = label[i-1]
	}
	if i+1 < len(label) {
		after = label[i+1]
	}
	switch label[i] {
	case 0x200c, 0x200d, 0x6fd, 0x6fe, 0xf0b, 0x3007:
		return true
	case 0xb7: // MIDDLE DOT
		return before == 'l' && after == 'l'
	case 0x375: // GREEK LOWER NUMERAL SIGN
		return unicode.Is(unicode.Greek, after)
	case 0x5f3, 0x5f4: // HEBREW PUNCTUATION GERESH, GERSHAYIM
		return unicode.Is(unicode.Hebrew, before)
	case 0x30fb: // KATAKANA MIDDLE DOT
		for _, r := range label {
			if unicode.In(r, unicode.Hiragana, unicode.Katakana, unicode.Han) {
				return true
			}
		}
	}
	return false
}
