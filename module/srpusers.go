// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"

	"github.com/caddy-est/estra/ra/srp"
)

// SRPUsers gives the users of a realm for certificate-less TLS: those of a file,
// or where none is named those of the store. It is called while the configuration
// is provisioned, and what is looked up then waits for the store to open. The error
// says why the realm or the file can't be used.
func (a *App) SRPUsers(realm, file string) (srp.Lookup, error) {
	if err := srp.CheckRealm(realm); err != nil {
		return nil, err
	}
	source, err := a.srpSource(realm, file)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.srpRealms, realm) {
		a.srpRealms = append(a.srpRealms, realm)
	}
	return srp.NewLookup(source), nil
}

func (a *App) srpSource(realm, file string) (srp.Source, error) {
	if file == "" {
		return a.wantStore(storePlace{})
	}
	users := srp.NewFile(file, rand.Reader)
	if err := users.Load(realm); err != nil {
		return nil, fmt.Errorf("verifiers: %w", err)
	}
	return users, nil
}

// Find implements srp.Source.
func (l *lateStore) Find(ctx context.Context, realm, user string) (srp.Entry, error) {
	s, err := l.wait(ctx)
	if err != nil {
		return srp.Entry{}, err
	}
	return s.SRP().Find(ctx, realm, user)
}
