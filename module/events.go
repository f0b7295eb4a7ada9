// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"fmt"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"
)

// An event is one of est_*, for Caddy's events app.
type event struct {
	name string
	data map[string]any
}

// mostHeld bounds the events that wait for Caddy's start: strangers can cause
// est_refused.
const mostHeld = 1 << 16

// A startGate holds events back until every app of the configuration has
// started. Caddy starts apps in no order: before its events app none of an
// event's handlers is known, and their table is being written.
type startGate struct {
	mu      sync.Mutex
	open    bool
	waiting []event
	lost    int // beyond mostHeld
}

// hold keeps an event for later; it is false where there is nothing to wait for.
func (g *startGate) hold(e event) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.open:
		return false
	case len(g.waiting) < mostHeld:
		g.waiting = append(g.waiting, e)
	default:
		g.lost++
	}
	return true
}

// release lets the events go in their order, and opens the gate behind the last.
func (g *startGate) release(emit func(event)) (lost int) {
	for {
		g.mu.Lock()
		batch := g.waiting
		g.waiting, g.open = nil, len(batch) == 0
		lost = g.lost
		g.mu.Unlock()
		if len(batch) == 0 {
			return lost
		}
		for _, e := range batch {
			emit(e)
		}
	}
}

// A startHandler is told by Caddy's event `started` that all apps run.
type startHandler struct{ app *App }

// Handle implements caddyevents.Handler. What handles our events may be slow,
// and may use the admin API, which waits for the load to end.
func (s startHandler) Handle(context.Context, caddy.Event) error {
	s.app.done.Go(func() {
		if lost := s.app.gate.release(s.app.pass); lost > 0 {
			s.app.log.Error("too many events came while the configuration started; the last were not emitted", zap.Int("events", lost))
		}
	})
	return nil
}

// loadEvents finds the events app.
func (a *App) loadEvents(ctx caddy.Context) error {
	app, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting events app: %w", err)
	}
	a.events = app.(*caddyevents.App)
	return a.events.On("started", startHandler{a})
}

// emit gives an event to those who handle it: at once, or when Caddy's start
// is over.
func (a *App) emit(name string, data map[string]any) {
	e := event{name, data}
	if a.events != nil && !a.gate.hold(e) {
		a.pass(e)
	}
}

func (a *App) pass(e event) {
	if a.events.ShouldEmit(e.name) {
		a.events.Emit(a.ctx, e.name, e.data)
	}
}

var _ caddyevents.Handler = startHandler{}
