// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

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
	if a.srpRealms == nil {
		a.srpRealms = make(map[string]bool)
	}
	a.srpRealms[realm] = a.srpRealms[realm] || file == ""
	return srp.NewLookup(source), nil
}

// takesSRP refuses users in the store that no listener would ask for.
func (a *App) takesSRP(realm string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch stored, known := a.srpRealms[realm]; {
	case stored:
		return nil
	case known:
		return fmt.Errorf("the users of the realm %q are in a file of `verifiers`, and not in the store: name it with --file", realm)
	case len(a.srpRealms) == 0:
		return errors.New("no listener of the configuration has `est_srp`: the users would be good for nothing")
	default:
		return fmt.Errorf("no `est_srp` has the realm %q; there is: %s", realm, strings.Join(slices.Sorted(maps.Keys(a.srpRealms)), ", "))
	}
}

// bindRealms refuses policies with lines that nobody could match.
func (a *App) bindRealms() error {
	known := slices.Sorted(maps.Keys(a.srpRealms))
	for _, h := range a.handlers {
		if err := h.policy.BindRealms(known); err != nil {
			return fmt.Errorf("policy:\n%w", err)
		}
		if h.shadow == nil {
			continue
		}
		if err := h.shadow.BindRealms(known); err != nil {
			return fmt.Errorf("policy shadow:\n%w", err)
		}
	}
	return nil
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
