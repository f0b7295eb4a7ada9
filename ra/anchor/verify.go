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

// MaxPresented is how many certificates a client may present, leaf included.
// Device chains have two to four.
const MaxPresented = 8

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
//
// Anybody can present certificates, and a failure isn't remembered. So more
// than MaxPresented are looked at by no anchor, and signatures are verified with
// keys alone that the anchor stands behind: a stranger chooses none.
func (s *Set) Verify(ctx context.Context, presented []*x509.Certificate, now time.Time) Result {
	var r Result
	if len(presented) == 0 {
		return r
	}
	if len(presented) > MaxPresented {
		r.Reasons = append(r.Reasons, fmt.Sprintf("the client presented %d certificates, and at most %d are looked at", len(presented), MaxPresented))
		return r
	}
	for _, a := range s.Anchors {
		end, err := s.vouch(ctx, a, presented, now)
		if silent, counts := errors.AsType[NoAnswer](err); counts {
			if r.Unanswered == nil {
				r.Unanswered = map[string]error{}
			}
			r.Unanswered[a.Name], err = silent.Err, nil
		}
		if err == nil {
			r.Names, r.Ends = append(r.Names, a.Name), append(r.Ends, end)
			if a.RAIssuer {
				r.RAIssuers = append(r.RAIssuers, a.Name)
			}
			continue
		}
		if errors.As(err, new(errUnavailable)) {
			r.Unavailable = append(r.Unavailable, a.Name)
		}
		r.Reasons = append(r.Reasons, fmt.Sprintf("anchor %s: %v", a.Name, err))
	}
	return r
}

// vouch returns nil, or a NoAnswer, when the anchor stands for the leaf, and
// when it ends.
func (s *Set) vouch(ctx context.Context, a Anchor, presented []*x509.Certificate, now time.Time) (end time.Time, err error) {
	leaf := presented[0]
	if now.Before(leaf.NotBefore) {
		return end, fmt.Errorf("the certificate is valid only from %s", leaf.NotBefore.UTC().Format(time.RFC3339))
	}
	if a.Source == nil {
		return end, errUnavailable{errors.New("it has no source")}
	}
	roots, intermediates, err := a.Source.Certificates(ctx)
	if err != nil {
		return end, errUnavailable{err}
	}
	if len(roots) == 0 {
		return end, errUnavailable{errors.New("it has no certificates")}
	}
	at := now
	if now.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	chains, err := s.chains(a, presented, roots, intermediates, at)
	if err != nil {
		return end, err
	}
	if chains, err = accepted(ctx, a.Source, leaf, chains); err != nil {
		return end, err
	}
	chains, err = unrevoked(ctx, a, chains, now)
	if len(chains) == 0 {
		return end, err
	}
	for _, c := range chains { // which of them crypto/x509 finds first means nothing
		if top := c[len(c)-1].NotAfter; top.After(end) {
			end = top
		}
	}
	return end, err
}

// chains returns the chains that are good at a time, from memory where they
// have been verified before.
func (s *Set) chains(a Anchor, presented, roots, intermediates []*x509.Certificate, at time.Time) ([]chain, error) {
	key := keyOf(a, presented, roots, intermediates)
	if valid := validAt(s.memory.get(key), at); len(valid) > 0 {
		return valid, nil
	}
	leaf := presented[0]
	intermediates = append(s.certified(presented[1:], roots, intermediates), intermediates...)
	issues := func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, leaf.RawIssuer) }
	if !slices.ContainsFunc(intermediates, issues) && !slices.ContainsFunc(roots, issues) && !slices.ContainsFunc(roots, leaf.Equal) {
		return nil, x509.UnknownAuthorityError{Cert: leaf}
	}
	if found := s.underKnownUpper(a, leaf, roots, intermediates, at); len(found) > 0 {
		s.memory.put(key, found)
		return found, nil
	}
	found, err := build(a, leaf, roots, intermediates, at)
	if err != nil {
		return nil, err
	}
	s.memory.put(key, found)
	s.rememberUppers(a, roots, found)
	return found, nil
}

