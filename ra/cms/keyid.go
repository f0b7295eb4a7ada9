// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto/sha1" //nolint:gosec // RFC 5280 section 4.2.1.2 makes key identifiers with it
	"crypto/x509"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// KeyIdentifier is the subjectKeyIdentifier of a certificate or, where it has
// none, what RFC 5280 section 4.2.1.2 (1) makes of its key: both sides come to the
// same.
func KeyIdentifier(c *x509.Certificate) []byte {
	if len(c.SubjectKeyId) > 0 {
		return c.SubjectKeyId
	}
	input, spki := cryptobyte.String(c.RawSubjectPublicKeyInfo), cryptobyte.String(nil)
	var key []byte
	if !input.ReadASN1(&spki, der.SEQUENCE) || !spki.SkipASN1(der.SEQUENCE) || !spki.ReadASN1BitStringAsBytes(&key) {
		return nil
	}
	sum := sha1.Sum(key) //nolint:gosec // as above
	return sum[:]
}
