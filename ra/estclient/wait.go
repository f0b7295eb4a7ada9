// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"context"
	"errors"
	"time"
)

// pendingWait is how long to wait where the server doesn't say, against RFC 7030
// section 4.2.3.
const pendingWait = 30 * time.Second

// untilDecided repeats a request while the answer is 202, for as long as Wait
// says: RFC 7030 section 4.2.3 has the client send it again after Retry-After.
// Each is made anew, for a connection of its own, with the same key.
func (c *Client) untilDecided(ctx context.Context, post func() (*Enrolled, error)) (*Enrolled, error) {
	end := c.now().Add(c.Wait)
	for {
		done, err := post()
		waits, ok := errors.AsType[*StatusError](err)
		if !ok || !waits.Pending() || c.Wait <= 0 {
			return done, err
		}
		after := max(waits.RetryAfter, time.Second)
		if waits.RetryAfter == 0 {
			after = pendingWait
		}
		left := end.Sub(c.now())
		if left <= 0 {
			return nil, err
		}
		after = min(after, left)
		if c.Waits != nil {
			c.Waits(waits, after)
		}
		timer := time.NewTimer(after)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.Join(ctx.Err(), err)
		case <-timer.C:
		}
	}
}
