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

// stores are the open stores by their files: a configuration shares its store
// with the one before it, since the file lets nobody else in.
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

// wantStore says that a site needs the store, and where it is written to be,
// or nothing. A configuration has one.
func (a *App) wantStore(path string) (*lateStore, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if path != "" && a.storePath != "" && a.storePath != path {
		return nil, fmt.Errorf("store: another site has the store %s, and this one %s: a configuration has one store", a.storePath, path)
	}
	if path != "" {
		a.storePath = path
	}
	if a.store == nil {
		a.store = &lateStore{opened: make(chan struct{})}
	}
	return a.store, nil
}

// openStore opens the store where a site needs it.
func (a *App) openStore() error {
	if a.store == nil {
		return nil
	}
	defer close(a.store.opened)
	path := a.storePath
	if path == "" {
		path = DefaultStore()
	}
	shared, old, err := stores.LoadOrNew(path, func() (caddy.Destructor, error) {
		made, err := store.OpenSQLite(a.ctx, path, store.Options{Create: true})
		if err != nil {
			return nil, err
		}
		return pooledStore{made}, nil
	})
	if err != nil {
		a.store.failed = err
		return err
	}
	a.store.store, a.storeName = shared.(pooledStore), path
	if !old {
		a.log.Info("store opened", zap.String("file", path))
	}
	return nil
}

// Store is the open store, for the admin API.
func (a *App) Store(ctx context.Context) (store.Store, error) {
	if a.store == nil {
		return nil, errors.New("no policy has one_time_password or registry, and no `store` is written: there is no store")
	}
	return a.store.wait(ctx)
}

// needsStore prepares the store where the configuration or a policy asks for
// it.
func (h *Handler) needsStore() (err error) {
	path := ""
	if h.Store != nil {
		if h.Store.Engine != "sqlite" || h.Store.File == "" {
			return errors.New("store: want the engine sqlite, and a file")
		}
		if path, err = expand("store", h.Store.File); err != nil {
			return err
		}
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
	}
	if path == "" && len(h.Registries) == 0 && !h.policy.UsesPasswords() && !h.policy.UsesRegistries() {
		return nil
	}
	h.store, err = h.app.wantStore(path)
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
