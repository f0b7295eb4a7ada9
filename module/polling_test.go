// SPDX-License-Identifier: Apache-2.0

package module

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestWhatIsDueIsLookedForAsOftenAsASiteWants(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		polls []time.Duration
		want  time.Duration
	}{
		"no site":         {nil, 15 * time.Second},
		"by default":      {[]time.Duration{0, 0}, 15 * time.Second},
		"seldom":          {[]time.Duration{time.Hour}, 15 * time.Second},
		"one site, often": {[]time.Duration{0, 2 * time.Second}, 500 * time.Millisecond},
		"at the most":     {[]time.Duration{time.Second}, 250 * time.Millisecond},
	} {
		var a App
		for _, every := range c.polls {
			a.handlers = append(a.handlers, &Handler{Limits: Limits{PendingPoll: caddy.Duration(every)}})
		}
		if got := a.pollTick(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
