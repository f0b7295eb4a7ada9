// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"sort"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-est/estra/module"
)

// options reads the block of one directive.
type options struct {
	h     httpcaddyfile.Helper
	into  *module.Handler
	seen  map[string]int      // option -> line
	start caddyfile.Dispenser // at the option's name

	certificateAt caddyfile.Dispenser // at `certificate`, where it is written
	secondAt      caddyfile.Dispenser // at `second_certificate`
}

// repeatable are the options that may stand more than once.
var repeatable = map[string]bool{"upstream": true, "provider": true, "bearer": true, "registry": true, "cacerts_extra": true, "cacerts_tls": true}

func (o *options) readers() map[string]func() error {
	return map[string]func() error{
		"policy":        o.policy,
		"anchors":       o.anchors,
		"basic":         o.basic,
		"digest":        o.digest,
		"provider":      o.provider,
		"upstream":      o.upstream,
		"store":         o.store,
		"retention":     o.retention,
		"audit":         o.audit,
		"registry":      o.registry,
		"cacerts_extra": o.cacertsExtra,
		"client_certs":  o.clientCerts,
		"webhook":       o.webhook,
		"notify":        o.notify,
		"bearer":        o.bearer,
		"any_host":      o.anyHost,
		"certificate":   o.certificate,
		"decrypt_keys":  o.decryptKeys,
		"quirks":        o.quirks,
		"limits":        o.limits,

		"cacerts_tls":        o.cacertsTLS,
		"second_certificate": o.secondCertificate,
	}
}

func (o *options) read() error {
	name := o.h.Val()
	read, ok := o.readers()[name]
	if !ok {
		return o.unknown("est", name, keys(o.readers()))
	}
	if !repeatable[name] {
		if err := o.once(o.seen); err != nil {
			return err
		}
	}
	o.start = *o.h.Dispenser
	return read()
}

// once refuses an option that a block has had before.
func (o *options) once(seen map[string]int) error {
	name := o.h.Val()
	if line, twice := seen[name]; twice {
		return o.h.Errf("%s stands twice: it is already on line %d", name, line)
	}
	seen[name] = o.h.Line()
	return nil
}

func (o *options) unknown(where, name string, known []string) error {
	return o.h.Errf("%s has no option %q; there is: %s", where, name, strings.Join(known, ", "))
}

func keys[V any](m map[string]V) []string {
	all := make([]string, 0, len(m))
	for k := range m {
		all = append(all, k)
	}
	sort.Strings(all)
	return all
}

// one reads exactly one argument. The usage is the option as it is written.
func (o *options) one(usage string, into *string) error {
	name := o.h.Val()
	if !o.h.AllArgs(into) {
		return o.h.Errf("%s takes exactly one value: `%s`", name, usage)
	}
	return nil
}

func (o *options) policy() error {
	args := o.h.RemainingArgs()
	switch {
	case len(args) == 1:
		o.into.Policy = args[0]
	case len(args) == 3 && args[1] == "shadow":
		o.into.Policy, o.into.Shadow = args[0], args[2]
	case len(args) == 2 && args[1] == "shadow":
		return o.h.Errf("policy shadow takes exactly one value: `policy FILE shadow FILE`")
	default:
		return o.h.Errf("policy takes exactly one value: `policy FILE`, or `policy FILE shadow FILE`")
	}
	return nil
}

func (o *options) anchors() error {
	if o.h.NextArg() {
		return o.h.Errf("anchors takes a block: `anchors { NAME FILE… }`")
	}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		a := module.AnchorConfig{Name: o.h.Val()}
		for _, known := range o.into.Anchors {
			if known.Name == a.Name {
				return o.h.Errf("the anchor %s is written twice", a.Name)
			}
		}
		args := o.h.RemainingArgs()
		switch {
		case len(args) == 2 && args[0] == "upstream":
			a.Upstream = args[1]
		case len(args) == 0:
			return o.h.Errf("the anchor %s has no certificates: write `%s FILE…` or `%s upstream UPSTREAM`", a.Name, a.Name, a.Name)
		default:
			a.Files = args
		}
		if err := o.anchorBlock(&a); err != nil {
			return err
		}
		o.into.Anchors = append(o.into.Anchors, a)
	}
	return nil
}

