// SPDX-License-Identifier: Apache-2.0

package module

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"
)

// certificateMode is how Caddy asks for client certificates: it wants one
// and takes any, for the chain is verified here, on every request.
const certificateMode = "request"

var errNoTLS = errors.New("a site without TLS can't enrol anybody (RFC 7030 section 3.3): serve it with https, or write `client_certs off` where a proxy in front ends TLS")

var errNoSite = errors.New("can't find its site: it stands in a named route or in handle_errors. Put it into the site or a handle, or write `client_certs off`")

var errNoHost = errors.New("the site has no host name, so that its TLS policy can't be told from others: give it one, or write `client_certs off`")

// askForCertificates makes sure that the handshake of this site asks for a
// client certificate. The directive writes that into the site's TLS policy;
// inside `handle` Caddy drops it without a word, so it is looked for here,
// before Caddy provisions the server's policies.
func (h *Handler) askForCertificates() error {
	srv, ok := h.ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok {
		return nil // not within an HTTP server
	}
	if h.AnyHost {
		if err := h.openToAnyHost(srv); err != nil {
			return err
		}
	}
	switch h.ClientCerts {
	case "":
	case "off":
		return nil
	default:
		return fmt.Errorf("client_certs %q: the only value is `off`", h.ClientCerts)
	}
	if len(srv.TLSConnPolicies) == 0 {
		return errNoTLS
	}
	if h.Source == "" {
		return nil // written as JSON: the TLS policies are the writer's own
	}
	if len(h.routes(srv)) == 0 {
		return errNoSite
	}
	hosts := h.hosts(srv)
	if len(hosts) == 0 {
		return errNoHost
	}
	for _, host := range hosts {
		if err := h.askFor(srv, host); err != nil {
			return err
		}
		if unnamed(srv, host) {
			h.log.Warn("clients that dial an address send no server name, so that this site's TLS policy isn't theirs: they are asked for no certificate. Write `default_sni` with this address in the global options",
				zap.String("host", host))
		}
	}
	if srv.StrictSNIHost == nil && !h.AnyHost {
		strict := true
		srv.StrictSNIHost = &strict
	}
	return nil
}

// unnamed says that host is an address (RFC 6066 section 3: never a server
// name), and that no default stands in for it.
func unnamed(srv *caddyhttp.Server, host string) bool {
	if _, err := netip.ParseAddr(host); err != nil {
		return false
	}
	return !slices.ContainsFunc(srv.TLSConnPolicies, func(pol *caddytls.ConnectionPolicy) bool { return pol.DefaultSNI != "" })
}

// routes are those of the site that holds this handler.
func (h *Handler) routes(srv *caddyhttp.Server) []caddyhttp.Route { return routesWith(srv, h.Source) }

// hosts are those of the site that holds this handler.
func (h *Handler) hosts(srv *caddyhttp.Server) []string { return hostsOf(h.routes(srv)) }

// askFor makes the policy that a ClientHello for host selects ask for
// certificates.
func (h *Handler) askFor(srv *caddyhttp.Server, host string) error {
	first := -1
	for i, pol := range srv.TLSConnPolicies {
		if !selects(pol, host) {
			continue
		}
		asks := pol.ClientAuthentication != nil && pol.ClientAuthentication.Active()
		if first >= 0 {
			if asks {
				return fmt.Errorf("two TLS policies match %s and Caddy takes the first, which asks for no client certificate: leave out the site's `tls` block, or the global `default_sni`, or write `client_certs off`", host)
			}
			continue
		}
		if asks {
			return h.fits(pol, host)
		}
		first = i
	}
	if first < 0 {
		return fmt.Errorf("no TLS policy matches %s", host)
	}
	h.repair(srv, first, host)
	return nil
}

// fits refuses a client_auth that would shut out devices without a
// certificate, who need /cacerts and enrol with HTTP credentials.
func (h *Handler) fits(pol *caddytls.ConnectionPolicy, host string) error {
	if mode := pol.ClientAuthentication.Mode; mode != certificateMode {
		return fmt.Errorf("the TLS policy of %s has client_auth mode %q, and EST needs %q: a device without a certificate could not even fetch /cacerts (RFC 7030 section 4.1.2). Leave out the site's `client_auth`, or write `client_certs off`",
			host, mode, certificateMode)
	}
	return nil
}

// repair puts a policy for host before the one that would be taken.
func (h *Handler) repair(srv *caddyhttp.Server, i int, host string) {
	made := *srv.TLSConnPolicies[i]
	names, err := json.Marshal(caddytls.MatchServerName{host})
	if err != nil {
		return // a list of strings always marshals
	}
	made.MatchersRaw = caddy.ModuleMap{"sni": names}
	made.ClientAuthentication = &caddytls.ClientAuthentication{Mode: certificateMode}
	srv.TLSConnPolicies = slices.Insert(srv.TLSConnPolicies, i, &made)
	h.log.Info(fmt.Sprintf("added a TLS policy for %s with client_auth mode %s: est stands inside another directive, where Caddy drops its own", host, certificateMode),
		zap.String("host", host), zap.String("source", h.Source))
}

// selects says whether a ClientHello for host meets the policy's matchers.
// A matcher other than sni may or may not be met: it counts as met.
func selects(pol *caddytls.ConnectionPolicy, host string) bool {
	raw, ok := pol.MatchersRaw["sni"]
	if !ok {
		return true
	}
	var names caddytls.MatchServerName
	if err := json.Unmarshal(raw, &names); err != nil {
		return false
	}
	return slices.ContainsFunc(names, func(name string) bool { return certmagic.MatchWildcard(host, name) })
}

// openToAnyHost switches off the check that Host equals SNI. It is one
// switch for the whole server, so no site there may rely on it: none whose
// handshake verifies client certificates. One that merely asks for them, as
// EST sites do, doesn't. Caddy has switched the check on by itself, which
// can't be told from the global option `strict_sni_host on`.
func (h *Handler) openToAnyHost(srv *caddyhttp.Server) error {
	for _, pol := range srv.TLSConnPolicies {
		auth := pol.ClientAuthentication
		if auth == nil || !auth.Active() || auth.Mode == certificateMode && len(auth.VerifiersRaw)+len(auth.TrustedLeafCerts) == 0 { //nolint:staticcheck // deprecated, but Caddy honours it
			continue
		}
		return errors.New("any_host: another site of this listener relies on client certificates, and Caddy's check of Host against SNI is one switch for all: give EST a listener of its own")
	}
	off := false
	srv.StrictSNIHost = &off
	return nil
}
