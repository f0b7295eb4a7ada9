// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/crl"
)

// A CRL is asked for anew after crlAge; while that fails, the one held
// answers up to crlMaxAge.
const (
	crlAge    = 5 * time.Minute
	crlMaxAge = 10 * time.Minute
)

// revocation is the CRL of a CA as last fetched. The zero value has none.
type revocation struct {
	mu      sync.Mutex
	list    crl.Each
	fetched time.Time
	tried   time.Time
	failure error
}

// Revoked asks the CA's CRL about a certificate. With UseCRL an answer that
// can't be had is an error: the caller fails closed. Without, it is always
// false. For a certificate of a former issuing key, whose list has ended while
// the CA publishes that of another name, the error is [crl.ErrOtherIssuer].
func (c *CA) Revoked(ctx context.Context, cert *x509.Certificate) (bool, error) {
	if !c.UseCRL {
		return false, nil
	}
	if knows, ok := c.Upstream.(RevocationChecker); ok {
		return c.ask(ctx, knows, cert)
	}
	now := c.now()
	if err := c.revocation.update(ctx, c, now); err != nil {
		return false, fmt.Errorf("upstream %s: CRL: %w", c.Name, err)
	}
	return c.revocation.list.Revoked(cert, now)
}

// ask asks an upstream that knows by itself.
func (c *CA) ask(ctx context.Context, knows RevocationChecker, cert *x509.Certificate) (revoked bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("upstream %s: panic: %v", c.Name, p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	if revoked, err = knows.Revoked(ctx, cert); err != nil {
		return false, fmt.Errorf("upstream %s: what it has revoked: %w", c.Name, err)
	}
	return revoked, nil
}

// update fetches the list when the one held is too old. Others wait for the
// one that fetches: it ends with ctx or refreshTimeout.
func (r *revocation) update(ctx context.Context, c *CA, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	age := now.Sub(r.fetched)
	if !r.fetched.IsZero() && age < crlAge && !now.After(r.list.NextUpdate()) {
		return nil
	}
	if r.failure == nil || now.Sub(r.tried) >= retryFailed {
		r.failure = r.fetch(ctx, c, now)
		r.tried = c.now()
	}
	if r.failure == nil {
		r.fetched = now
		return nil
	}
	if !r.fetched.IsZero() && age < crlMaxAge {
		return nil // the list itself refuses to answer after its nextUpdate
	}
	return r.failure
}

func (r *revocation) fetch(ctx context.Context, c *CA, now time.Time) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in the upstream: %v", p)
		}
	}()
	upstream, ok := c.Upstream.(CRLSource)
	if !ok {
		return errors.New("this kind of upstream publishes none")
	}
	issuers, err := c.Issuers(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refreshTimeout)
	defer cancel()
	der, err := upstream.CRL(ctx)
	if _, knows := c.Upstream.(RevocationChecker); knows || err != nil {
		return err // it was made, for others
	}
	return r.list.Replace(der, issuers, now)
}
