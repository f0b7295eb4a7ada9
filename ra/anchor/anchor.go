// SPDX-License-Identifier: Apache-2.0

// Package anchor verifies client certificates against named trust anchors,
// on every request (RFC 5280 section 6, RFC 7030 section 3.3.2).
package anchor

import (
	"context"
	"crypto/x509"
	"time"
)

// A Source gives the certificates of one anchor. File anchors never fail;
// an anchor taken from a CA fails while that CA can't be asked. The lists are
// not changed once returned.
type Source interface {
	// Certificates returns the trust anchors, and intermediates that may
	// complete a chain (remembered issuing certificates).
	Certificates(ctx context.Context) (anchors, intermediates []*x509.Certificate, err error)
	// Accepts has the last word on a chain that verified, by its first two
	// certificates (of chains that differ above, one is shown): an `upstream`
	// anchor accepts only leaves whose direct issuer is an issuing key.
	Accepts(ctx context.Context, leaf *x509.Certificate, chain []*x509.Certificate) error
}

// A Revocation tells whether certificates are revoked.
type Revocation interface {
	// Revoked returns the first certificate of a chain, leaf first and anchor
	// last, that is revoked. An error fails closed, but for a [NoAnswer];
	// [ForGood] tells whether waiting may help.
	Revoked(ctx context.Context, chain []*x509.Certificate, now time.Time) (*x509.Certificate, error)
}

// An Anchor is one named entry of `anchors`.
type Anchor struct {
	Name   string
	Source Source
	// AnyEKU accepts a chain in which EKUs lack clientAuth, those of its CAs
	// too. A certificate without any EKU is always accepted (IDevIDs have none).
	AnyEKU bool
	// RAIssuer says that a certificate for id-kp-cmcRA that this anchor's own
	// key signed is one of a registration authority (RFC 7030 section 3.7). The
	// Source must then accept what its keys signed directly, and nothing else.
	RAIssuer bool
	// Revocation is asked about each chain that verified; nil: nobody is.
	Revocation Revocation
}

// A Set is all anchors of one `est` directive, in the configuration's order.
// It is safe for concurrent use, and must not be copied after its first.
type Set struct {
	Anchors []Anchor

	memory     memory[[]chain] // leaf to anchor
	signatures memory[bool]    // of good ones: a certificate, and whose key verifies it
	uppers     memory[[]chain] // the parts above a leaf
}

// A Result is what Verify found.
type Result struct {
	// Names are the anchors that vouch for the leaf.
	Names []string
	// Ends are the notAfter of those anchors' certificates, in the same order;
	// where several of one anchor vouch, of the last to end.
	Ends []time.Time
	// RAIssuers are, of Names, those with RAIssuer.
	RAIssuers []string
	// Unavailable are anchors that couldn't be asked: a shut gate is then
	// 503, not 401.
	Unavailable []string
	// Unanswered are, of Names, those that take the leaf although their
	// revocation sources gave no answer, and why they didn't.
	Unanswered map[string]error
	// Reasons say, for each other anchor, why it doesn't vouch; for the
	// audit record, not for the client.
	Reasons []string
}
