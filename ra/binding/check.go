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

// The challenge attributes. ChallengePassword and IdentityLinking carry a
// linking value, and Check is for both. The others of RFC 7894 are for who
// knows what they should say: see Challenge.
var (
	// ChallengePassword is RFC 2985 section 5.4.1 as RFC 7030 section 3.5
	// uses it.
	ChallengePassword = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 7}
	// IdentityLinking is id-aa-estIdentityLinking, RFC 7894 section 6: 58 in
	// the arc id-aa (the text of section 3.3 writes id-smime).
	IdentityLinking = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 58}
	// OTPChallenge is id-aa-otpChallenge, RFC 7894 section 3.1: a one-time
	// password.
	OTPChallenge = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 56}
	// RevocationChallenge is id-aa-revocationChallenge, RFC 7894 section 3.2.
	RevocationChallenge = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 57}
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

// Challenge reads the text of one challenge attribute. A malformed one (not
// one string of 255 bytes at most, or there twice) is present and not ok:
// whoever reads it refuses the request, since each that is present must
// succeed (RFC 7894 section 4). The text may be a secret.
func Challenge(r *csr.Request, oid asn1.ObjectIdentifier) (value []byte, present, ok bool) {
	return challenge(r.Attributes, oid)
}

func challenge(attributes []csr.Attribute, oid asn1.ObjectIdentifier) (value []byte, present, ok bool) {
	var values [][]byte
	for _, a := range attributes {
		if !a.Type.Equal(oid) {
			continue
		}
		if present { // SINGLE VALUE TRUE, and an attribute's type stands once
			return nil, true, false
		}
		present, values = true, a.Values
	}
	if len(values) != 1 {
		return nil, present, false
	}
	value, ok = text(values[0])
	return value, true, ok
}

// checkAttribute looks at one kind of attribute.
func checkAttribute(want string, attributes []csr.Attribute, oid asn1.ObjectIdentifier) policy.Linking {
	got, present, ok := challenge(attributes, oid)
	switch {
	case !present:
		return policy.Absent
	case !ok:
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
