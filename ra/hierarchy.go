// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

// maxPublished bounds the comparisons: each certificate with each other.
const maxPublished = 100

// A hierarchy is what has been checked of the certificates that an upstream
// publishes. It doesn't change once made.
type hierarchy struct {
	// roots are the self-signed certificates that a pin vouches for.
	roots []*x509.Certificate
	// chain is what /cacerts serves: roots, cross certificates,
	// intermediates, cacerts_extra, remembered issuing certificates.
	chain []*x509.Certificate
	// issuers are the issuing certificates, remembered ones too; current are
	// those published now.
	issuers []*x509.Certificate
	current []*x509.Certificate
	// warnings say what was left out, and why.
	warnings []string
}

// published is what a hierarchy is made from.
type published struct {
	certs      []*x509.Certificate // the upstream's answer
	extra      []*x509.Certificate // cacerts_extra
	remembered []*x509.Certificate // issuing certificates of earlier answers
	pins       []*x509.Certificate // roots the operator trusts
}

// check makes a hierarchy. What clients take from /cacerts becomes their
// trust anchor, so nothing is relayed that no pin vouches for; it is left out
// with a warning. An error means that no root or no issuing certificate is
// left.
func (p published) check(now time.Time) (*hierarchy, error) {
	if n := len(p.certs); n > maxPublished {
		return nil, fmt.Errorf("the CA publishes %d certificates; more than %d aren't taken", n, maxPublished)
	}
	h := &hierarchy{}
	pins := slices.DeleteFunc(slices.Clone(p.pins), func(c *x509.Certificate) bool { return !validAt(c, now) })
	if len(pins) == 0 {
		return nil, errors.New("no valid root certificate is configured to compare the CA's with")
	}
	own := h.usable("the CA", p.certs, now)
	extra := h.usable("cacerts_extra", p.extra, now)
	all := slices.Concat(own, extra)
	h.keepRoots(all, pins)
	if len(h.roots) == 0 {
		return nil, errors.New("none of the CA's root certificates is one of the configured ones, or certified by one")
	}
	base := unique(slices.Concat(h.roots, pins))
	kept := h.keepChained(all, base)
	remembered := quietlyChained(p.remembered, slices.Concat(base, kept), now)
	h.current = issuing(both(h.roots, own), both(kept, own))
	if len(h.current) == 0 {
		return nil, errors.New("the CA publishes no issuing certificate under a configured root")
	}
	h.issuers = unique(slices.Concat(h.current, remembered))
	h.chain = unique(slices.Concat(h.roots, kept, remembered))
	return h, nil
}

// usable leaves out what isn't a valid CA certificate.
func (h *hierarchy) usable(origin string, certs []*x509.Certificate, now time.Time) []*x509.Certificate {
	var usable []*x509.Certificate
	for _, c := range unique(certs) {
		switch {
		case !mayCertify(c):
			h.leaveOut(origin, c, "it isn't a CA certificate")
		case !validAt(c, now):
			h.leaveOut(origin, c, "it isn't valid now")
		default:
			usable = append(usable, c)
		}
	}
	return usable
}

// keepRoots keeps a self-signed certificate that equals a pin byte for byte,
// or whose name and key a pinned root has certified: NewWithOld of a root
// change (RFC 4210 section 4.4).
func (h *hierarchy) keepRoots(all, pins []*x509.Certificate) {
	for _, c := range all {
		if contains(pins, c) {
			h.roots = append(h.roots, c)
			continue
		}
		if !signedBy(c, c) {
			continue
		}
		if slices.ContainsFunc(all, func(cross *x509.Certificate) bool {
			return sameNameAndKey(cross, c) && signedByOneOf(cross, pins)
		}) {
			h.roots = append(h.roots, c)
			continue
		}
		h.leaveOut("the CA", c, "this root isn't configured, and no configured root has certified it")
	}
}

