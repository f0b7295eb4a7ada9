// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"time"

	"github.com/caddy-est/estra/ra/store"
)

// ledger waits for the store.
func (l *lateStore) ledger(ctx context.Context) (store.Certificates, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return nil, err
	}
	return s.Certificates(), nil
}

// Intend implements store.Ledger.
func (l *lateStore) Intend(ctx context.Context, c store.Certificate, since time.Time) (store.Intended, error) {
	s, err := l.ledger(ctx)
	if err != nil {
		return store.Intended{}, err
	}
	return s.Intend(ctx, c, since)
}

// Ended implements store.Ledger.
func (l *lateStore) Ended(ctx context.Context, e store.CertificateEnd) error {
	s, err := l.ledger(ctx)
	if err != nil {
		return err
	}
	return s.Ended(ctx, e)
}

// Current implements store.Ledger.
func (l *lateStore) Current(ctx context.Context, request [32]byte) (store.Certificate, error) {
	s, err := l.ledger(ctx)
	if err != nil {
		return store.Certificate{}, err
	}
	return s.Current(ctx, request)
}

// Revoked implements store.Ledger.
func (l *lateStore) Revoked(ctx context.Context, id string, m store.Mark) error {
	s, err := l.ledger(ctx)
	if err != nil {
		return err
	}
	return s.Revoked(ctx, id, m)
}

// RevokedCertificate implements store.Ledger.
func (l *lateStore) RevokedCertificate(ctx context.Context, c store.Certificate, m store.Mark) error {
	s, err := l.ledger(ctx)
	if err != nil {
		return err
	}
	return s.RevokedCertificate(ctx, c, m)
}

// Barred implements store.Ledger.
func (l *lateStore) Barred(ctx context.Context, serial string, sha256 [32]byte) (store.Standing, error) {
	s, err := l.ledger(ctx)
	if err != nil {
		return store.Standing{}, err
	}
	return s.Barred(ctx, serial, sha256)
}

// BySHA256 implements est.Inventory.
func (l *lateStore) BySHA256(ctx context.Context, serial string, sha256 [32]byte) (store.Certificate, error) {
	s, err := l.ledger(ctx)
	if err != nil {
		return store.Certificate{}, err
	}
	return s.BySHA256(ctx, serial, sha256)
}

// SignsInProcess implements ra.InProcess: the key is in this process, or asked by it.
func (*Internal) SignsInProcess() {}
