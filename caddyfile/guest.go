// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"encoding/json"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/module"
)

// The namespaces of what others may bring.
const (
	providers = "http.authentication.providers"
	upstreams = "est.upstreams"
)

func (o *options) provider() error {
	var name, mod string
	incomplete := func() error {
		return o.h.Errf("provider needs a name and a module: `provider NAME [header HEADER]… MODULE { … }`")
	}
	if !o.h.Args(&name, &mod) {
		return incomplete()
	}
	var headers []string
	for mod == "header" {
		var header string
		if !o.h.Args(&header, &mod) {
			return incomplete()
		}
		headers = append(headers, header)
	}
	const ownWay = "`basic { USER HASH }`"
	if mod == "http_basic" {
		return o.h.Errf("http_basic can't be written here: use %s", ownWay)
	}
	if _, err := caddy.GetModule(providers + "." + mod); err != nil {
		known := strings.Join(modules(providers), ", ")
		return o.h.Errf("no authentication module is named %q; there is: %s", mod,
			strings.Replace(known, "http_basic", "http_basic as "+ownWay, 1))
	}
	raw, err := o.guest(providers+"."+mod, "module", mod)
	if err != nil {
		return err
	}
	o.into.Providers = append(o.into.Providers, module.Provider{Name: name, Headers: headers, ProviderRaw: raw})
	return nil
}

func (o *options) upstream() error {
	first := ""
	if !o.h.Args(&first) {
		return o.h.Errf("upstream needs a module: `upstream [NAME] MODULE [ARGUMENT…] { … }`")
	}
	name, mod := first, first
	if _, err := caddy.GetModule(upstreams + "." + first); err != nil {
		if !o.h.NextArg() {
			return o.h.Errf("no upstream module is named %q; there is: %s", first, strings.Join(modules(upstreams), ", "))
		}
		mod = o.h.Val()
		if _, err := caddy.GetModule(upstreams + "." + mod); err != nil {
			return o.h.Errf("no upstream module is named %q or %q; there is: %s", first, mod, strings.Join(modules(upstreams), ", "))
		}
	} else if o.h.NextArg() {
		// `upstream step_ca step_ca https://…` names it twice; any other
		// second word is the module's own argument.
		if o.h.Val() != first {
			o.h.Prev()
		}
	}
	raw, err := o.guest(upstreams+"."+mod, "module", mod)
	if err != nil {
		return err
	}
	o.into.Upstreams = append(o.into.Upstreams, module.NamedUpstream{Name: name, UpstreamRaw: raw})
	return nil
}

// modules are the names in a namespace.
func modules(namespace string) []string {
	var names []string
	for _, m := range caddy.GetModules(namespace) {
		names = append(names, m.ID.Name())
	}
	return names
}

// guest lets a module read its own arguments and block, whoever wrote it.
func (o *options) guest(id, inlineKey, name string) (json.RawMessage, error) {
	mod, err := caddyfile.UnmarshalModule(o.h.Dispenser, id)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(mod, inlineKey, name, nil), nil
}
