// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"

	"github.com/caddy-est/estra/module"
)

// audit reads `audit require|best_effort|off { … }`.
func (o *options) audit() error {
	c := &module.AuditConfig{}
	if err := o.one("audit require|best_effort|off", &c.Mode); err != nil {
		return err
	}
	if err := c.Check(); err != nil {
		return o.h.WrapErr(err)
	}
	readers := o.auditReaders(c)
	seen := map[string]int{}
	for nesting := o.h.Nesting(); o.h.NextBlock(nesting); {
		read, ok := readers[o.h.Val()]
		if !ok {
			return o.unknown("audit", o.h.Val(), keys(readers))
		}
		if err := o.once(seen); err != nil {
			return err
		}
		if err := read(); err != nil {
			return err
		}
	}
	if err := c.Check(); err != nil {
		return o.h.WrapErr(err)
	}
	o.into.Audit = c
	return nil
}

func (o *options) auditReaders(c *module.AuditConfig) map[string]func() error {
	return map[string]func() error{
		"folder":         func() error { return o.one("folder FOLDER", &c.Folder) },
		"checkpoint_key": func() error { return o.one("checkpoint_key FILE", &c.CheckpointKey) },
		"checkpoint":     func() error { return o.checkpoint(c) },
		"file_size":      func() error { return o.auditFileSize(c) },
		"keep":           func() error { return o.auditKeep(c) },
	}
}

func (o *options) checkpoint(c *module.AuditConfig) error {
	args := o.h.RemainingArgs()
	if len(args) != 2 {
		return o.h.Errf("audit: checkpoint takes a number of records and a time: `checkpoint 1000 1m`")
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return o.h.Errf("audit: checkpoint %q is not a positive number of records", args[0])
	}
	after, err := caddy.ParseDuration(args[1])
	if err != nil || after < time.Second || after > 24*time.Hour {
		return o.h.Errf("audit: checkpoint %q is not a duration from 1s to 24h, such as 1m", args[1])
	}
	c.CheckpointRecords, c.CheckpointInterval = n, caddy.Duration(after)
	return nil
}

func (o *options) auditFileSize(c *module.AuditConfig) error {
	var text string
	if err := o.one("file_size SIZE", &text); err != nil {
		return err
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size < 1<<20 || size > 64<<30 {
		return o.h.Errf("audit: file_size %q is not a size from 1MiB to 64GiB, such as 64MiB", text)
	}
	c.FileSize = int64(size)
	return nil
}

func (o *options) auditKeep(c *module.AuditConfig) error {
	var text string
	if err := o.one("keep DURATION", &text); err != nil {
		return err
	}
	keep, err := caddy.ParseDuration(text)
	if err != nil || keep < 24*time.Hour {
		return o.h.Errf("audit: keep %q is not a duration of 1d or more, such as 400d", text)
	}
	c.Keep = caddy.Duration(keep)
	return nil
}
