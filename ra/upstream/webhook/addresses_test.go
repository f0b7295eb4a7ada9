// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/addresstest"
	"github.com/caddy-est/estra/ra/upstream/webhook/webhooktest"
)

func TestAServiceAtSeveralAddresses(t *testing.T) {
	ca := webhooktest.Go(t)
	addresstest.Run(t, ca.Fronted(), func(t testing.TB, all []string, timeout time.Duration) ra.Upstream {
		cfg := ca.Config()
		cfg.URL, cfg.Others, cfg.Timeout = all[0], all[1:], timeout
		return open(t, cfg)
	})
}
