// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra/store"
)

// A RetentionConfig is the option `retention`: how long the store keeps what has
// ended. What is below zero is kept for ever.
type RetentionConfig struct {
	// How long an entry of the inventory is kept after its certificate has ended.
	// Default: for ever.
	Certificates caddy.Duration `json:"certificates,omitempty"`
	// How long a one-time password is kept after it was used, revoked or has
	// expired. Default: 90d.
	Passwords caddy.Duration `json:"passwords,omitempty"`
}

const (
	keptPasswords = 90 * 24 * time.Hour
	// leastKept is more than a request takes that began before the end.
	leastKept = 24 * time.Hour
	// pruneEvery is how often it is looked for what can go, and prunePause how long
	// requests have the store to themselves in between.
	pruneEvery = time.Hour
	prunePause = 100 * time.Millisecond
	// steadyFor is how long the clock must have been right by itself before: an hour
	// later it is looked again.
	steadyFor = pruneEvery / 2
)

// Check says why the option can't be meant, or nil.
func (c *RetentionConfig) Check() error {
	for _, d := range []caddy.Duration{c.Certificates, c.Passwords} {
		if d > 0 && time.Duration(d) < leastKept {
			return errors.New("retention: nothing is kept for less than 1d")
		}
	}
	return nil
}

// wantRetention takes what a site says of the store, which all share.
func (a *App) wantRetention(c *RetentionConfig) error {
	if c == nil {
		return nil
	}
	if err := c.Check(); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.retention != nil && *a.retention != *c {
		return errors.New("retention: another site has it otherwise, and a configuration has one store: write it the same")
	}
	a.retention = c
	return nil
}

// kept is what the store is told. While a certificate that has ended may still be
// renewed, its entry says whether it was revoked or blocked.
func (a *App) kept() store.Retention {
	var c RetentionConfig
	if a.retention != nil {
		c = *a.retention
	}
	r := store.Retention{Certificates: max(time.Duration(c.Certificates), 0), Passwords: max(time.Duration(c.Passwords), 0), Pause: prunePause}
	if c.Passwords == 0 {
		r.Passwords = keptPasswords
	}
	if r.Certificates == 0 {
		return r
	}
	for _, h := range a.handlers {
		for _, p := range h.policy.Profiles() {
			r.Certificates = max(r.Certificates, p.Grace()+leastKept)
		}
	}
	return r
}

// keepPruned removes what has ended from the store, at once and then each hour.
func (a *App) keepPruned(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		a.prune(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *App) prune(ctx context.Context) {
	s, err := a.store.wait(ctx)
	if err != nil {
		return // the app doesn't start
	}
	now := time.Now()
	if !a.clock.Steady(now, steadyFor) {
		a.log.Warn(fmt.Sprintf("the clock was set while the server runs: in case it is wrong, nothing that has ended by it is removed from the store for %s", pruneEvery), zap.Time("now", now))
		return
	}
	p, err := s.Upkeep().Prune(ctx, a.kept(), now)
	if p.Any() {
		a.log.Info("removed from the store what has ended", zap.Int("certificates", p.Certificates), zap.Int("passwords", p.Passwords),
			zap.Int("approvals", p.Approvals), zap.Int("ca_records", p.Authority))
	}
	if err != nil && ctx.Err() == nil {
		a.log.Warn(fmt.Sprintf("what has ended can't be removed from the store, and is tried again in %s", pruneEvery), zap.Error(err))
	}
}
