// SPDX-License-Identifier: Apache-2.0

package module

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// upstreamBlock reads the block of an upstream, as its messages call it.
type upstreamBlock struct {
	*caddyfile.Dispenser
	module string
	form   string // of an address
	whose  string // the address is; "the CA" where there is nothing
	title  string // where it isn't module
}

// An option reads what stands behind its name.
type option func(upstreamBlock) error

// options are what may stand in a block, by name.
type options map[string]option

// with adds those of one upstream alone, or takes the place of some.
func (o options) with(more options) options {
	maps.Copy(o, more)
	return o
}

// The options that one value, one duration, one number or nothing follows.
func valueOf(form string, into *string) option {
	return func(b upstreamBlock) error { return b.value(form, into) }
}

func durationOf(example string, into *caddy.Duration) option {
	return func(b upstreamBlock) error { return b.duration(example, into) }
}

func numberOf(example string, into *int) option {
	return func(b upstreamBlock) error { return b.number(example, into) }
}

func flagOf(into *bool) option {
	return func(b upstreamBlock) error { return b.flag(into) }
}

// upstream reads one that has addresses: those, then the block. complete says what
// is missing, which is reported where the upstream begins.
func (b upstreamBlock) upstream(of *addressOptions, all options, complete func() error) error {
	b.Next()
	start := *b.Dispenser
	if err := b.addresses(of); err != nil {
		return err
	}
	if err := b.read(all); err != nil {
		return err
	}
	if err := complete(); err != nil {
		return start.WrapErr(err)
	}
	return nil
}

// addresses reads those of one CA, in the order in which they are asked.
func (b upstreamBlock) addresses(of *addressOptions) error {
	all := b.RemainingArgs()
	if len(all) == 0 {
		return b.Errf("%s needs the address of %s: `upstream %s %s { … }`", b.module, cmp.Or(b.whose, "the CA"), b.module, b.form)
	}
	of.URL = all[0]
	if len(all) > 1 {
		of.OtherURLs = all[1:]
	}
	return nil
}

// read takes the options of a block.
func (b upstreamBlock) read(all options) error {
	return b.each(func(b upstreamBlock) error {
		if read, ok := all[b.Val()]; ok {
			return read(b)
		}
		return b.Errf("%s has no option %q; there is: %s", cmp.Or(b.title, b.module), b.Val(), strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	})
}

// each calls option for each option, of which none may stand twice.
func (b upstreamBlock) each(option func(upstreamBlock) error) error {
	seen := map[string]int{} // option -> line
	for nesting := b.Nesting(); b.NextBlock(nesting); {
		if line, twice := seen[b.Val()]; twice {
			return b.Errf("%s: %s stands twice: it is already on line %d", b.module, b.Val(), line)
		}
		seen[b.Val()] = b.Line()
		if err := option(b); err != nil {
			return err
		}
	}
	return nil
}

// value reads the one value of an option, such as `FILE`.
func (b upstreamBlock) value(form string, into *string) error {
	name := b.Val()
	if !b.AllArgs(into) {
		return b.Errf("%s: %s takes exactly one value: `%s %s`", b.module, name, name, form)
	}
	return nil
}

// duration reads one that is positive.
func (b upstreamBlock) duration(example string, into *caddy.Duration) error {
	name, value := b.Val(), ""
	if !b.AllArgs(&value) {
		return b.Errf("%s: %s takes one duration, such as %s", b.module, name, example)
	}
	d, err := caddy.ParseDuration(value)
	if err != nil || d <= 0 {
		return b.Errf("%s: %s %q is not a duration such as %s", b.module, name, value, example)
	}
	*into = caddy.Duration(d)
	return nil
}

// number reads one that is positive.
func (b upstreamBlock) number(example string, into *int) error {
	name, value := b.Val(), ""
	if !b.AllArgs(&value) {
		return b.Errf("%s: %s takes one number, such as %s", b.module, name, example)
	}
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 {
		return b.Errf("%s: %s %q is not a positive number", b.module, name, value)
	}
	*into = n
	return nil
}

// flag reads an option without a value.
func (b upstreamBlock) flag(into *bool) error {
	name := b.Val()
	if b.NextArg() {
		return b.Errf("%s: %s takes no value", b.module, name)
	}
	*into = true
	return nil
}
