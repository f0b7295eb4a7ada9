// SPDX-License-Identifier: Apache-2.0

// Package status is what a CA of this process says of its certificates: which are
// revoked, by CRLs (RFC 5280 section 5) and by OCSP (RFC 6960, RFC 5019). What it
// knows is in the store; the issuing key signs both.
package status

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

// DefaultLifetime is how long a CRL counts. It is made anew at half of that.
const DefaultLifetime = 7 * 24 * time.Hour

// forgotten is how long a revocation is kept where nobody knows when certificate and
// issuer end.
const forgotten = 10 * 365 * 24 * time.Hour

// A CA is a CA whose keys are at hand. It is safe for concurrent use; the exported
// fields must not change once it is used.
type CA struct {
	// Name is in paths and rows.
	Name  string
	Store Store
	Keys  Keys
	// Lifetime is that of a CRL; 0: DefaultLifetime.
	Lifetime time.Duration
	Now      func() time.Time // nil: time.Now

	mu    sync.Mutex
	lists map[string]*held // by issuer
	busy  chan struct{}    // see enter
}

// Store is the part of store.Authorities that this needs.
type Store interface {
	Revoke(ctx context.Context, c store.CACertificate) error
	Entry(ctx context.Context, issuer string, serial *big.Int) (store.CACertificate, error)
	List(ctx context.Context, issuer string, have int64) (store.RevocationList, error)
	NewList(ctx context.Context, issuer string, now time.Time, due func(store.RevocationList) bool, sign store.SignList) (store.RevocationList, error)
}

// Keys are a CA's issuing keys: each has its own CRL, since they may share a name.
type Keys interface {
	// Current is the key that issues now.
	Current() (Key, error)
	// All are those whose certificates haven't ended, the current one first.
	All(ctx context.Context) ([]Key, error)
}

// A Key is an issuing key with its certificate.
type Key struct {
	Certificate *x509.Certificate
	Signer      crypto.Signer
}

// ID names the key: the subjectKeyIdentifier, which the certificates under it have
// as authorityKeyIdentifier, in lower-case hexadecimal.
func (k Key) ID() string { return hex.EncodeToString(k.Certificate.SubjectKeyId) }

// Check says why a key can't sign CRLs (RFC 5280 sections 4.2.1.3 and 5.2.1).
func (k Key) Check() error {
	switch c := k.Certificate; {
	case len(c.SubjectKeyId) == 0:
		return fmt.Errorf("the issuing certificate %q has no subjectKeyIdentifier, by which a CRL names the key", c.Subject)
	case c.KeyUsage != 0 && c.KeyUsage&x509.KeyUsageCRLSign == 0:
		return fmt.Errorf("the issuing certificate %q lacks the key usage cRLSign", c.Subject)
	}
	return nil
}

// ErrReason is wrapped where a certificate isn't revoked for the reason that was
// given.
var ErrReason = errors.New("not a reason to revoke for")

// checkReason takes the reasons of RFC 5280 section 5.3.1 but for those that don't
// revoke for good.
func checkReason(reason int) error {
	switch reason {
	case 0, 1, 2, 3, 4, 5, 9, 10:
		return nil
	case 6:
		return fmt.Errorf("%w: certificateHold would let the certificate come back, and this CA revokes for good", ErrReason)
	case 8:
		return fmt.Errorf("%w: removeFromCRL takes a certificate off a CRL, and what this CA has revoked stays revoked", ErrReason)
	}
	return fmt.Errorf("%w: %d is no CRLReason", ErrReason, reason)
}

// Revoke revokes a certificate of ours.
func (c *CA) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if cert == nil || cert.SerialNumber == nil || len(cert.AuthorityKeyId) == 0 {
		return errors.New("the certificate doesn't say which key issued it")
	}
	return c.revoke(ctx, hex.EncodeToString(cert.AuthorityKeyId), cert.SerialNumber, cert.NotAfter, reason)
}

// RevokeSerial revokes a certificate that nobody has, as ra.SerialRevoker says. A
// serial number that isn't in use yet never will be.
func (c *CA) RevokeSerial(ctx context.Context, serial *big.Int, issuer *x509.Certificate, notAfter time.Time, reason int) error {
	if serial == nil || serial.Sign() <= 0 {
		return errors.New("no serial number to revoke")
	}
	if issuer != nil {
		return c.revoke(ctx, Key{Certificate: issuer}.ID(), serial, notAfter, reason)
	}
	keys, err := c.Keys.All(ctx)
	if err != nil {
		return err
	}
	for _, key := range keys { // whose it is, where it was issued
		switch entry, err := c.Store.Entry(ctx, key.ID(), serial); {
		case errors.Is(err, store.ErrUnknown):
		case err != nil:
			return err
		default:
			return c.revoke(ctx, entry.Issuer, serial, entry.NotAfter, reason)
		}
	}
	current, err := c.Keys.Current()
	if err != nil {
		return err
	}
	return c.revoke(ctx, current.ID(), serial, notAfter, reason)
}

func (c *CA) revoke(ctx context.Context, issuer string, serial *big.Int, notAfter time.Time, reason int) error {
	if err := checkReason(reason); err != nil {
		return err
	}
	now := c.now()
	key, err := c.key(ctx, issuer)
	if err != nil && !errors.Is(err, ErrNoKey) {
		return err
	}
	// As long as a list can be made: it names also what has expired.
	until := notAfter
	if err == nil && key.Certificate.NotAfter.After(until) {
		until = key.Certificate.NotAfter
	}
	if until.IsZero() {
		until = now.Add(forgotten)
	}
	if err := c.Store.Revoke(ctx, store.CACertificate{
		CA: c.Name, Issuer: issuer, Serial: serial, NotAfter: notAfter, Revoked: now, Reason: reason, Until: until.Add(c.lifetime()),
	}); err != nil {
		return err
	}
	// The certificate is revoked. A list that can't be made now is made with the next
	// refresh, which says why it can't.
	_, _ = c.List(ctx, issuer)
	return nil
}

// Revoked tells whether a certificate of ours is revoked: by the store, which is
// ahead of every list.
func (c *CA) Revoked(ctx context.Context, cert *x509.Certificate) (bool, error) {
	entry, err := c.Store.Entry(ctx, hex.EncodeToString(cert.AuthorityKeyId), cert.SerialNumber)
	if errors.Is(err, store.ErrUnknown) {
		return false, nil
	}
	return err == nil && !entry.Revoked.IsZero(), err
}

// ErrNoKey: the issuing key isn't at hand.
var ErrNoKey = errors.New("no issuing key of that name is at hand")

func (c *CA) key(ctx context.Context, id string) (Key, error) {
	keys, err := c.Keys.All(ctx)
	if err != nil {
		return Key{}, err
	}
	if i := slices.IndexFunc(keys, func(k Key) bool { return k.ID() == id }); i >= 0 {
		return keys[i], nil
	}
	return Key{}, ErrNoKey
}

func (c *CA) lifetime() time.Duration {
	if c.Lifetime > 0 {
		return c.Lifetime
	}
	return DefaultLifetime
}

func (c *CA) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}
