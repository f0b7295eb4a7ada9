// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-est/estra/module"
)

func init() {
	httpcaddyfile.RegisterDirective("est_revocation", parseRevocation)
	// Before `redir`: a site that sends everything to https must not send away who
	// can't use https yet.
	httpcaddyfile.RegisterDirectiveOrder("est_revocation", httpcaddyfile.Before, "redir")
}

// parseRevocation reads the directive:
//
//	est_revocation [<matcher>]
func parseRevocation(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()
	at := find(h)
	if h.NextArg() {
		return nil, h.Errf("est_revocation takes no argument but a matcher; %q is too much", h.Val())
	}
	if h.NextBlock(0) {
		return nil, h.Errf("est_revocation has no options; %q is too much: what is published is said in the upstream internal", h.Val())
	}
	return h.NewRoute(matcher, &module.RevocationSite{Source: at.String()}), nil
}
