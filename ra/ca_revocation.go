// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
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
// false. For a certificate of a former issuer, whose list has ended while the CA
// publishes that of another, the error is [crl.ErrOtherIssuer]; another is another
// name, and where the CA isn't a [WholeLister], another key too.
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
	issuer, err := c.issuerOf(ctx, cert)
	if err != nil {
		return false, err
	}
	return c.revocation.list.Revoked(cert, issuer, now)
}

// issuerOf finds the issuing certificate whose key signed a certificate. The
// signature is looked at where the CA has had several keys under one name.
func (c *CA) issuerOf(ctx context.Context, cert *x509.Certificate) (*x509.Certificate, error) {
	issuers, err := c.Issuers(ctx)
	if err != nil {
		return nil, err
	}
	issuers = slices.DeleteFunc(slices.Clone(issuers), func(i *x509.Certificate) bool { return !bytes.Equal(i.RawSubject, cert.RawIssuer) })
	if len(issuers) == 0 {
		return nil, fmt.Errorf("upstream %s: CRL: %w", c.Name, crl.ErrOtherIssuer)
	}
	if !slices.ContainsFunc(issuers, func(i *x509.Certificate) bool { return !sameKey(i, issuers[0]) }) {
		return issuers[0], nil
	}
	if i := slices.IndexFunc(issuers, func(i *x509.Certificate) bool { return signedBy(cert, i) }); i >= 0 {
		return issuers[i], nil
	}
	return nil, fmt.Errorf("upstream %s: CRL: %w", c.Name, crl.ErrOtherIssuer)
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
	if whole, ok := c.Upstream.(WholeLister); ok && whole.ListsEveryKey() && !r.list.AnyKey {
		r.list.AnyKey = true
	}
	return r.list.Replace(der, issuers, now)
}
