// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/addresstest"
	"github.com/caddy-est/estra/ra/upstream/ejbca/ejbcatest"
)

func TestAnEJBCAAtSeveralAddresses(t *testing.T) {
	s := ejbcatest.Start(t)
	profile := s.Profile(ratest.Order(t, ratest.Case{}))
	addresstest.Run(t, s.Fronted(), func(t testing.TB, all []string, timeout time.Duration) ra.Upstream {
		return open(t, s, profile, func(c *Config) { c.URL, c.Others, c.Timeout = all[0], all[1:], timeout })
	})
}
