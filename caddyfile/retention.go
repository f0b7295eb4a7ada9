// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/module"
)

// retention reads `retention { … }`.
func (o *options) retention() error {
	if o.h.NextArg() {
		return o.h.Errf("retention takes a block: `retention { certificates 400d }`")
	}
	c := &module.RetentionConfig{}
	known := retentionOptions(c)
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		name, text := o.h.Val(), ""
		into, ok := known[name]
		if !ok {
			return o.unknown("retention", name, keys(known))
		}
		if err := o.once(seen); err != nil {
			return err
		}
		if err := o.one(name+" DURATION|forever", &text); err != nil {
			return err
		}
		if text == "forever" {
			*into = -1
			continue
		}
		keep, err := caddy.ParseDuration(text)
		if err != nil || keep < 24*time.Hour {
			return o.h.Errf("retention: %s %q is not a duration of 1d or more, such as 400d, and not forever", name, text)
		}
		*into = caddy.Duration(keep)
	}
	o.into.Retention = c
	return nil
}

func retentionOptions(c *module.RetentionConfig) map[string]*caddy.Duration {
	return map[string]*caddy.Duration{"certificates": &c.Certificates, "passwords": &c.Passwords}
}
