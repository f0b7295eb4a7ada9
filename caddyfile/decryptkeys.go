// SPDX-License-Identifier: Apache-2.0

package caddyfile

import "github.com/caddy-est/estra/module"

var decryptKeysUsage = []string{"file", "registry_key"}

func (o *options) decryptKeys() error {
	d := &module.DecryptKeysConfig{}
	o.into.DecryptKeys = d
	if len(o.h.RemainingArgs()) > 0 {
		return o.h.Errf("decrypt_keys takes a block: `decrypt_keys { registry_key KEY }`")
	}
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		if err := o.once(seen); err != nil {
			return err
		}
		if err := o.decryptKeysOption(d); err != nil {
			return err
		}
	}
	if *d == (module.DecryptKeysConfig{}) {
		return o.start.Errf("decrypt_keys says nothing: `decrypt_keys { registry_key KEY }`, or `file FILE`")
	}
	return nil
}

func (o *options) decryptKeysOption(d *module.DecryptKeysConfig) error {
	switch name := o.h.Val(); name {
	case "registry_key":
		return o.one("registry_key KEY", &d.RegistryKey)
	case "file":
		return o.one("file FILE", &d.File)
	default:
		return o.unknown("decrypt_keys", name, decryptKeysUsage)
	}
}
