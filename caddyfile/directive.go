// SPDX-License-Identifier: Apache-2.0

// Package caddyfile is the directive `est`: it turns Caddyfile tokens into
// the structs of package module, and decides nothing.
package caddyfile

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddytls"

	"github.com/caddy-est/estra/module"
)

func init() {
	httpcaddyfile.RegisterDirective("est", parse)
	// Before `invoke`, and so before `respond`: beside acme_server, a site's
	// own `respond 404` would swallow EST.
	httpcaddyfile.RegisterDirectiveOrder("est", httpcaddyfile.Before, "invoke")
}

// parse reads the directive:
//
//	est [<matcher>] {
//		policy FILE [shadow FILE]
//		anchors { … }
//		basic { USER HASH }
//		provider NAME [header HEADER]… MODULE { … }
//		upstream [NAME] MODULE [ARGS…] { … }
//		store sqlite FILE | postgres DSN
//		audit require|best_effort { … }
//		registry NAME
//		cacerts_extra FILE…
//		cacerts_tls FILE…
//		second_certificate CERTIFICATE KEY | from UPSTREAM { … }
//		client_certs off
//		any_host
//		certificate from UPSTREAM { … } | off
//		quirks { … }
//		limits { … }
//	}
func parse(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()
	start := *h.Dispenser // what is said of the whole directive is said here
	at := find(h)
	if h.NextArg() {
		return nil, h.Errf("est takes no argument but a matcher: write `est { policy %s }`", h.Val())
	}
	handler := &module.Handler{Source: at.String()}
	opts := options{h: h, into: handler, seen: map[string]int{}}
	for h.NextBlock(0) {
		if err := opts.read(); err != nil {
			return nil, err
		}
	}
	if handler.Policy == "" {
		return nil, start.Errf("est needs a policy: write `policy FILE`; without one nothing may be issued")
	}
	handler.PolicySHA256 = hashOf(handler.Policy)
	if handler.Shadow != "" {
		handler.ShadowSHA256 = hashOf(handler.Shadow)
	}
	if err := opts.ownCertificate(); err != nil {
		return nil, err
	}
	site, err := checkSite(h, at, handler)
	if err != nil {
		return nil, start.WrapErr(err)
	}
	values := h.NewRoute(matcher, handler)
	if handler.ClientCerts != "off" {
		values = append(values, httpcaddyfile.ConfigValue{
			Class: "tls.connection_policy",
			Value: &caddytls.ConnectionPolicy{
				ClientAuthentication: &caddytls.ClientAuthentication{Mode: "request"},
			},
		})
	}
	if handler.Certificate != nil && site.named {
		values = append(values, ownAutomation()...)
	}
	return values, nil
}

// ownAutomation has Caddy take the site's certificate from est, and from
// nobody else.
func ownAutomation() []httpcaddyfile.ConfigValue {
	return []httpcaddyfile.ConfigValue{
		{Class: "tls.cert_issuer", Value: new(module.Issuer)},
		{Class: "tls.cert_manager", Value: new(module.Manager)},
	}
}

// hashOf is module.PolicyHash of a file by the name in the Caddyfile.
func hashOf(name string) string {
	return module.PolicyHash(caddy.NewReplacer().ReplaceKnown(name, ""))
}
