// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
)

// stores are the open stores by their keys: a configuration shares its store
// with the one before it, since a file lets nobody else in.
var stores = caddy.NewUsagePool()

// A pooledStore ends with its last configuration.
type pooledStore struct{ store.Store }

// Destruct implements caddy.Destructor.
func (p pooledStore) Destruct() error { return p.Close() }

// DefaultStore is the store's file where none is written: in Caddy's data
// directory.
func DefaultStore() string { return filepath.Join(caddy.AppDataDir(), "est", "store.db") }

// A lateStore is the store of a configuration, which opens when the app
// starts: sites may serve before. Requests wait for it.
type lateStore struct {
	opened chan struct{}
	store  store.Store // after opened
	failed error
}

func (l *lateStore) wait(ctx context.Context) (store.Store, error) {
	select {
	case <-l.opened:
		return l.store, l.failed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Verify implements est.Passwords.
func (l *lateStore) Verify(ctx context.Context, presented secret.Text, label string, now time.Time) (store.Password, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return store.Password{}, err
	}
	return s.Passwords().Verify(ctx, presented, label, now)
}

// Proof implements est.Passwords.
func (l *lateStore) Proof(ctx context.Context, id, label string, now time.Time) (store.Password, store.ProofKeys, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return store.Password{}, store.ProofKeys{}, err
	}
	return s.Passwords().Proof(ctx, id, label, now)
}

// Refused implements est.Passwords.
func (l *lateStore) Refused(ctx context.Context, id string) error {
	s, err := l.wait(ctx)
	if err != nil {
		return err
	}
	return s.Passwords().Refused(ctx, id)
}

// Match implements est.Devices.
func (l *lateStore) Match(ctx context.Context, keys policy.DeviceKeys) ([]store.Device, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return nil, err
	}
	return s.Devices().Match(ctx, keys)
}

// Reserve implements store.Claims.
func (l *lateStore) Reserve(ctx context.Context, r store.Reservation) error {
	s, err := l.wait(ctx)
	if err != nil {
		return err
	}
	return s.Claims().Reserve(ctx, r)
}

// Settle implements store.Claims.
func (l *lateStore) Settle(ctx context.Context, t store.Settlement) error {
	s, err := l.wait(ctx)
	if err != nil {
		return err
	}
	return s.Claims().Settle(ctx, t)
}

// Chain implements store.Renewals.
func (l *lateStore) Chain(ctx context.Context, ids ...[32]byte) (policy.Chain, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return policy.Chain{}, err
	}
	return s.Renewals().Chain(ctx, ids...)
}

// KeepChains implements store.Renewals.
func (l *lateStore) KeepChains(ctx context.Context, links []store.Link, now time.Time) error {
	s, err := l.wait(ctx)
	if err != nil {
		return err
	}
	return s.Renewals().KeepChains(ctx, links, now)
}

// Issued implements store.Made.
func (l *lateStore) Issued(ctx context.Context, m store.MadeCertificate) ([][]byte, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return nil, err
	}
	return s.Made().Issued(ctx, m)
}

// Settled implements store.Made.
func (l *lateStore) Settled(ctx context.Context, request [32]byte, certificate []byte) error {
	s, err := l.wait(ctx)
	if err != nil {
		return err
	}
	return s.Made().Settled(ctx, request, certificate)
}

// DecryptKey finds a key of one of the devices.
func (l *lateStore) DecryptKey(ctx context.Context, devices []string, wanted store.DecryptKey) (string, store.DecryptKey, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return "", store.DecryptKey{}, err
	}
	return s.Devices().DecryptKey(ctx, devices, wanted)
}

// wantStore says that a site needs the store, and where it is written to be,
// or nothing. A configuration has one.
func (a *App) wantStore(place storePlace) (*lateStore, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if place.written() && a.storeAt.written() && a.storeAt.key() != place.key() {
		return nil, fmt.Errorf("store: another site has the store %s, and this one %s: a configuration has one store", a.storeAt.name(), place.name())
	}
	if place.written() {
		a.storeAt = place
	}
	if a.store == nil {
		a.store = &lateStore{opened: make(chan struct{})}
	}
	return a.store, nil
}

// mostOpened bounds the wait for a store at start, with its migrations.
const mostOpened = 5 * time.Minute

// openStore opens the store where there is a site.
func (a *App) openStore() error {
	if a.store == nil {
		return nil
	}
	defer close(a.store.opened)
	place := a.storeAt
	if !place.written() {
		place = storePlace{engine: sqliteEngine, file: DefaultStore()}
	}
	shared, old, err := stores.LoadOrNew(place.key(), func() (caddy.Destructor, error) {
		ctx, cancel := context.WithTimeout(a.ctx, mostOpened)
		defer cancel()
		made, err := place.open(ctx)
		if err != nil {
			return nil, err
		}
		return pooledStore{made}, nil
	})
	if err != nil {
		if place.source != "" {
			err = fmt.Errorf("%s: est: %w", place.source, err)
		}
		a.store.failed = err
		return err
	}
	a.store.store, a.storeName = shared.(pooledStore), place.key()
	if !old {
		if err := a.takeUp(); err != nil {
			return err
		}
		a.log.Info("store opened", zap.String("store", place.name()))
	}
	return nil
}

// takeUp notes what this node has left half done, when it ended without a word:
// a certificate may be out there.
func (a *App) takeUp() error {
	node, err := nodeName()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, mostOpened)
	defer cancel()
	now := time.Now()
	left, err := a.store.store.Certificates().Abandoned(ctx, ledgerNode(node), now, now)
	if err != nil {
		a.store.failed = err
		return err
	}
	if left > 0 {
		a.log.Warn("certificates were asked for when this server ended, and may have been issued: they are in doubt", zap.Int("certificates", left))
	}
	return nil
}

// Store is the open store, for the admin API.
func (a *App) Store(ctx context.Context) (store.Store, error) {
	if a.store == nil {
		return nil, errors.New("no site has `est`, and no listener users of SRP: there is no store")
	}
	return a.store.wait(ctx)
}

// needsStore prepares the store: what is issued is written down there.
func (h *Handler) needsStore() (err error) {
	var place storePlace
	if h.Store != nil {
		if place, err = h.Store.place(); err != nil {
			return err
		}
		place.source = h.Source
	}
	if err := h.app.wantRetention(h.Retention); err != nil {
		return err
	}
	h.store, err = h.app.wantStore(place)
	return err
}

// registryNames are those of the registries that the configuration has.
func (h *Handler) registryNames() []string {
	var names []string
	for _, r := range h.Registries {
		names = append(names, r.Name)
	}
	return names
}
