// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-est/estra/module"
)

// siteFacts are what the directive learns of its site.
type siteFacts struct {
	// named says that the site has a host, so that its automation policy is no
	// other site's. It is false where that isn't known.
	named bool
}

// checkSite finds what in the site clashes with the directive, where Caddy's own
// message would name no line, or there would be none. Caddy shows a directive
// nothing of its site, so the file is read once more; where that can't be done
// (a Caddyfile from standard input), Provision and Caddy's own message remain.
func checkSite(h httpcaddyfile.Helper, at place, handler *module.Handler) (siteFacts, error) {
	asks := handler.ClientCerts != "off"
	// A site without a host is refused where certificates are asked for.
	facts := siteFacts{named: asks}
	site, direct, ok := siteOf(h, at)
	if !ok {
		return facts, nil
	}
	facts.named = facts.named || !slices.ContainsFunc(site.Keys, func(key caddyfile.Token) bool { return hostOf(key.Text) == "" })
	own := "" // where the site's `tls` stands
	for _, segment := range site.Segments {
		if segment.Directive() != "tls" {
			continue
		}
		own = show(h, segment[0])
		if asks {
			if err := checkClientAuth(h, segment, at); err != nil {
				return facts, err
			}
		}
		if what := certificateIn(segment); what != "" && handler.Certificate != nil {
			return facts, fmt.Errorf("the `tls` at %s says by `%s` where the site's certificate comes from, and the `est` at %s takes it from the upstream %s: leave that out, or write `certificate off` in est",
				own, what, at, handler.Certificate.From)
		}
	}
	if own == "" || !direct || !asks {
		return facts, nil // inside another directive the policy is made in Provision
	}
	for _, option := range []string{"default_sni", "fallback_sni"} {
		name, _ := h.Option(option).(string)
		if name != "" && slices.ContainsFunc(site.Keys, func(key caddyfile.Token) bool { return hostOf(key.Text) == name }) {
			return facts, fmt.Errorf("with the global %s %s, the `tls` at %s and the `est` at %s make two TLS policies for one name, and Caddy takes the first, which asks for no client certificate: leave out the `tls`, or write `client_certs off` in est",
				option, name, own, at)
		}
	}
	return facts, nil
}

// besideCertificate are the options of `tls` that say nothing of the site's
// certificate.
var besideCertificate = []string{"protocols", "ciphers", "curves", "alpn", "client_auth", "insecure_secrets_log"}

// certificateIn is what in a `tls` is about the site's certificate; empty for
// nothing.
func certificateIn(segment caddyfile.Segment) string {
	d := caddyfile.NewDispenser(segment)
	d.Next()
	if args := d.RemainingArgs(); len(args) > 0 {
		return "tls " + strings.Join(args, " ")
	}
	for d.NextBlock(0) {
		if !slices.Contains(besideCertificate, d.Val()) {
			return d.Val()
		}
		for d.NextArg() {
		}
		for nesting := d.Nesting(); d.NextBlock(nesting); {
		}
	}
	return ""
}

// checkClientAuth refuses a client_auth that shuts out devices without a
// certificate.
func checkClientAuth(h httpcaddyfile.Helper, segment caddyfile.Segment, at place) error {
	d := caddyfile.NewDispenser(segment)
	d.Next()
	d.RemainingArgs()
	for d.NextBlock(0) {
		if d.Val() != "client_auth" {
			for nesting := d.Nesting(); d.NextBlock(nesting); {
			}
			continue
		}
		own, plain := show(h, d.Token()), true
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			mode := d.Val() == "mode" && d.NextArg() && d.Val() == "request"
			plain = plain && mode
		}
		if !plain {
			return fmt.Errorf("the site's client_auth at %s and the `est` at %s both say how client certificates are asked for. est asks with mode `request` and verifies every chain against its own anchors: leave out the client_auth (its trust pool belongs into `anchors`), or write `client_certs off` in est",
				own, at)
		}
	}
	return nil
}

// siteOf finds the site block of the directive at a place, and whether it
// stands directly in it. It counts as find did.
func siteOf(h httpcaddyfile.Helper, at place) (site caddyfile.ServerBlock, direct, ok bool) {
	name, _ := h.Option("filename").(string)
	if at.named || name == "" {
		return caddyfile.ServerBlock{}, false, false
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return caddyfile.ServerBlock{}, false, false
	}
	blocks, err := caddyfile.Parse(name, src)
	if err != nil {
		return caddyfile.ServerBlock{}, false, false
	}
	nth := 0
	for _, block := range blocks {
		if block.IsNamedRoute {
			continue // evaluated before the sites, and not counted with them
		}
		for _, segment := range block.Segments {
			for i, t := range segment {
				if t.Text == at.token.Text && t.File == at.token.File && t.Line == at.token.Line {
					if nth++; nth == at.nth {
						return block, i == 0, true
					}
				}
			}
		}
	}
	return caddyfile.ServerBlock{}, false, false
}

// hostOf cuts scheme, port and path off a site address.
func hostOf(address string) string {
	parsed, err := httpcaddyfile.ParseAddress(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}
