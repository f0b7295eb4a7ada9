// SPDX-License-Identifier: Apache-2.0

package binding

import (
	"crypto/subtle"
	"encoding/asn1"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// The attributes that carry a linking value.
var (
	// ChallengePassword is RFC 2985 section 5.4.1 as RFC 7030 section 3.5
	// uses it.
	ChallengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	// IdentityLinking is id-aa-estIdentityLinking, RFC 7894 section 6: 58 in
	// the arc id-aa (the text of section 3.3 writes id-smime).
	IdentityLinking = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 58}
)

// maxLength is the length of a linking value, in bytes of its encoding (RFC
// 7030 section 3.5, RFC 7894 section 3).
const maxLength = 255

// Present tells whether a request has a linking value, good or bad.
func Present(r *csr.Request) bool {
	return slices.ContainsFunc(r.Attributes, func(a csr.Attribute) bool {
		return a.Type.Equal(ChallengePassword) || a.Type.Equal(IdentityLinking)
	})
}

// Check compares the linking values of a request with those of its channel.
// It reports a fact; what follows from it is for policy. Both attributes
// count alone, and where both are there both must match (RFC 7894 section 4).
//
// Absent: neither attribute is there. Mismatched: one is malformed (not one
// string of 255 bytes at most, or there twice) or has another value.
// Uncomputable: well-formed, and the channel has nothing to compare with.
func Check(c Channel, r *csr.Request) policy.Linking {
	want := c.Value()
	result := policy.Absent
	for _, oid := range []asn1.ObjectIdentifier{ChallengePassword, IdentityLinking} {
		switch checkAttribute(want, r.Attributes, oid) {
		case policy.Absent:
		case policy.Matched:
			if result == policy.Absent {
				result = policy.Matched
			}
		case policy.Uncomputable:
			if result != policy.Mismatched {
				result = policy.Uncomputable
			}
		default:
			result = policy.Mismatched
		}
	}
	return result
}

// checkAttribute looks at one kind of attribute.
func checkAttribute(want string, attributes []csr.Attribute, oid asn1.ObjectIdentifier) policy.Linking {
	var values [][]byte
	found := false
	for _, a := range attributes {
		if !a.Type.Equal(oid) {
			continue
		}
		if found { // SINGLE VALUE TRUE, and an attribute's type stands once
			return policy.Mismatched
		}
		found, values = true, a.Values
	}
	if !found {
		return policy.Absent
	}
	if len(values) != 1 {
		return policy.Mismatched
	}
	got, ok := text(values[0])
	if !ok {
		return policy.Mismatched
	}
	if want == "" {
		return policy.Uncomputable
	}
	// ConstantTimeCompare is 0 for different lengths: a prefix never matches.
	if subtle.ConstantTimeCompare(got, []byte(want)) != 1 {
		return policy.Mismatched
	}
	return policy.Matched
}

// widths are the bytes of one character in the string types of
// DirectoryString (RFC 5280 section 4.1.2.4), and in IA5String, which older
// clients use.
var widths = map[cbasn1.Tag]int{
	cbasn1.UTF8String:      1,
	cbasn1.PrintableString: 1,
	cbasn1.T61String:       1,
	cbasn1.IA5String:       1,
	28:                     4, // UniversalString
	30:                     2, // BMPString
}

// text reads one string element. Base64 is ASCII, so a wide character above
// that is no linking value.
func text(der []byte) ([]byte, bool) {
	input, content, tag := cryptobyte.String(der), cryptobyte.String(nil), cbasn1.Tag(0)
	if !input.ReadAnyASN1(&content, &tag) || !input.Empty() {
		return nil, false
	}
	width := widths[tag]
	if width == 0 || len(content) > maxLength || len(content)%width != 0 {
		return nil, false
	}
	var out []byte
	for i, b := range content {
		switch {
		case i%width == width-1:
			out = append(out, b)
		case b != 0:
			return nil, false
		}
	}
	return out, true
}