// keepChained keeps the other certificates that lead to a base certificate,
// signature by signature.
func (h *hierarchy) keepChained(all, base []*x509.Certificate) []*x509.Certificate {
	open := slices.DeleteFunc(slices.Clone(all), func(c *x509.Certificate) bool {
		return contains(base, c) || signedBy(c, c)
	})
	var kept []*x509.Certificate
	for {
		before := len(open)
		open = slices.DeleteFunc(open, func(c *x509.Certificate) bool {
			good := signedByOneOf(c, base) || signedByOneOf(c, kept)
			if good {
				kept = append(kept, c)
			}
			return good
		})
		if len(open) == before {
			break
		}
	}
	for _, c := range open {
		h.leaveOut("the CA", c, "it doesn't lead to a configured root")
	}
	return kept
}

// quietlyChained filters remembered issuing certificates: that they end one
// day is how it should be, and no warning.
func quietlyChained(remembered, parents []*x509.Certificate, now time.Time) []*x509.Certificate {
	return slices.DeleteFunc(unique(remembered), func(c *x509.Certificate) bool {
		return !mayCertify(c) || !validAt(c, now) || !contains(parents, c) && !signedByOneOf(c, parents)
	})
}

// issuing picks the certificates of the keys that sign end entities: those
// that sign no other certificate and aren't a root's, as cross certificates
// are. Where nothing is left the roots issue themselves.
func issuing(roots, others []*x509.Certificate) []*x509.Certificate {
	var issuers []*x509.Certificate
	for _, c := range others {
		certifies := slices.ContainsFunc(others, func(other *x509.Certificate) bool {
			return !sameNameAndKey(other, c) && signedBy(other, c)
		})
		isRoot := slices.ContainsFunc(roots, func(root *x509.Certificate) bool { return sameKey(root, c) })
		if !certifies && !isRoot {
			issuers = append(issuers, c)
		}
	}
	if len(issuers) == 0 {
		return roots
	}
	return issuers
}

func (h *hierarchy) leaveOut(origin string, c *x509.Certificate, why string) {
	h.warnings = append(h.warnings, fmt.Sprintf("certificate %q (serial %x) of %s is left out: %s",
		c.Subject.String(), c.SerialNumber, origin, why))
}

func mayCertify(c *x509.Certificate) bool {
	return c.BasicConstraintsValid && c.IsCA && (c.KeyUsage == 0 || c.KeyUsage&x509.KeyUsageCertSign != 0)
}

func validAt(c *x509.Certificate, at time.Time) bool {
	return !at.Before(c.NotBefore) && !at.After(c.NotAfter)
}

// signedBy compares names first, which is cheap and which crypto/x509 leaves
// to the caller.
func signedBy(c, issuer *x509.Certificate) bool {
	if !bytes.Equal(c.RawIssuer, issuer.RawSubject) {
		return false
	}
	if len(c.AuthorityKeyId) > 0 && len(issuer.SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, issuer.SubjectKeyId) {
		return false
	}
	return c.CheckSignatureFrom(issuer) == nil
}

func signedByOneOf(c *x509.Certificate, issuers []*x509.Certificate) bool {
	return slices.ContainsFunc(issuers, func(issuer *x509.Certificate) bool { return signedBy(c, issuer) })
}

func sameKey(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

func sameNameAndKey(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubject, b.RawSubject) && sameKey(a, b)
}

// both returns the certificates of a that are in b.
func both(a, b []*x509.Certificate) []*x509.Certificate {
	return slices.DeleteFunc(slices.Clone(a), func(c *x509.Certificate) bool { return !contains(b, c) })
}

func contains(set []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(set, c.Equal)
}

// unique keeps the first of equal certificates, and the order.
func unique(certs []*x509.Certificate) []*x509.Certificate {
	var kept []*x509.Certificate
	for _, c := range certs {
		if c != nil && !contains(kept, c) {
			kept = append(kept, c)
		}
	}
	return kept
}
