// SPDX-License-Identifier: Apache-2.0

package upstream

import (
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

// see takes note of the CA's clock: a Date is to the second.
func (c *Client) see(header http.Header, now time.Time) {
	date, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	ahead := date.Sub(now.Truncate(time.Second))
	c.ahead.Store(&ahead)
}

// CheckClock compares the CA's clock, at its last answer, with ours.
func (c *Client) CheckClock() ra.Check {
	ahead := c.ahead.Load()
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
		check.Detail = fmt.Sprintf("that of %s is %s %s ours", c.name, off, where)
	}
	return check
}
