// SPDX-License-Identifier: Apache-2.0

// Package module holds Estra's Caddy modules: the app `est`, the handler
// `http.handlers.est`, the upstreams `est.upstreams.*` and the admin routes.
package module

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddypki"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/steady"
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
	gate   startGate // to the events app

	// What this configuration depends on, and no earlier one.
	expiry, policies *prometheus.GaugeVec
	demands          *prometheus.GaugeVec // conflicts with them
	pending          prometheus.Gauge
	recount          chan struct{} // of those that wait for approval

	// madeCA is the CA that the upstream `internal` put into the pki app; nil
	// while the operator's own serve.
	madeCA *caddypki.CA

	second seconds
	srp    srpListeners
	own    ownCertificates
	hooked hookedPolicies

	keys     *keyMemory
	keysName string // by which it is released

	storeAt   storePlace       // as a site has it; zero: the default
	store     *lateStore       // nil: there is no site
	storeName string           // by which it is released
	retention *RetentionConfig // nil: the default
	clock     steady.Clock     // while this configuration runs
	chain     *lateChain       // nil: no site has `audit`
	chainName string           // by which it is released

	publishAt string // where certificates say that CRL and OCSP are
	requests  inFlight
	leaving   atomic.Bool // another configuration takes over

	mu       sync.Mutex
	cas      map[string]*authority // by the upstream's name
	handlers []*Handler

	revocationSites []revocationPlace
	// srpRealms are those that a listener has users of, and whether these are in
	// the store.
	srpRealms map[string]bool
	stop      context.CancelFunc
	done      sync.WaitGroup
}

// An authority is a CA with the module that stands for it in the
// configuration.
type authority struct {
	ca       *ra.CA
	upstream Upstream
	raw      json.RawMessage // as the configuration has it
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
	if err := a.loadEvents(ctx); err != nil {
		return err
	}
	var err error
	if a.keys, a.keysName, err = shareKeys(ctx.Storage()); err != nil {
		return err
	}
	a.expiry, a.policies, a.demands, a.pending = newExpirySeconds(), newPolicyInfo(), newConflicts(), newPending()
	a.recount = make(chan struct{}, 1)
	return registerMetrics(ctx.GetMetricsRegistry(), a.expiry, a.policies, a.demands, a.pending)
}

// share returns the CA of an upstream. Sites that write an upstream in the
// same way share one. A name stands for one CA in the whole configuration: in
// the audit record, in metrics, and in what is remembered of it.
func (a *App) share(ctx caddy.Context, name string, raw json.RawMessage, mod Upstream) (*authority, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.cas[name]; ok {
		if !bytes.Equal(known.raw, raw) {
			return nil, fmt.Errorf("another site has an upstream of this name that is written differently: write it the same, or give this one a name of its own, `upstream NAME MODULE …`")
		}
		return known, nil
	}
	made := &authority{
		raw:      raw,
		upstream: mod,
		ca: &ra.CA{
			Name:     name,
			Upstream: mod,
			Pins:     mod.Pins,
			Memory:   issuerMemory{ctx.Storage(), mod.Identity()},
			UseCRL:   mod.CRLEnabled(),
		},
	}
	if patient, ok := mod.(interface{ IssueTimeout() time.Duration }); ok {
		made.ca.Timeout = patient.IssueTimeout()
	}
	a.cas[name] = made
	return made, nil
}

// Start reads which keys were certified, and begins to keep the chains fresh.
func (a *App) Start() error {
	if err := a.keys.open(a.ctx, a.ctx.Storage(), a.log.Named("keys")); err != nil {
		return err
	}
	if err := a.bindRealms(); err != nil {
		return err
	}
	if err := a.openStore(); err != nil {
		return err
	}
	if err := a.openChain(); err != nil {
		return err
	}
	if err := a.settlePublished(); err != nil {
		return err
	}
	a.sayPublished()
	ctx, cancel := context.WithCancel(a.ctx)
	a.stop = cancel
	for _, known := range a.authorities() {
		a.done.Add(1)
		go a.keepFresh(ctx, known.ca)
		if keeper, ok := known.upstream.(interface{ Keep(context.Context) }); ok {
			a.done.Go(func() { keeper.Keep(ctx) }) // its credential
		}
	}
	a.startOwn(ctx)
	var said []string
	for _, h := range a.handlers {
		for _, b := range h.bearers {
			a.done.Add(1)
			go a.keepKeys(ctx, b)
		}
		if h.notifier != nil {
			a.done.Go(func() { h.keepTelling(ctx) })
		}
		h.sayOfSecond("serving a second certificate to clients who name its CA")
		a.policies.WithLabelValues(h.policy.SHA256()).Set(1)
		if !slices.Contains(said, h.policy.SHA256()) { // sites may share a policy
			said = append(said, h.policy.SHA256())
			h.logPolicy()
		}
	}
	a.done.Add(1)
	go a.watch(ctx)
	if a.store != nil {
		a.done.Go(func() { a.watchPending(ctx) })
		a.done.Go(func() { a.keepPruned(ctx) })
		a.done.Go(func() { a.keepPolling(ctx) })
	}
	a.done.Go(func() { newLackWarnings().watch(ctx, a) })
	if running.enter(a) {
		time.Sleep(leaveFor) // before the old one stops
	}
	return nil
}

// Stop ends the work in the background and waits for it.
func (a *App) Stop() error {
	running.leave(a)
	if a.stop != nil {
		a.stop()
	}
	a.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	_ = a.keys.flush(ctx) // logged; while the storage of this configuration is open
	return nil
}

// Cleanup lets go of what is shared with other configurations, once the last
// request has left its record there. The error is of what is let go at once.
func (a *App) Cleanup() (failed error) {
	a.requests.afterwards(func() {
		failed = a.release()
		if failed != nil && a.log != nil {
			a.log.Error("closing what the configuration had", zap.Error(failed))
		}
	})
	return failed
}

func (a *App) release() error {
	var failed error
	if a.storeName != "" {
		_, failed = stores.Delete(a.storeName)
	}
	if a.chainName != "" {
		_, err := chains.Delete(a.chainName)
		failed = errors.Join(failed, err)
	}
	if a.keysName != "" {
		// Requests may have ended after Stop.
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		defer cancel()
		_ = a.keys.flush(ctx) // logged
		_, err := keyMemories.Delete(a.keysName)
		failed = errors.Join(failed, err)
	}
	return failed
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
	warnings = append(warnings, a.observeConflicts(ctx, ca)...)
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

// watch keeps CRLs and the expiry metrics current. Why a CRL can't be had is
// for the readiness endpoint, and for the renewals that it refuses.
func (a *App) watch(ctx context.Context) {
	defer a.done.Done()
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	said := make(map[string]string)
	for {
		a.refreshRevocation(ctx, said)
		for _, known := range a.authorities() {
			_ = known.ca.RefreshCRL(ctx)
		}
		for _, h := range a.handlers {
			h.watchSecond()
		}
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
	a.mu.Lock()
	known, ok := a.cas[upstream]
	names := slices.Sorted(maps.Keys(a.cas))
	a.mu.Unlock()
	if !ok {
		return fmt.Errorf("no upstream is named %q; there is: %s", upstream, cmp.Or(strings.Join(names, ", "), "none"))
	}
	if !known.ca.Resume(profile) {
		return fmt.Errorf("upstream %q isn't stopped for a profile %q", upstream, profile)
	}
	a.log.Info("upstream may issue again", zap.String("upstream", upstream), zap.String("profile", profile))
	return nil
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
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
