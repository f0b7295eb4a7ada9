// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"fmt"
	"os"
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// checkSite finds what in the site clashes with asking for client
// certificates, where Caddy's own message would name neither line. Caddy
// shows a directive nothing of its site, so the file is read once more; where
// that can't be done (a Caddyfile from standard input), Provision and Caddy's
// own message remain.
func checkSite(h httpcaddyfile.Helper, at place) error {
	site, direct, ok := siteOf(h, at)
	if !ok {
		return nil
	}
	own := "" // where the site's `tls` stands
	for _, segment := range site.Segments {
		if segment.Directive() == "tls" {
			own = show(h, segment[0])
			if err := checkClientAuth(h, segment, at); err != nil {
				return err
			}
		}
	}
	if own == "" || !direct {
		return nil // inside another directive the policy is made in Provision
	}
	for _, option := range []string{"default_sni", "fallback_sni"} {
		name, _ := h.Option(option).(string)
		if name != "" && slices.ContainsFunc(site.Keys, func(key caddyfile.Token) bool { return hostOf(key.Text) == name }) {
			return fmt.Errorf("with the global %s %s, the `tls` at %s and the `est` at %s make two TLS policies for one name, and Caddy takes the first, which asks for no client certificate: leave out the `tls`, or write `client_certs off` in est",
				option, name, own, at)
		}
	}
	return nil
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
