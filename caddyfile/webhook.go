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

func (o *options) webhook() error {
	w := &module.WebhookConfig{}
	o.into.Webhook = w
	if err := o.one("webhook URL { secret S }", &w.URL); err != nil {
		return err
	}
	// A placeholder is looked at when it is known what it stands for.
	if !strings.HasPrefix(w.URL, "{") {
		if err := webhook.Check(w.URL); err != nil {
			return o.h.Errf("webhook: %v", err)
		}
	}
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		if err := o.once(seen); err != nil {
			return err
		}
		if err := o.webhookOption(w); err != nil {
			return err
		}
	}
	if w.Secret == "" {
		return o.start.Errf("webhook: the secret is missing: `webhook URL { secret S }`")
	}
	return nil
}

func (o *options) webhookOption(w *module.WebhookConfig) error {
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
			return o.h.Errf("webhook: timeout %q is not a time up to 1m, such as 10s", text)
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
		return o.unknown("webhook", name, webhookUsage)
	}
	return nil
}
