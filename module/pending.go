// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/est"
	"github.com/caddy-est/estra/ra/store"
)

// latePending is the store's Pending before the store is open.
type latePending struct{ late *lateStore }

// Ask implements store.Pending.
func (l latePending) Ask(ctx context.Context, a store.Asking) (store.Waiting, bool, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return store.Waiting{}, false, err
	}
	return s.Pending().Ask(ctx, a)
}

// Find implements store.Pending.
func (l latePending) Find(ctx context.Context, id string, now time.Time) (store.Waiting, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return store.Waiting{}, err
	}
	return s.Pending().Find(ctx, id, now)
}

// List implements store.Pending.
func (l latePending) List(ctx context.Context, now time.Time) ([]store.Waiting, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return nil, err
	}
	return s.Pending().List(ctx, now)
}

// Count implements store.Pending.
func (l latePending) Count(ctx context.Context, now time.Time) (int, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return 0, err
	}
	return s.Pending().Count(ctx, now)
}

// Decide implements store.Pending.
func (l latePending) Decide(ctx context.Context, d store.PendingDecision) (store.Waiting, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return store.Waiting{}, err
	}
	return s.Pending().Decide(ctx, d)
}

// Issued implements store.Pending.
func (l latePending) Issued(ctx context.Context, id string, until time.Time) error {
	s, err := l.late.wait(ctx)
	if err != nil {
		return err
	}
	return s.Pending().Issued(ctx, id, until)
}

// Again implements store.Pending.
func (l latePending) Again(ctx context.Context, id string, now, expires time.Time) (store.Waiting, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return store.Waiting{}, err
	}
	return s.Pending().Again(ctx, id, now, expires)
}

func newPending() prometheus.Gauge {
	return prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "caddy", Subsystem: "est", Name: "pending",
		Help: "Requests that wait for somebody's approval, of all nodes that share the store.",
	})
}

// observePending counts those that wait. Where the store can't be read, what was
// known stays.
func (a *App) observePending(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if n, err := (latePending{a.store}).Count(ctx, time.Now()); err == nil {
		a.pending.Set(float64(n))
	}
}

// watchPending counts again and again, since other nodes share the store, and
// where something has changed here.
func (a *App) watchPending(ctx context.Context) {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	for {
		a.observePending(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-a.recount:
		}
	}
}

// pendingChanged has them counted soon.
func (a *App) pendingChanged() {
	select {
	case a.recount <- struct{}{}:
	default: // it is about to happen
	}
}

// announcePending tells people of a request that somebody is to look at: of the
// first of its kind, and of no repeat.
func (h *Handler) announcePending(rep est.Report, data map[string]any) {
	p := rep.Outcome.Pended
	if p == nil || !p.Begun {
		return
	}
	data["id"], data["names"], data["needs"], data["expires"] = p.ID, p.Names, p.Needs, p.Expires.UTC().Format(time.RFC3339)
	h.log.Info("a request waits for approval", zap.String("id", p.ID), zap.String("request_id", rep.RequestID), zap.String("profile", rep.Profile))
	h.app.emit("est_pending", data)
	h.notify(rep, p)
	h.app.pendingChanged()
}

// authorityOf is the part that decides about a request that waits: of the site
// whose policy has its label and profile. Of several that of the policy under
// which it waits.
func (a *App) authorityOf(w store.Waiting) (*Handler, error) {
	a.mu.Lock()
	handlers := slices.Clone(a.handlers)
	a.mu.Unlock()
	var found *Handler
	for _, h := range handlers {
		p, ok := h.policy.Profile(w.Label)
		if !ok {
			continue
		}
		if h.policy.SHA256() == w.PolicySHA256 {
			return h, nil
		}
		if found == nil || p.Name() == w.Profile {
			found = h
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no policy in force has the label %q of the request %s", w.Label, w.ID)
	}
	return found, nil
}

// review is a request that waits, as it is shown.
func (a *App) review(ctx context.Context, id string) (*ra.Review, *Handler, error) {
	if a.store == nil {
		return nil, nil, store.ErrUnknown
	}
	w, err := latePending{a.store}.Find(ctx, id, time.Now())
	if err != nil {
		return nil, nil, err
	}
	h, err := a.authorityOf(w)
	if err != nil {
		return nil, nil, err
	}
	r, err := h.server.Authority.Review(w, time.Now())
	return r, h, err
}

var _ store.Pending = latePending{}
