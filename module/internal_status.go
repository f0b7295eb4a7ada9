// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/status"
	"github.com/caddy-est/estra/ra/store"
)

// off is the value that switches an option off.
const off = "off"

// checkStatus says why the options of revocation can't be meant.
func (u *Internal) checkStatus() error {
	switch {
	case u.Revocation != "" && u.Revocation != off:
		return fmt.Errorf("internal: revocation %q: the only value is `off`", u.Revocation)
	case u.Revocation == off && (u.Publish != "" || u.CRLLifetime != 0):
		return errors.New("internal: with `revocation off` there is nothing to publish: leave out publish and crl_lifetime")
	case u.CRLLifetime != 0 && time.Duration(u.CRLLifetime) < leastCRLLifetime:
		return fmt.Errorf("internal: crl_lifetime %s is too short: a CRL must last %s, so that it can be made in time", time.Duration(u.CRLLifetime), leastCRLLifetime)
	case u.Publish == "" || u.Publish == off:
		return nil
	}
	// RFC 5280 section 8: who checks TLS by a list must not need TLS to get it.
	at, err := url.Parse(u.Publish)
	if err != nil || at.Scheme != "http" || at.Host == "" || at.User != nil || at.RawQuery != "" || at.Fragment != "" || (at.Path != "" && at.Path != "/") {
		return fmt.Errorf("internal: publish %q isn't an address such as http://pki.example.net: http, a host, and no path", u.Publish)
	}
	return nil
}

// leastCRLLifetime is how short a CRL's life may be: it is made at half of that,
// and looked after twice a minute.
const leastCRLLifetime = 10 * time.Minute

// provisionStatus gives the CA what it needs to revoke. It opens nothing.
func (u *Internal) provisionStatus() error {
	u.keys = &issuingKeys{of: u}
	if err := u.checkStatus(); err != nil || !u.CRLEnabled() {
		return err
	}
	late, err := u.app.wantStore(storePlace{})
	if err != nil {
		return err
	}
	u.status = &status.CA{Name: u.CA, Store: lateAuthorities{late}, Keys: u.keys, Lifetime: time.Duration(u.CRLLifetime)}
	return nil
}

// issuing is the key that issues now. With a CRL to make it is kept, before it is
// used and before Caddy can renew it.
func (u *Internal) issuing(ctx context.Context) (status.Key, error) {
	current, err := u.keys.Current()
	if err != nil || u.status == nil {
		return current, err
	}
	if err := current.Check(); err != nil {
		return current, fmt.Errorf("the CA %q can make no CRL: %w; write `revocation off` in the upstream, or give the CA another intermediate", u.CA, err)
	}
	return current, u.keys.keep(ctx, current)
}

// errNoRevocation is the answer with `revocation off`.
var errNoRevocation = ra.Fail(ra.UpstreamRefused, "this CA revokes nothing: `revocation off` stands in its upstream", nil)

// refused makes the error of an upstream of one of the CA's status.
func refused(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, status.ErrReason):
		return ra.Fail(ra.UpstreamRefused, err.Error(), nil)
	default:
		return ra.Fail(ra.UpstreamDown, "the store or the key can't be had", err)
	}
}

// Revoke implements ra.Revoker.
func (u *Internal) Revoke(ctx context.Context, c *x509.Certificate, reason int) error {
	if u.status == nil {
		return errNoRevocation
	}
	if c == nil || c.SerialNumber == nil || len(c.AuthorityKeyId) == 0 {
		return ra.Fail(ra.UpstreamRefused, "the certificate doesn't say which key issued it", nil)
	}
	if err := u.status.Revoke(ctx, c, reason); err != nil {
		return refused(err)
	}
	u.sayRevoked(c.SerialNumber, reason)
	return nil
}

// RevokeSerial implements ra.SerialRevoker.
func (u *Internal) RevokeSerial(ctx context.Context, serial *big.Int, issuer *x509.Certificate, notAfter time.Time, reason int) error {
	if u.status == nil {
		return errNoRevocation
	}
	if serial == nil || serial.Sign() <= 0 {
		return ra.Fail(ra.UpstreamRefused, "no serial number to revoke", nil)
	}
	if err := u.status.RevokeSerial(ctx, serial, issuer, notAfter, reason); err != nil {
		return refused(err)
	}
	u.sayRevoked(serial, reason)
	return nil
}

func (u *Internal) sayRevoked(serial *big.Int, reason int) {
	u.log.Info("certificate revoked", zap.String("ca", u.CA), zap.String("serial", serial.Text(16)), zap.Int("reason", reason))
}

// Revoked implements ra.RevocationChecker: the store is ahead of every list.
func (u *Internal) Revoked(ctx context.Context, c *x509.Certificate) (bool, error) {
	if u.status == nil {
		return false, nil
	}
	revoked, err := u.status.Revoked(ctx, c)
	return revoked, refused(err)
}

// CRL implements ra.CRLSource: the list of the key that issues now. Those of former
// keys are made too, where they are due.
func (u *Internal) CRL(ctx context.Context) ([]byte, error) {
	if u.status == nil {
		return nil, ra.Fail(ra.UpstreamRefused, "this CA has no CRL: `revocation off` stands in its upstream", nil)
	}
	if err := u.status.Refresh(ctx); err != nil {
		return nil, refused(err)
	}
	der, err := u.status.CRL(ctx)
	return der, refused(err)
}

// base is the address under which certificates say that CRL and OCSP are; empty:
// they say nothing.
func (u *Internal) base() string {
	switch {
	case u.status == nil || u.Publish == off:
		return ""
	case u.Publish != "":
		return trimSlash(u.Publish)
	default:
		return u.app.publishedAt()
	}
}

// lateAuthorities is the store's part for CAs of this process, once it is open.
type lateAuthorities struct{ late *lateStore }

var _ status.Store = lateAuthorities{}

// Revoke implements store.Authorities, as the others do.
func (l lateAuthorities) Revoke(ctx context.Context, c store.CACertificate) error {
	s, err := l.late.wait(ctx)
	if err != nil {
		return err
	}
	return s.Authorities().Revoke(ctx, c)
}

func (l lateAuthorities) Entry(ctx context.Context, issuer string, serial *big.Int) (store.CACertificate, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return store.CACertificate{}, err
	}
	return s.Authorities().Entry(ctx, issuer, serial)
}

func (l lateAuthorities) List(ctx context.Context, issuer string, have int64) (store.RevocationList, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return store.RevocationList{}, err
	}
	return s.Authorities().List(ctx, issuer, have)
}

func (l lateAuthorities) NewList(ctx context.Context, issuer string, now time.Time, due func(store.RevocationList) bool, sign store.SignList) (store.RevocationList, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return store.RevocationList{}, err
	}
	return s.Authorities().NewList(ctx, issuer, now, due, sign)
}

var (
	_ ra.Revoker           = (*Internal)(nil)
	_ ra.SerialRevoker     = (*Internal)(nil)
	_ ra.RevocationChecker = (*Internal)(nil)
	_ ra.CRLSource         = (*Internal)(nil)
)
