// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
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
func checkSite(h httpcaddyfile.Helper, source string) error {
	site, direct, ok := siteOf(h)
	if !ok {
		return nil
	}
	var own *caddyfile.Token // the site's `tls`
	for _, segment := range site.Segments {
		if segment.Directive() == "tls" {
			own = &segment[0]
			if err := checkClientAuth(h, segment, source); err != nil {
				return err
			}
		}
	}
	if own == nil || !direct {
		return nil // inside another directive the policy is made in Provision
	}
	for _, option := range []string{"default_sni", "fallback_sni"} {
		name, _ := h.Option(option).(string)
		if name != "" && slices.ContainsFunc(site.Keys, func(key caddyfile.Token) bool { return hostOf(key.Text) == name }) {
			return h.Errf("with the global %s %s, the `tls` on line %d and the `est` at %s make two TLS policies for one name, and Caddy takes the first, which asks for no client certificate: leave out the `tls`, or write `client_certs off` in est",
				option, name, own.Line, source)
		}
	}
	return nil
}

// checkClientAuth refuses a client_auth that shuts out devices without a
// certificate.
func checkClientAuth(h httpcaddyfile.Helper, segment caddyfile.Segment, source string) error {
	d := caddyfile.NewDispenser(segment)
	d.Next()
	d.RemainingArgs()
	for d.NextBlock(0) {
		if d.Val() != "client_auth" {
			for nesting := d.Nesting(); d.NextBlock(nesting); {
			}
			continue
		}
		line, plain := d.Line(), true
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			mode := d.Val() == "mode" && d.NextArg() && d.Val() == "request"
			plain = plain && mode
		}
		if !plain {
			return h.Errf("the site's client_auth on line %d and the `est` at %s both say how client certificates are asked for. est asks with mode `request` and verifies every chain against its own anchors: leave out the client_auth (its trust pool belongs into `anchors`), or write `client_certs off` in est",
				line, source)
		}
	}
	return nil
}

// siteOf finds the site block of the directive that h stands at, and whether
// it stands directly in it.
func siteOf(h httpcaddyfile.Helper) (site caddyfile.ServerBlock, direct, ok bool) {
	for _, name := range h.Caddyfiles() {
		src, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		blocks, err := caddyfile.Parse(name, src)
		if err != nil {
			continue
		}
		for _, block := range blocks {
			for _, segment := range block.Segments {
				if slices.ContainsFunc(segment, func(t caddyfile.Token) bool {
					return t.Text == "est" && t.File == h.File() && t.Line <= h.Line() && within(segment, h)
				}) {
					return block, segment.Directive() == "est", true
				}
			}
		}
	}
	return caddyfile.ServerBlock{}, false, false
}

// within says whether h stands inside the segment.
func within(segment caddyfile.Segment, h httpcaddyfile.Helper) bool {
	last := segment[len(segment)-1]
	return segment[0].Line <= h.Line() && h.Line() <= last.Line
}

// hostOf cuts scheme, port and path off a site address.
func hostOf(address string) string {
	parsed, err := httpcaddyfile.ParseAddress(address)
	if err != nil {
		return ""
	}
	return parsed.Host
}
