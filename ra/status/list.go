// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

// asked is how long a list is served before the store is asked for a newer one:
// strangers ask for lists, and another node may have made one.
const askedEvery = time.Second

// A held list is the last one that was seen.
type held struct {
	list  store.RevocationList
	asked time.Time
}

// List gives the CRL of an issuing key. It is made anew when half of its life is
// over and where it lacks a revocation. The error is ErrNoKey where the key isn't
// there and no list of its is left that counts.
func (c *CA) List(ctx context.Context, issuer string) (store.RevocationList, error) {
	return c.list(ctx, issuer, false)
}

// list is List; where late is taken, one that was seen a moment ago will do.
func (c *CA) list(ctx context.Context, issuer string, late bool) (store.RevocationList, error) {
	now := c.now()
	seen := c.seen(issuer)
	if age := now.Sub(seen.asked); late && seen.list.Number > 0 && age >= 0 && age < askedEvery && now.Before(seen.list.NextUpdate) {
		return seen.list, nil
	}
	list, err := c.Store.List(ctx, issuer, seen.list.Number)
	switch {
	case errors.Is(err, store.ErrUnknown):
		list = store.RevocationList{}
	case err != nil:
		return list, err
	case list.Number == seen.list.Number:
		list.DER = seen.list.DER
	}
	if c.due(list, now) {
		if list, err = c.renew(ctx, issuer, list, now); err != nil {
			return list, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lists == nil {
		c.lists = make(map[string]*held)
	}
	if known := c.lists[issuer]; known == nil || known.list.Number <= list.Number {
		c.lists[issuer] = &held{list, now}
	}
	return list, nil
}

func (c *CA) seen(issuer string) held {
	c.mu.Lock()
	defer c.mu.Unlock()
	if seen := c.lists[issuer]; seen != nil {
		return *seen
	}
	return held{}
}

// due tells whether a list has to be made; the zero list is none.
func (c *CA) due(list store.RevocationList, now time.Time) bool {
	return list.Number == 0 || list.Behind || !now.Before(list.NextUpdate.Add(-c.lifetime()/2))
}

// renew makes a list in the place of the last. Without the key the last one goes on
// until it ends.
func (c *CA) renew(ctx context.Context, issuer string, last store.RevocationList, now time.Time) (store.RevocationList, error) {
	key, err := c.key(ctx, issuer)
	if errors.Is(err, ErrNoKey) && last.Number > 0 && now.Before(last.NextUpdate) {
		return last, nil
	}
	if err != nil {
		return store.RevocationList{}, err
	}
	return c.Store.NewList(ctx, issuer, now,
		func(held store.RevocationList) bool { return c.due(held, now) },
		func(number int64, revoked []store.CACertificate) (store.RevocationList, error) {
			return key.sign(number, revoked, now, now.Add(c.lifetime()))
		})
}

// oidExpiredCerts is expiredCertsOnCRL (ITU-T X.509).
var oidExpiredCerts = asn1.ObjectIdentifier{2, 5, 29, 60}

// sign makes a complete CRL.
func (k Key) sign(number int64, revoked []store.CACertificate, this, next time.Time) (list store.RevocationList, err error) {
	list.ThisUpdate, list.NextUpdate = this.UTC().Truncate(time.Second), next.UTC().Truncate(time.Second)
	// All that this key ever issued and was revoked is in it while the key's own
	// certificate lasts.
	since, err := asn1.MarshalWithParams(k.Certificate.NotBefore.UTC(), "generalized")
	if err != nil {
		return list, err
	}
	template := &x509.RevocationList{
		Number: big.NewInt(number), ThisUpdate: list.ThisUpdate, NextUpdate: list.NextUpdate,
		ExtraExtensions: []pkix.Extension{{Id: oidExpiredCerts, Value: since}},
	}
	for _, c := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: c.Serial, RevocationTime: c.Revoked, ReasonCode: c.Reason,
		})
	}
	issuer := *k.Certificate
	if issuer.KeyUsage == 0 {
		// RFC 5280 section 4.2.1.3: without key usages it is for all of them. crypto/x509
		// wants the bit.
		issuer.KeyUsage = x509.KeyUsageCRLSign
	}
	list.DER, err = x509.CreateRevocationList(rand.Reader, template, &issuer, k.Signer)
	return list, err
}

// Refresh makes the lists that are due, of every key.
func (c *CA) Refresh(ctx context.Context) error {
	keys, err := c.Keys.All(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, key := range keys {
		if _, err := c.List(ctx, key.ID()); err != nil {
			failed = errors.Join(failed, fmt.Errorf("the CRL of the key %s: %w", key.ID(), err))
		}
	}
	return failed
}

// CRL is the list of the key that issues now, in DER.
func (c *CA) CRL(ctx context.Context) ([]byte, error) {
	current, err := c.Keys.Current()
	if err != nil {
		return nil, err
	}
	list, err := c.List(ctx, current.ID())
	return list.DER, err
}
