// SPDX-License-Identifier: Apache-2.0

package module

import (
	"net/http"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/est"
)

// srpListeners are the servers with est_srp of one configuration.
//
// Who is let in by a password on TLS has passed no client_auth of Caddy's, which
// is there for the handshakes of crypto/tls alone. So such a connection is for EST
// and for nothing else, whatever site of the server it asks for.
type srpListeners struct {
	mu     sync.Mutex
	guards map[*caddyhttp.Server]*srpGuard
}

// of is the guard of a server, made where there is none: sites and listeners come
// in any order.
func (s *srpListeners) of(srv *caddyhttp.Server) *srpGuard {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guards == nil {
		s.guards = make(map[*caddyhttp.Server]*srpGuard)
	}
	if s.guards[srv] == nil {
		s.guards[srv] = &srpGuard{}
	}
	return s.guards[srv]
}

// guard puts the guard before all routes of a server, those for errors too.
func (s *srpListeners) guard(srv *caddyhttp.Server) {
	first := caddyhttp.Route{Handlers: []caddyhttp.MiddlewareHandler{s.of(srv)}}
	srv.Routes = slices.Insert(srv.Routes, 0, first)
	if srv.Errors != nil {
		srv.Errors.Routes = slices.Insert(srv.Errors.Routes, 0, first)
	}
}

// A srpGuard lets connections with SRP to the EST sites of its server.
type srpGuard struct {
	mu   sync.RWMutex
	any  bool // a site's hosts aren't known
	open []*caddyhttp.MatchHost
}

// ServeHTTP refuses on such a connection what isn't EST's.
func (g *srpGuard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if certless.SessionOf(r.Context()) == nil || est.Owns(r.URL.EscapedPath()) && g.knows(r) {
		return next.ServeHTTP(w, r)
	}
	http.Error(w, "this connection is for EST alone", http.StatusForbidden)
	return nil
}

// knows says whether a site with the directive est has the host.
func (g *srpGuard) knows(r *http.Request) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.any || slices.ContainsFunc(g.open, func(m *caddyhttp.MatchHost) bool {
		ok, err := m.MatchWithError(r)
		return ok && err == nil
	})
}

// answerSRP makes the site one that connections with SRP may ask for.
func (h *Handler) answerSRP() error {
	srv, ok := h.ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil // not within an HTTP server
	}
	hosts := caddyhttp.MatchHost(h.hosts(srv))
	g := h.app.srp.of(srv)
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(hosts) == 0 {
		g.any = true
		return nil
	}
	if err := hosts.Provision(h.ctx); err != nil {
		return err
	}
	g.open = append(g.open, &hosts)
	return nil
}

var _ caddyhttp.MiddlewareHandler = (*srpGuard)(nil)
