// SPDX-License-Identifier: Apache-2.0

// Package module holds Estra's Caddy modules: the app `est`, the handler
// `http.handlers.est`, the upstreams `est.upstreams.*` and the admin routes.
package module

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
)

func init() {
	caddy.RegisterModule(&App{})
}

// App is Caddy's app `est`. It owns what several sites share and what lives
// longer than a request: the certification authorities, their chains and
// issuing certificates, and the work in the background. It has no
// configuration of its own: the handlers bring theirs.
type App struct {
	ctx    caddy.Context
	log    *zap.Logger
	events *caddyevents.App

	mu       sync.Mutex
	cas      map[string]*authority // by caKey
	handlers []*Handler
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// An authority is a CA with the module that stands for it in the
// configuration.
type authority struct {
	ca       *ra.CA
	upstream Upstream
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est", New: func() caddy.Module { return new(App) }}
}

// Provision sets up the app. It opens no connection and starts nothing.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.log = ctx.Logger()
	a.cas = make(map[string]*authority)
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	a.events = events.(*caddyevents.App)
	return registerMetrics(ctx.GetMetricsRegistry())
}

// share returns the CA of an upstream. Handlers that configure an upstream
// of the same name in the same way share one.
func (a *App) share(ctx caddy.Context, name string, raw json.RawMessage, mod Upstream) *authority {
	sum := sha256.Sum256(raw)
	key := name + "\x00" + hex.EncodeToString(sum[:])
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.cas[key]; ok {
		return known
	}
	made := &authority{
		upstream: mod,
		ca: &ra.CA{
			Name:     name,
			Upstream: mod,
			Pins:     mod.Pins,
			Memory:   issuerMemory{ctx.Storage()},
			UseCRL:   mod.CRLEnabled(),
		},
	}
	a.cas[key] = made
	return made
}

// Start begins to keep the chains fresh.
func (a *App) Start() error {
	ctx, cancel := context.WithCancel(a.ctx)
	a.stop = cancel
	// What an earlier configuration had is no longer depended on.
	expirySeconds.Reset()
	policyInfo.Reset()
	for _, known := range a.authorities() {
		a.done.Add(1)
		go a.keepFresh(ctx, known.ca)
	}
	for _, h := range a.handlers {
		h.logStart()
	}
	a.done.Add(1)
	go a.watch(ctx)
	return nil
}

// Stop ends the work in the background and waits for it.
func (a *App) Stop() error {
	if a.stop != nil {
		a.stop()
	}
	a.done.Wait()
	return nil
}

// keepFresh refreshes one CA's chain: at once, then when it is due.
func (a *App) keepFresh(ctx context.Context, ca *ra.CA) {
	defer a.done.Done()
	var said []string
	for {
		said = a.refresh(ctx, ca, said)
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(time.Until(ca.Next()), time.Second)):
		}
	}
}

// refresh asks once, and logs what an operator has not been told: the roots'
// fingerprints (RFC 7030 section 4.1.1) and warnings.
func (a *App) refresh(ctx context.Context, ca *ra.CA, said []string) []string {
	failed := ca.Refresh(ctx)
	if ctx.Err() != nil {
		return said
	}
	a.observeExpiry(time.Now())
	if failed != nil {
		a.log.Error("the CA's certificates can't be read", zap.String("upstream", ca.Name), zap.Error(failed))
		a.emit("est_upstream_failed", map[string]any{"upstream": ca.Name, "reason": failed.Error()})
	}
	roots := ca.Fingerprints()
	warnings := slices.DeleteFunc(ca.Warnings(), func(w string) bool { return failed != nil && w == failed.Error() })
	now := append(slices.Clone(roots), warnings...)
	if slices.Equal(now, said) {
		return said
	}
	if len(roots) > 0 {
		a.log.Info("serving the CA's certificates", zap.String("upstream", ca.Name), zap.Strings("root_sha256", roots))
	}
	for _, warning := range warnings {
		a.log.Warn(warning)
	}
	return now
}

// watch keeps the expiry metrics current.
func (a *App) watch(ctx context.Context) {
	defer a.done.Done()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		a.observeExpiry(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// authorities returns the CAs in the order of their names.
func (a *App) authorities() []*authority {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]*authority, 0, len(a.cas))
	for _, known := range a.cas {
		all = append(all, known)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].ca.Name < all[j].ca.Name })
	return all
}

// enlist makes a handler known to the app.
func (a *App) enlist(h *Handler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handlers = append(a.handlers, h)
}

// Resume lets an upstream issue again for a profile, after it was stopped for
// nonconforming certificates.
func (a *App) Resume(upstream, profile string) error {
	found := false
	var names []string
	for _, known := range a.authorities() {
		names = append(names, known.ca.Name)
		if known.ca.Name == upstream {
			found = true
			if !known.ca.Resume(profile) {
				return fmt.Errorf("upstream %q isn't stopped for a profile %q", upstream, profile)
			}
		}
	}
	if !found {
		return fmt.Errorf("no upstream is named %q; there is: %s", upstream, strings.Join(slices.Compact(names), ", "))
	}
	a.log.Info("upstream may issue again", zap.String("upstream", upstream), zap.String("profile", profile))
	return nil
}

func (a *App) emit(name string, data map[string]any) {
	if a.events != nil && a.events.ShouldEmit(name) {
		a.events.Emit(a.ctx, name, data)
	}
}

// capabilities of the upstreams by name, for the policy's Bind.
func capabilities(named map[string]*authority) map[string]policy.Capabilities {
	out := make(map[string]policy.Capabilities, len(named))
	for name, known := range named {
		out[name] = known.upstream.Carries()
	}
	return out
}

var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
)
