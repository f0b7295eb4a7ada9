// SPDX-License-Identifier: Apache-2.0

package caddyfile

import "github.com/caddy-est/estra/module"

var bearerUsage = map[string]string{"jwks": "jwks FILE|URL", "audience": "audience A", "issuer": "issuer I"}

func (o *options) bearer() error {
	var b module.BearerConfig
	if err := o.one("bearer NAME { jwks FILE|URL  audience A  issuer I }", &b.Name); err != nil {
		return err
	}
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		if err := o.once(seen); err != nil {
			return err
		}
		if err := o.bearerOption(&b); err != nil {
			return err
		}
	}
	for _, name := range keys(bearerUsage) {
		if _, ok := seen[name]; !ok {
			return o.start.Errf("bearer %s: the %s is missing: `%s`", b.Name, name, bearerUsage[name])
		}
	}
	o.into.Bearers = append(o.into.Bearers, b)
	return nil
}

func (o *options) bearerOption(b *module.BearerConfig) error {
	switch name := o.h.Val(); name {
	case "jwks":
		return o.one(bearerUsage[name], &b.JWKS)
	case "audience":
		return o.one(bearerUsage[name], &b.Audience)
	case "issuer":
		return o.one(bearerUsage[name], &b.Issuer)
	case "root":
		if b.Roots = o.h.RemainingArgs(); len(b.Roots) == 0 {
			return o.h.Errf("root needs at least one file: `root FILE…`")
		}
		return nil
	default:
		return o.unknown("bearer", name, append(keys(bearerUsage), "root"))
	}
}
