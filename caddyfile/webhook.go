// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra/webhook"
)

var webhookUsage = []string{"certificate", "id", "root", "secret", "timeout"}

func (o *options) webhook() (err error) {
	o.into.Webhook, err = o.service("webhook")
	return err
}

func (o *options) notify() (err error) {
	o.into.Notify, err = o.service("notify")
	return err
}

// service reads a webhook, by the name of its option.
func (o *options) service(name string) (*module.WebhookConfig, error) {
	w := &module.WebhookConfig{}
	if err := o.one(name+" URL { secret S }", &w.URL); err != nil {
		return nil, err
	}
	// A placeholder is looked at when it is known what it stands for.
	if !strings.HasPrefix(w.URL, "{") {
		if err := webhook.Check(w.URL); err != nil {
			return nil, o.h.Errf("%s: %v", name, err)
		}
	}
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		if err := o.once(seen); err != nil {
			return nil, err
		}
		if err := o.webhookOption(name, w); err != nil {
			return nil, err
		}
	}
	if w.Secret == "" {
		return nil, o.start.Errf("%s: the secret is missing: `%s URL { secret S }`", name, name)
	}
	return w, nil
}

func (o *options) webhookOption(of string, w *module.WebhookConfig) error {
	switch name := o.h.Val(); name {
	case "secret":
		return o.one("secret S", &w.Secret)
	case "id":
		return o.one("id ID", &w.ID)
	case "timeout":
		var text string
		if err := o.one("timeout DURATION", &text); err != nil {
			return err
		}
		d, err := caddy.ParseDuration(text)
		if err != nil || d <= 0 || d > time.Minute {
			return o.h.Errf("%s: timeout %q is not a time up to 1m, such as 10s", of, text)
		}
		w.Timeout = caddy.Duration(d)
	case "root":
		if w.Roots = o.h.RemainingArgs(); len(w.Roots) == 0 {
			return o.h.Errf("root needs at least one file: `root FILE…`")
		}
	case "certificate":
		if !o.h.AllArgs(&w.Certificate, &w.Key) {
			return o.h.Errf("certificate takes exactly two values: `certificate FILE KEY`")
		}
	default:
		return o.unknown(of, name, webhookUsage)
	}
	return nil
}
