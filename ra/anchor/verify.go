// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// oidSubjectAltName is of RFC 5280 section 4.2.1.6.
var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// errUnavailable marks what may be over in a while: a certificate can't be
// judged now.
type errUnavailable struct{ error }

// Verify asks every anchor about the chain that the client presented, leaf
// first. A leaf that is past its notAfter is verified at its notAfter: only
// a policy's `expired` lets it count. An anchor whose revocation source
// doesn't answer is among Unavailable, too.
//
// Signatures and constraints of a chain are remembered. What can change is
// asked on every request: the source's certificates, validity times, the
// source's consent, revocation.
func (s *Set) Verify(ctx context.Context, presented []*x509.Certificate, now time.Time) Result {
	var r Result
	if len(presented) == 0 {
		return r
	}
	for _, a := range s.Anchors {
		err := s.vouch(ctx, a, presented, now)
		if err == nil {
			r.Names = append(r.Names, a.Name)
			continue
		}
		if errors.As(err, new(errUnavailable)) {
			r.Unavailable = append(r.Unavailable, a.Name)
		}
		r.Reasons = append(r.Reasons, fmt.Sprintf("anchor %s: %v", a.Name, err))
	}
	return r
}

// vouch returns nil when the anchor stands for the leaf.
func (s *Set) vouch(ctx context.Context, a Anchor, presented []*x509.Certificate, now time.Time) error {
	leaf := presented[0]
	if now.Before(leaf.NotBefore) {
		return fmt.Errorf("the certificate is valid only from %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if a.Source == nil {
		return errUnavailable{errors.New("it has no source")}
	}
	roots, intermediates, err := a.Source.Certificates(ctx)
	if err != nil {
		return errUnavailable{err}
	}
	if len(roots) == 0 {
		return errUnavailable{errors.New("it has no certificates")}
	}
	at := now
	if now.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	chains, err := s.chains(a, presented, roots, intermediates, at)
	if err != nil {
		return err
	}
	if err := accepted(ctx, a.Source, leaf, chains); err != nil {
		return err
	}
	return unrevoked(ctx, a, leaf, now)
}

// chains returns the chains that are good at a time, from memory where they
// have been verified before.
func (s *Set) chains(a Anchor, presented, roots, intermediates []*x509.Certificate, at time.Time) ([]chain, error) {
	key := keyOf(a, presented, roots, intermediates)
	if valid := validAt(s.memory.get(key), at); len(valid) > 0 {
		return valid, nil
	}
	if !mayReach(presented, roots, intermediates) {
		return nil, x509.UnknownAuthorityError{Cert: presented[0]}
	}
	found, err := build(a, presented, roots, intermediates, at)
	if err != nil {
		return nil, err
	}
	s.memory.put(key, found)
	return found, nil
}

// mayReach tells whether issuer and subject names lead from the leaf to an
// anchor (RFC 5280 section 6.1: a path begins with that). It saves the
// signatures of a chain that belongs to another anchor, which a stranger could
// make us verify on each request.
func mayReach(presented, roots, intermediates []*x509.Certificate) bool {
	between := slices.Concat(presented[1:], intermediates)
	seen := make(map[string]bool)
	next := [][]byte{presented[0].RawIssuer}
	for len(next) > 0 {
		name := next[0]
		next = next[1:]
		if seen[string(name)] {
			continue
		}
		seen[string(name)] = true
		named := func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, name) }
		if slices.ContainsFunc(roots, named) {
			return true
		}
		for _, c := range between {
			if named(c) {
				next = append(next, c.RawIssuer)
			}
		}
	}
	return slices.ContainsFunc(roots, presented[0].Equal)
}

// build verifies the path (RFC 5280 section 6) as crypto/x509 does.
func build(a Anchor, presented, roots, intermediates []*x509.Certificate, at time.Time) ([]chain, error) {
	options := x509.VerifyOptions{
		// Never nil: that would mean the system's roots.
		Roots:         pool(roots),
		Intermediates: pool(presented[1:], intermediates),
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	leaf := withoutDeviceSAN(presented[0])
	if a.AnyEKU || len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	found, err := leaf.Verify(options)
	if err != nil {
		return nil, err
	}
	chains := make([]chain, len(found))
	for i, c := range found {
		c[0] = presented[0]
		chains[i] = c
	}
	return chains, nil
}

// accepted asks the source about each chain; one is enough.
func accepted(ctx context.Context, source Source, leaf *x509.Certificate, chains []chain) error {
	var refusal error
	for _, c := range chains {
		if refusal = source.Accepts(ctx, leaf, c); refusal == nil {
			return nil
		}
	}
	return refusal
}

func unrevoked(ctx context.Context, a Anchor, leaf *x509.Certificate, now time.Time) error {
	if a.Revoked == nil {
		return nil
	}
	revoked, err := a.Revoked(ctx, leaf, now)
	if err != nil {
		return errUnavailable{fmt.Errorf("revocation can't be checked: %w", err)}
	}
	if revoked {
		return fmt.Errorf("the certificate (serial %x) is revoked", leaf.SerialNumber.Bytes())
	}
	return nil
}

// withoutDeviceSAN lets an IDevID pass (IEEE 802.1AR): its SAN is critical
// since its subject may be empty, and made of otherNames alone
// (hardwareModuleName, RFC 4108 section 5), which crypto/x509 doesn't know.
// The certificate belongs to the TLS connection, so a copy is changed.
func withoutDeviceSAN(leaf *x509.Certificate) *x509.Certificate {
	isSAN := func(id asn1.ObjectIdentifier) bool { return id.Equal(oidSubjectAltName) }
	if !slices.ContainsFunc(leaf.UnhandledCriticalExtensions, isSAN) {
		return leaf
	}
	for _, e := range leaf.Extensions {
		if isSAN(e.Id) && !csr.AllDeviceNames(e.Value) {
			return leaf
		}
	}
	handled := *leaf
	handled.UnhandledCriticalExtensions = slices.DeleteFunc(slices.Clone(leaf.UnhandledCriticalExtensions), isSAN)
	return &handled
}

func pool(lists ...[]*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, list := range lists {
		for _, c := range list {
			p.AddCert(c)
		}
	}
	return p
}