func (o *options) anchorBlock(a *module.AnchorConfig) error {
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		if err := o.once(seen); err != nil {
			return err
		}
		switch name := o.h.Val(); name {
		case "crl":
			if a.CRL = o.h.RemainingArgs(); len(a.CRL) == 0 {
				return o.h.Errf("crl needs at least one value: `crl FILE|URL…`")
			}
		case "ocsp":
			if err := o.one("ocsp URL", &a.OCSP); err != nil {
				return err
			}
		case "revocation":
			if err := o.one("revocation require|prefer|off", &a.Revocation); err != nil {
				return err
			}
		case "any_eku", "ra_issuer":
			if o.h.NextArg() {
				return o.h.Errf("%s takes no value", name)
			}
			a.AnyEKU, a.RAIssuer = a.AnyEKU || name == "any_eku", a.RAIssuer || name == "ra_issuer"
		default:
			return o.unknown("an anchor", name, []string{"any_eku", "crl", "ocsp", "ra_issuer", "revocation"})
		}
	}
	return nil
}

func (o *options) basic() error {
	if o.h.NextArg() {
		return o.h.Errf("basic takes a block: `basic { USER HASH }`")
	}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		user := o.h.Val()
		args := o.h.RemainingArgs()
		if len(args) != 1 {
			return o.h.Errf("basic: the user %s needs one hash, as `caddy hash-password` prints it", user)
		}
		o.into.Basic = append(o.into.Basic, module.Account{Username: user, Hash: args[0]})
	}
	if len(o.into.Basic) == 0 {
		return o.start.Errf("basic has no user: write `basic { USER HASH }`")
	}
	return nil
}

func (o *options) digest() error {
	o.into.Digest = &module.DigestConfig{}
	if err := o.one("digest FILE", &o.into.Digest.File); err != nil {
		return err
	}
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		if err := o.once(seen); err != nil {
			return err
		}
		if name := o.h.Val(); name != "md5" {
			return o.unknown("digest", name, []string{"md5"})
		}
		if o.h.NextArg() {
			return o.h.Errf("md5 takes no value")
		}
		o.into.Digest.MD5 = true
	}
	return nil
}

func (o *options) store() error {
	args := o.h.RemainingArgs()
	switch {
	case len(args) == 2 && args[0] == "sqlite":
		o.into.Store = &module.StoreConfig{Engine: args[0], File: args[1]}
	case len(args) == 2 && args[0] == "postgres":
		o.into.Store = &module.StoreConfig{Engine: args[0], DSN: args[1]}
	default:
		return o.h.Errf("store takes an engine and where it keeps things: `store sqlite FILE`, or `store postgres {env.NAME}` with a connection string")
	}
	if err := o.into.Store.Check(); err != nil {
		return o.h.Errf("store: %w", err)
	}
	return nil
}

func (o *options) registry() error {
	var name string
	if err := o.one("registry NAME", &name); err != nil {
		return err
	}
	for _, known := range o.into.Registries {
		if known.Name == name {
			return o.h.Errf("the registry %s is written twice", name)
		}
	}
	if strings.Contains(name, "/") {
		return o.h.Errf("the registry %q can't have a slash in its name", name)
	}
	if o.h.NextBlock(o.h.Nesting()) {
		return o.h.Errf("registry has no options: its devices are in the store, where `caddy est device import` puts them")
	}
	o.into.Registries = append(o.into.Registries, module.Registry{Name: name})
	return nil
}

func (o *options) cacertsExtra() error {
	files := o.h.RemainingArgs()
	if len(files) == 0 {
		return o.h.Errf("cacerts_extra needs at least one file")
	}
	o.into.CACertsExtra = append(o.into.CACertsExtra, files...)
	return nil
}

func (o *options) clientCerts() error {
	if err := o.one("client_certs off", &o.into.ClientCerts); err != nil {
		return err
	}
	if o.into.ClientCerts != "off" {
		return o.h.Errf("client_certs %q: the only value is `off`", o.into.ClientCerts)
	}
	return nil
}

func (o *options) anyHost() error {
	if o.h.NextArg() {
		return o.h.Errf("any_host takes no value")
	}
	o.into.AnyHost = true
	return nil
}

func (o *options) quirks() error {
	if o.h.NextArg() {
		return o.h.Errf("quirks takes a block: `quirks { wrapped USER_AGENT… }`")
	}
	q := &o.into.Quirks
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		name := o.h.Val()
		args := o.h.RemainingArgs()
		switch {
		case name == "wrapped" && len(args) > 0:
			q.Wrapped = append(q.Wrapped, args...)
		case name == "unwrapped" && len(args) > 0:
			q.Unwrapped = append(q.Unwrapped, args...)
		case name == "transfer_encoding_header" && len(args) == 1 && args[0] == "off":
			q.NoTransferEncoding = true
		case name == "cacerts_smime_type" && len(args) == 1 && args[0] == "on":
			q.CACertsSMIMEType = true
		default:
			return o.h.Errf("quirks: %q isn't one of `wrapped USER_AGENT…`, `unwrapped USER_AGENT…`, `transfer_encoding_header off`, `cacerts_smime_type on`",
				strings.TrimSpace(name+" "+strings.Join(args, " ")))
		}
	}
	return nil
}
