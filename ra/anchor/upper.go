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

// rememberUppers takes in what was verified just now: all that was found above
// an issuer together, or nothing of it, so that the next leaf has the same
// anchors. An issuer that is an anchor itself alone has nothing above it that
// would be worth it.
func (s *Set) rememberUppers(a Anchor, roots []*x509.Certificate, found []chain) {
	groups := map[string][]chain{} // by the issuer's bytes: one may be there as anchor and as presented
	for _, c := range found {
		if upper := c[1:]; len(upper) > 0 {
			groups[string(upper[0].Raw)] = append(groups[string(upper[0].Raw)], upper)
		}
	}
	for _, uppers := range groups {
		alone := func(upper chain) bool { return len(upper) == 1 }
		depends := func(upper chain) bool { return !independent(upper) }
		if !slices.ContainsFunc(uppers, depends) && (len(uppers) != 1 || !alone(uppers[0])) {
			s.uppers.put(keyOf(a, roots, uppers[0][:1]), uppers)
		}
	}
}

// underKnownUpper verifies a leaf under uppers that are known, valid at a time,
// and made of certificates that are at hand now: what a client may leave out
// doesn't depend on what others have sent.
func (s *Set) underKnownUpper(a Anchor, leaf *x509.Certificate, roots, intermediates []*x509.Certificate, at time.Time) []chain {
	for i, issuer := range intermediates {
		if !bytes.Equal(issuer.RawSubject, leaf.RawIssuer) {
			continue
		}
		known := validAt(s.uppers.get(keyOf(a, roots, intermediates[i:i+1])), at)
		known = slices.DeleteFunc(known, func(upper chain) bool { return lacks(intermediates, upper) })
		if len(known) == 0 {
			continue
		}
		below, err := build(a, leaf, known[0][:1], nil, at)
		if err != nil || len(below[0]) != 2 {
			continue
		}
		found := make([]chain, len(known))
		for j, upper := range known {
			found[j] = slices.Concat(below[0], upper[1:])
		}
		return found
	}
	return nil
}

// lacks tells whether a certificate between the issuer and the anchor isn't at
// hand.
func lacks(intermediates []*x509.Certificate, upper chain) bool {
	for _, c := range upper[1:max(1, len(upper)-1)] {
		if !slices.ContainsFunc(intermediates, c.Equal) {
			return true
		}
	}
	return false
}
