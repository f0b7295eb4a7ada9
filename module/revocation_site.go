// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/ra/status"
)

func init() {
	caddy.RegisterModule(&RevocationSite{})
}

// RevocationSite serves the CRLs and OCSP of the CAs in this process: those of the
// upstreams `internal`, of all sites. It passes everything else on. It is for a site
// with plain http, so that who checks TLS needs no TLS for it; the address of such a
// site is then in the certificates.
type RevocationSite struct {
	// Where the directive stands, such as "Caddyfile:12": it finds the site.
	Source string `json:"source,omitempty"`

	app *App
}

// CaddyModule returns the Caddy module information.
func (*RevocationSite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.est_revocation", New: func() caddy.Module { return new(RevocationSite) }}
}

// Provision makes the site known to the app.
func (s *RevocationSite) Provision(ctx caddy.Context) error {
	app, err := ctx.App("est")
	if err != nil {
		return fmt.Errorf("getting est app: %w", err)
	}
	s.app = app.(*App)
	srv, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || s.Source == "" || len(srv.TLSConnPolicies) > 0 {
		return nil // with TLS, or written as JSON: its address is in no certificate
	}
	hosts := hostsOf(routesWith(srv, s.Source))
	plain := slices.IndexFunc(hosts, func(host string) bool { return !strings.ContainsAny(host, "*{") })
	if plain < 0 {
		return nil // nobody knows by what name it is reached
	}
	s.app.addRevocationSite(revocationPlace{host: hosts[plain], listen: srv.Listen})
	return nil
}

// ServeHTTP answers for the CAs, and passes all else on.
func (s *RevocationSite) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	for _, ca := range s.app.published() {
		if ca.Serve(w, r) {
			return nil
		}
	}
	return next.ServeHTTP(w, r)
}

// A revocationPlace is where a site with plain http is.
type revocationPlace struct {
	host   string
	listen []string
}

func (a *App) addRevocationSite(p revocationPlace) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.revocationSites = append(a.revocationSites, p)
}

// settlePublished finds the address that certificates have, where none is written:
// of the sites with est_revocation the first by name.
func (a *App) settlePublished() error {
	if len(a.revocationSites) == 0 {
		return nil
	}
	mod, err := a.ctx.App("http")
	if err != nil {
		return fmt.Errorf("getting http app: %w", err)
	}
	plain := mod.(*caddyhttp.App).HTTPPort
	var found []string
	for _, site := range a.revocationSites {
		for _, listen := range site.listen {
			if at := site.address(listen, plain); at != "" {
				found = append(found, at)
			}
		}
	}
	slices.Sort(found)
	if len(found) > 0 {
		a.publishAt = found[0]
	}
	return nil
}

// address is how clients call a site. Caddy's http_port is what port 80 of the
// outside leads to.
func (p revocationPlace) address(listen string, httpPort int) string {
	at, err := caddy.ParseNetworkAddress(listen)
	if err != nil || at.IsUnixNetwork() {
		return ""
	}
	host := p.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if httpPort == 0 {
		httpPort = caddyhttp.DefaultHTTPPort
	}
	if int(at.StartPort) == httpPort || at.StartPort == caddyhttp.DefaultHTTPPort {
		return "http://" + host
	}
	return "http://" + host + ":" + strconv.Itoa(int(at.StartPort))
}

// publishedAt is the address of a site with est_revocation, once the app has
// started; empty: there is none that is known by name.
func (a *App) publishedAt() string { return a.publishAt }

// published are the CAs of this process.
func (a *App) published() []*status.CA {
	var all []*status.CA
	for _, known := range a.authorities() {
		all = append(all, publishedBy(known.upstream)...)
	}
	return all
}

func publishedBy(u Upstream) []*status.CA {
	if own, ok := u.(*Internal); ok && own.status != nil {
		return []*status.CA{own.status}
	}
	return nil
}

// sayPublished tells where the CRLs are, or that certificates don't say it.
func (a *App) sayPublished() {
	for _, known := range a.authorities() {
		u, ok := known.upstream.(*Internal)
		switch {
		case !ok || u.status == nil:
		case u.base() != "":
			a.log.Info("certificates name a CRL and an OCSP responder", zap.String("upstream", known.ca.Name), zap.String("at", u.base()))
		case u.Publish == "":
			a.log.Info("certificates name no CRL and no OCSP responder: write a site with plain http that has est_revocation, or `publish` in the upstream", zap.String("upstream", known.ca.Name))
		}
	}
}

// routesWith are the routes of a site that hold a handler with this source mark.
// Caddy tells a handler nothing of its site; the route being provisioned still has
// its JSON. No two handlers have the same mark.
func routesWith(srv *caddyhttp.Server, source string) []caddyhttp.Route {
	mark, err := json.Marshal(source)
	if err != nil {
		return nil
	}
	mark = append([]byte(`"source":`), mark...)
	var found []caddyhttp.Route
	for _, route := range srv.Routes {
		if slices.ContainsFunc(route.HandlersRaw, func(raw json.RawMessage) bool { return bytes.Contains(raw, mark) }) {
			found = append(found, route)
		}
	}
	return found
}

// hostsOf are the hosts that routes are for.
func hostsOf(routes []caddyhttp.Route) []string {
	var hosts []string
	for _, route := range routes {
		for _, set := range route.MatcherSets {
			for _, m := range set {
				if match, ok := m.(*caddyhttp.MatchHost); ok {
					hosts = append(hosts, *match...)
				}
			}
		}
	}
	return hosts
}

func trimSlash(address string) string { return strings.TrimSuffix(address, "/") }

var (
	_ caddy.Provisioner           = (*RevocationSite)(nil)
	_ caddyhttp.MiddlewareHandler = (*RevocationSite)(nil)
)
