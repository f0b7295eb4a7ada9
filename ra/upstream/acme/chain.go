// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/x509"
	"slices"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// mostLearned bounds the CA certificates that are kept of chains: a CA has a few
// at a time.
const mostLearned = 32

// download fetches the certificate with its chains (RFC 8555 section 7.4.2).
func (r *run) download(ctx context.Context, order acme.Order) (ra.Issued, error) {
	chains, err := r.u.acme.GetCertificateChain(ctx, r.account, order.Certificate)
	if err != nil {
		return ra.Issued{}, r.left(ctx, order, true, r.u.failed(ctx, r.note, step{what: "certificate"}, err))
	}
	var read [][]*x509.Certificate
	for _, chain := range chains {
		certs, err := upstream.Certificates(chain.ChainPEM)
		if err != nil {
			continue
		}
		read = append(read, certs)
	}
	if len(read) == 0 {
		return ra.Issued{}, ra.Later(order.Location, 0, name+" gave a certificate that can't be read")
	}
	chosen := read[max(slices.IndexFunc(read, r.u.trusted), 0)]
	r.u.learn(chosen[1:])
	return ra.Issued{Certificate: chosen[0], Ref: order.Location}, nil
}

// trusted tells whether a chain leads to one of the roots.
func (u *Upstream) trusted(chain []*x509.Certificate) bool {
	top := chain[len(chain)-1]
	return slices.ContainsFunc(u.cfg.Roots, func(root *x509.Certificate) bool {
		return root.Equal(top) || top.CheckSignatureFrom(root) == nil
	})
}

// learn keeps the CA certificates of a chain, and forgets those that have ended.
// The authority holds them to the roots, as what a CA says of itself.
func (u *Upstream) learn(certs []*x509.Certificate) {
	now := u.cfg.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.learned = slices.DeleteFunc(u.learned, func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
	for _, c := range certs {
		known := slices.ContainsFunc(u.learned, c.Equal)
		if c.IsCA && !known && len(u.learned) < mostLearned {
			u.learned = append(u.learned, c)
		}
	}
}

// CACerts gives what is configured, and what came with certificates: ACME has no
// call for it.
func (u *Upstream) CACerts(context.Context) ([]*x509.Certificate, error) {
	all := slices.Concat(u.cfg.Roots, u.cfg.Chain)
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, c := range u.learned {
		if !slices.ContainsFunc(all, c.Equal) {
			all = append(all, c)
		}
	}
	return all, nil
}
