// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

// chainOf finds how the client certificate goes back to an enrolment, where the
// profile counts. It is asked of every operation: a certificate that is shown to
// enroll anew would be as good as a renewal. Nil: it is none of ours. renews is
// the client certificate, where it is to be replaced.
func (a *Authority) chainOf(ctx context.Context, ca *CA, p *policy.Profile, t task, renews *x509.Certificate) (*policy.Chain, *Error) {
	if !p.CountsRenewals() {
		return nil, nil
	}
	if a.Renewals == nil {
		return nil, Fail(Fault, "nothing keeps how often certificates are renewed", nil)
	}
	cert := t.who.Cert
	if cert == nil || t.role == policy.RoleRA {
		return nil, nil
	}
	own := renews != nil
	if !own {
		var err error
		if own, err = ca.Issued(ctx, cert); err != nil {
			return nil, asError(err)
		}
	}
	ids := [][sha256.Size]byte{sha256.Sum256(cert.Raw)}
	if own {
		ids = append(ids, sha256.Sum256(cert.RawSubjectPublicKeyInfo))
	}
	chain, err := a.Renewals.Chain(ctx, ids...)
	switch {
	case err == nil:
		return &chain, nil
	case !errors.Is(err, store.ErrUnknown):
		return nil, Fail(Busy, "how often the certificate was renewed can't be found", err)
	case own:
		// It was issued when nobody counted.
		return policy.ChainOf(cert, 0, time.Time{}), nil
	}
	return nil, nil
}

// intendChain remembers, before the CA is asked, that the key continues a
// chain: who has the key has every certificate for it that the CA signs, also
// where its answer doesn't reach us. So none begins anew.
func (a *Authority) intendChain(ctx context.Context, p *policy.Profile, t task, order Order, out *Outcome) *Error {
	chain := out.Decision.Chain
	if chain == nil || chain.Renewals == 0 || out.Chain == nil {
		return nil
	}
	old := t.who.Cert
	// A renewal that keeps the key doesn't count for the old certificate: the
	// device may repeat it.
	links := []store.Link{{ID: sha256.Sum256(old.Raw), Chain: *out.Chain, Until: old.NotAfter.Add(p.Grace())}}
	if len(t.csr.RawSPKI) > 0 { // a key that the CA makes, nobody has yet
		links = append(links, store.Link{ID: sha256.Sum256(t.csr.RawSPKI), Chain: *chain, Until: order.NotAfter().Add(p.Grace())})
	}
	if err := a.keepChains(ctx, t, links); err != nil {
		return Fail(Busy, "the renewal can't be counted", err)
	}
	return nil
}

// keepChain remembers the chain of the certificate that was issued. Where that
// fails, what was intended holds.
func (a *Authority) keepChain(ctx context.Context, p *policy.Profile, t task, out *Outcome) {
	if out.Decision.Chain == nil || out.Certificate == nil {
		return
	}
	err := a.keepChains(ctx, t, []store.Link{{
		ID: sha256.Sum256(out.Certificate.Raw), Chain: *out.Decision.Chain, Until: out.Certificate.NotAfter.Add(p.Grace()),
	}})
	out.Unsettled = errors.Join(out.Unsettled, err)
}

func (a *Authority) keepChains(ctx context.Context, t task, links []store.Link) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	return a.Renewals.KeepChains(ctx, links, t.now)
}