// certified are the presented certificates that an anchor stands behind, by
// names and signatures: from the anchor down, since crypto/x509 begins at the
// leaf, where a stranger's certificates of a few kilobytes, with the right
// names and slow keys, have it verify 100 signatures. It finds all that a path
// may consist of; whether there is one, build says. At most one signature is
// verified for each certificate and each issuer of its issuer's name.
func (s *Set) certified(presented, roots, intermediates []*x509.Certificate) []*x509.Certificate {
	var found []*x509.Certificate
	issuers, left := slices.Concat(roots, intermediates), slices.Clone(presented)
	for len(issuers) > 0 && len(left) > 0 {
		issuer := issuers[0]
		issuers = issuers[1:]
		left = slices.DeleteFunc(left, func(c *x509.Certificate) bool {
			if !bytes.Equal(c.RawIssuer, issuer.RawSubject) || !s.signed(c, issuer) {
				return false
			}
			found, issuers = append(found, c), append(issuers, c)
			return true
		})
	}
	return found
}

// signed verifies one signature, and remembers a good one: many devices present
// the same intermediate.
func (s *Set) signed(c, issuer *x509.Certificate) bool {
	key := keyOfSignature(c, issuer)
	if s.signatures.get(key) {
		return true
	}
	if c.CheckSignatureFrom(issuer) != nil {
		return false
	}
	s.signatures.put(key, true)
	return true
}

// build verifies the path (RFC 5280 section 6) as crypto/x509 does.
func build(a Anchor, presented *x509.Certificate, roots, intermediates []*x509.Certificate, at time.Time) ([]chain, error) {
	options := x509.VerifyOptions{
		// Never nil: that would mean the system's roots.
		Roots:         pool(roots),
		Intermediates: pool(intermediates),
		CurrentTime:   at,
		// A certificate without any EKU is good for all of them (RFC 5280
		// section 4.2.1.12), leaf or CA; one with others isn't.
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if a.AnyEKU {
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageAny}
	}
	found, err := withoutDeviceSAN(presented).Verify(options)
	if err != nil {
		return nil, err
	}
	chains := make([]chain, len(found))
	for i, c := range found {
		c[0] = presented
		chains[i] = c
	}
	return chains, nil
}

// accepted asks the source about each chain, and returns those that it takes:
// one is enough. Of chains with the same issuer one is shown.
func accepted(ctx context.Context, source Source, leaf *x509.Certificate, chains []chain) (taken []chain, err error) {
	issuers := map[*x509.Certificate]error{}
	for _, c := range chains {
		issuer := c[min(1, len(c)-1)]
		refusal, asked := issuers[issuer]
		if !asked {
			refusal = source.Accepts(ctx, leaf, c)
			issuers[issuer] = refusal
		}
		if refusal != nil {
			err = refusal
			continue
		}
		taken = append(taken, c)
	}
	if len(taken) > 0 {
		return taken, nil
	}
	return nil, err
}

// unrevoked returns the chains in which nothing is revoked: one is enough, but
// a leaf that one chain's sources have revoked is revoked. The error is a
// NoAnswer where each chain that is left has one, and no chain is left with any
// other.
func unrevoked(ctx context.Context, a Anchor, chains []chain, now time.Time) (good []chain, err error) {
	if a.Revocation == nil {
		return chains, nil
	}
	var silent []chain
	var noAnswer error
	for _, c := range chains {
		revoked, failure := a.Revocation.Revoked(ctx, c, now)
		_, counts := errors.AsType[NoAnswer](failure)
		switch {
		case revoked == nil && counts:
			silent, noAnswer = append(silent, c), failure
		case revoked == c[0] && revoked != nil:
			return nil, fmt.Errorf("the certificate (serial %x) is revoked", revoked.SerialNumber.Bytes())
		case revoked != nil:
			err = fmt.Errorf("the CA certificate %q (serial %x) is revoked", revoked.Subject.String(), revoked.SerialNumber.Bytes())
		case failure != nil:
			err = fmt.Errorf("revocation can't be checked: %w", failure)
			if !ForGood(failure) {
				err = errUnavailable{err}
			}
		default:
			good = append(good, c)
		}
	}
	switch {
	case len(good) > 0:
		return append(good, silent...), nil
	case len(silent) > 0:
		return silent, noAnswer
	}
	return nil, err
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

func pool(certs []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certs {
		p.AddCert(c)
	}
	return p
}
