// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"crypto/x509"
	"slices"
	"time"
)

// Many devices have one issuing CA, and each connects anew. An upper is the part
// of a chain above its leaf, that CA first, which was verified with one leaf and
// is as good for the next: its signatures, its path lengths and its place under
// the anchor don't depend on the leaf. Where something in it does, it isn't
// remembered, and each leaf has its whole path verified.

// dependent are the extensions of a CA certificate that say something of the
// certificates below it (RFC 5280 sections 4.2.1.5, 4.2.1.10, 4.2.1.11,
// 4.2.1.14): policyMappings, nameConstraints, policyConstraints,
// inhibitAnyPolicy. So do extended key usages, and those of the CA itself are
// asked with each leaf.
var dependent = []string{"2.5.29.33", "2.5.29.30", "2.5.29.36", "2.5.29.54"}

// independent says that an upper is as good for any leaf as for one.
func independent(upper chain) bool {
	for i, c := range upper {
		if i > 0 && len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) > 0 {
			return false
		}
		for _, e := range c.Extensions {
			if slices.Contains(dependent, e.Id.String()) {
				return false
			}
		}
	}
	return true
}

// rememberUppers takes in what was verified just now.
func (s *Set) rememberUppers(a Anchor, roots []*x509.Certificate, found []chain) {
	for _, c := range found {
		if upper := c[1:]; len(upper) > 1 && independent(upper) {
			s.uppers.put(keyOf(a, roots, upper[:1]), []chain{upper})
		}
	}
}

// underKnownUpper verifies a leaf under uppers that are known, valid at a time,
// and made of certificates that are at hand now: what a client may leave out
// doesn't depend on what others have sent.
func (s *Set) underKnownUpper(a Anchor, leaf *x509.Certificate, roots, intermediates []*x509.Certificate, at time.Time) []chain {
	missing := func(c *x509.Certificate) bool { return !slices.ContainsFunc(intermediates, c.Equal) }
	for i, issuer := range intermediates {
		if !bytes.Equal(issuer.RawSubject, leaf.RawIssuer) {
			continue
		}
		for _, upper := range validAt(s.uppers.get(keyOf(a, roots, intermediates[i:i+1])), at) {
			if slices.ContainsFunc(upper[1:len(upper)-1], missing) {
				continue
			}
			if below, err := build(a, leaf, upper[:1], nil, at); err == nil && len(below[0]) == 2 {
				return []chain{slices.Concat(below[0], upper[1:])}
			}
		}
	}
	return nil
}
