// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"

	"github.com/caddy-est/estra/ra/anchor"
)

// Source is the anchor `upstream NAME`: it stands for certificates that this
// CA issued, never for the root alone.
func (c *CA) Source() anchor.Source { return source{c} }

type source struct{ ca *CA }

// Certificates gives the issuing certificates as anchors too: a remembered
// one has nothing above it any more.
func (s source) Certificates(ctx context.Context) (anchors, intermediates []*x509.Certificate, err error) {
	h, err := s.ca.hierarchy(ctx)
	if err != nil {
		return nil, nil, err
	}
	return slices.Concat(h.roots, h.issuers), h.chain, nil
}

// Accepts compares keys: the signature below chain[1] has been verified.
func (s source) Accepts(ctx context.Context, leaf *x509.Certificate, chain []*x509.Certificate) error {
	issuers, err := s.ca.Issuers(ctx)
	if err != nil {
		return err
	}
	if len(chain) < 2 || !slices.ContainsFunc(issuers, func(issuer *x509.Certificate) bool { return sameKey(issuer, chain[1]) }) {
		return errors.New("the certificate wasn't issued by this CA's own issuing key")
	}
	return nil
}
