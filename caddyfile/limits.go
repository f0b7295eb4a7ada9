// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra"
)

var limitUsage = map[string]string{
	"attempts":    "attempts N/UNIT",
	"body":        "body SIZE",
	"concurrency": "concurrency N",

	"retry_window":   "retry_window DURATION",
	"pending_expiry": "pending_expiry DURATION",
	"pending_poll":   "pending_poll DURATION",
}

func (o *options) limits() error {
	if o.h.NextArg() {
		return o.h.Errf("limits takes a block: `limits { body SIZE }`")
	}
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		name, value := o.h.Val(), ""
		usage, ok := limitUsage[name]
		if !ok {
			return o.unknown("limits", name, keys(limitUsage))
		}
		if err := o.once(seen); err != nil {
			return err
		}
		if err := o.one(usage, &value); err != nil {
			return err
		}
		if err := o.limit(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) limit(name, value string) error {
	l := &o.into.Limits
	switch name {
	case "body":
		size, err := humanize.ParseBytes(value)
		if err != nil || size < 1024 || size > 1<<30 {
			return o.h.Errf("limits: body %q is not a size from 1KiB to 1GiB, such as 64KiB", value)
		}
		l.Body = int64(size)
	case "concurrency":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return o.h.Errf("limits: concurrency %q is not a positive number", value)
		}
		l.Concurrency = n
	case "retry_window":
		window, err := caddy.ParseDuration(value)
		if err != nil || window < time.Minute || window > 30*24*time.Hour {
			return o.h.Errf("limits: retry_window %q is not a duration from 1m to 30d, such as 24h", value)
		}
		l.RetryWindow = caddy.Duration(window)
	case "pending_expiry":
		wait, err := caddy.ParseDuration(value)
		if err != nil || wait < time.Minute || wait > 366*24*time.Hour {
			return o.h.Errf("limits: pending_expiry %q is not a duration from 1m to 366d, such as 7d", value)
		}
		l.PendingExpiry = caddy.Duration(wait)
	case "pending_poll":
		every, err := caddy.ParseDuration(value)
		if err != nil || every < time.Second || every > ra.MostPollEvery {
			return o.h.Errf("limits: pending_poll %q is not a duration from 1s to 1d, such as 1m", value)
		}
		l.PendingPoll = caddy.Duration(every)
	case "attempts":
		n, per, err := module.ParseRate(value)
		if err != nil {
			return o.h.Errf("limits: attempts %q is not a rate such as 10/m (per s, m or h)", value)
		}
		l.Attempts, l.AttemptsPer = n, caddy.Duration(per)
	}
	return nil
}
