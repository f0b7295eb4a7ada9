// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/est"
	"github.com/caddy-est/estra/ra/store"
)

// lateOrders is the store's Orders before the store is open.
type lateOrders struct{ late *lateStore }

// Keep implements store.Orders.
func (l lateOrders) Keep(ctx context.Context, a store.Asking, id string, next time.Time) error {
	s, err := l.late.wait(ctx)
	if err != nil {
		return err
	}
	return s.Orders().Keep(ctx, a, id, next)
}

// Due implements store.Orders.
func (l lateOrders) Due(ctx context.Context, now, until, latest time.Time, most int) ([]store.Waiting, error) {
	s, err := l.late.wait(ctx)
	if err != nil {
		return nil, err
	}
	return s.Orders().Due(ctx, now, until, latest, most)
}

// Next implements store.Orders.
func (l lateOrders) Next(ctx context.Context, id string, at time.Time) error {
	s, err := l.late.wait(ctx)
	if err != nil {
		return err
	}
	return s.Orders().Next(ctx, id, at)
}

// Drop implements store.Orders.
func (l lateOrders) Drop(ctx context.Context, id string) error {
	s, err := l.late.wait(ctx)
	if err != nil {
		return err
	}
	return s.Orders().Drop(ctx, id)
}

const (
	// polledAtOnce is how many CAs that decide later are asked at once.
	polledAtOnce = 4
	// mostPollTick is how often it is looked at most for what is due.
	mostPollTick = 15 * time.Second
	// pollClaim is beyond the CA's time-outs how long a node has an order to itself.
	pollClaim = time.Minute
)

// keepPolling asks CAs again that have yet to decide, for all nodes that share the
// store: what one has taken no other one asks for.
func (a *App) keepPolling(ctx context.Context) {
	tick := time.NewTicker(a.pollTick())
	defer tick.Stop()
	for {
		for a.pollSome(ctx) {
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// pollTick is how often it is looked for what is due: four times in the shortest time
// between two questions.
func (a *App) pollTick() time.Duration {
	tick := mostPollTick
	for _, h := range a.handlers {
		every := time.Duration(h.Limits.PendingPoll)
		if every == 0 {
			every = ra.DefaultPollEvery
		}
		tick = min(tick, every/4)
	}
	return tick
}

// pollSome takes a few orders that are due; false: there were no more, or none can be
// had now.
func (a *App) pollSome(ctx context.Context) bool {
	if ctx.Err() != nil {
		return false
	}
	now := time.Now()
	latest := now.Add(ra.MostPollEvery + ra.MostPollEvery/4 + time.Hour)
	due, err := lateOrders{a.store}.Due(ctx, now, now.Add(a.pollClaim()), latest, polledAtOnce)
	if err != nil && ctx.Err() == nil {
		a.log.Warn("what CAs have yet to decide can't be found in the store", zap.Error(err))
	}
	var all sync.WaitGroup
	for _, w := range due {
		all.Go(func() { a.poll(ctx, w) })
	}
	all.Wait()
	return err == nil && len(due) == polledAtOnce
}

func (a *App) pollClaim() time.Duration {
	claim := pollClaim
	for _, known := range a.authorities() {
		claim = max(claim, 2*known.ca.Timeout+pollClaim)
	}
	return claim
}

// poll asks the CA for one order, and tells what it has decided. Where no record can
// be kept it isn't asked.
func (a *App) poll(ctx context.Context, w store.Waiting) {
	log := a.log.With(zap.String("id", w.ID), zap.String("profile", w.Profile))
	h, err := a.authorityOf(w)
	if err != nil {
		log.Warn("a CA isn't asked again for an order", zap.Error(err))
		return
	}
	if keeper, is := h.server.Sink.(audit.Keeper); is && keeper.Ready(ctx) != nil {
		return // the log has said why
	}
	id := ra.NewID(time.Now())
	done, err := h.server.Authority.Poll(ctx, w, id)
	if err != nil {
		log.Warn("a CA isn't asked again for an order: the repeats of the device do it", zap.Error(err))
		return
	}
	if done.Unsettled != nil {
		log.Error("the store could not be told what a CA says of an order", zap.Error(done.Unsettled))
	}
	if done.Record == nil {
		log.Debug("the CA was asked again for an order", zap.Error(asError(done.Err)))
		return
	}
	if err := h.keepJudgement(ctx, done.Record); err != nil {
		log.Error("the audit record of what a CA has decided could not be written", zap.Error(err))
	}
	log.Info("a CA has decided about an order", zap.String("upstream", done.Outcome.Upstream), zap.String("outcome", done.Record.Outcome.String()))
	h.announce(pollReport(id, done))
}

func asError(e *ra.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// pollReport is for events and alarms.
func pollReport(id string, done ra.Polled) est.Report {
	rep := est.Report{
		Op: done.Op, Label: done.Label, Profile: done.Profile, RequestID: id, Kind: "ok", Upstream: done.Outcome.Upstream,
		UpstreamTook: done.Outcome.Took, Outcome: done.Outcome, Err: done.Err,
	}
	if done.Err != nil {
		rep.Kind = done.Err.Kind.String()
	}
	if who := done.Record.Who; who != nil {
		rep.Identity = who.Method.String() + ":" + who.ID.String()
	}
	return rep
}

var _ store.Orders = lateOrders{}
