// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-est/estra/ra"
)

// How far apart clocks may be. Beyond mostSkew a certificate can begin before or
// after what was ordered by more than is tolerated.
const (
	someSkew = 5 * time.Second
	mostSkew = time.Minute
)

// see takes note of the clock there: a Date is to the second.
func (a *address) see(header http.Header, now time.Time) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	ahead := date.Sub(now.Truncate(time.Second))
	a.ahead.Store(&ahead)
}

// CheckClock compares the CA's clock, at its last answer, with ours: of several
// addresses the one that is furthest off.
func (c *Client) CheckClock() ra.Check {
	var ahead *time.Duration
	name := c.name
	for _, a := range c.addresses {
		if there := a.ahead.Load(); there != nil && (ahead == nil || there.Abs() > ahead.Abs()) {
			ahead = there
			if len(c.addresses) > 1 {
				name = c.name + " at " + a.base.Host
			}
		}
	}
	if ahead == nil {
		return ra.Check{What: "clock", Result: ra.Skipped, Detail: c.name + " tells no time (HTTP Date)"}
	}
	check := ra.Check{What: "clock", Result: ra.Good, Detail: "as ours, to " + someSkew.String()}
	if off := ahead.Abs(); off > someSkew {
		check.Result = ra.Warning
		if off > mostSkew {
			check.Result = ra.Bad
		}
		where := "ahead of"
		if *ahead < 0 {
			where = "behind"
		}
		check.Detail = fmt.Sprintf("that of %s is %s %s ours", name, off, where)
	}
	return check
}

// Check looks at each address, and at the clock.
func (c *Client) Check(ctx context.Context) []ra.Check {
	return append(c.checkAddresses(ctx), c.CheckClock())
}

// checkAddresses asks each how it is, by Probe. One that doesn't answer is bad where
// none does, and else a warning: the CA is asked at another.
func (c *Client) checkAddresses(ctx context.Context) []ra.Check {
	c.shown.renew(c.addresses)
	var checks []ra.Check
	lost := 0
	for _, a := range c.addresses {
		check, failed := c.checkAddress(ctx, a)
		checks = append(checks, check)
		if failed != nil {
			lost++
		}
	}
	if lost == len(checks) {
		for i := range checks {
			checks[i].Result = ra.Bad
		}
	}
	return checks
}

func (c *Client) checkAddress(ctx context.Context, a *address) (check ra.Check, failed error) {
	check = ra.Check{What: "address " + a.base.Host, Result: ra.Warning}
	rests, begin := a.why(), time.Now()
	if failed = c.acquire(ctx); failed == nil {
		failed = c.probeAt(ctx, a)
		<-c.slots
	}
	if failed != nil {
		check.Detail = ra.Checked("", failed, "").Detail
		return check, failed
	}
	check.Detail = fmt.Sprintf("it answers, in %d ms", time.Since(begin).Milliseconds())
	if rests != nil {
		check.Detail += ", and rests after failures in a row, the last: " + ra.Checked("", rests, "").Detail
		return check, nil
	}
	check.Result = ra.Good
	return check, nil
}
