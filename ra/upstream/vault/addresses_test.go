// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/addresstest"
	"github.com/caddy-est/estra/ra/upstream/vault"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

func TestAVaultAtSeveralAddresses(t *testing.T) {
	s := vaulttest.Start(t)
	addresstest.Run(t, s.Fronted(), func(t testing.TB, all []string, timeout time.Duration) ra.Upstream {
		return open(t, s, vault.Verbatim, func(c *vault.Config) { c.URL, c.Others, c.Timeout = all[0], all[1:], timeout })
	})
}
