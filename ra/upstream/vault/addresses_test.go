// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/addresstest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
	"github.com/caddy-est/estra/ra/upstream/vault"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

func TestAVaultAtSeveralAddresses(t *testing.T) {
	s := vaulttest.Start(t)
	addresstest.Run(t, s.Fronted(), func(t testing.TB, all []string, timeout time.Duration) ra.Upstream {
		return open(t, s, vault.Verbatim, func(c *vault.Config) { c.URL, c.Others, c.Timeout = all[0], all[1:], timeout })
	})
}

// Nodes of a cluster share their tokens. One that doesn't know ours refuses it before
// anything happens, and there is another login.
func TestOneLoginIsForAllAddressesThatShareTokens(t *testing.T) {
	for name, c := range map[string]struct {
		shared bool
		logins int // at both
		calls  int // that were to sign, at the second
	}{
		"a cluster":         {true, 1, 1},
		"two that are none": {false, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			first, _ := fake(t, vault.CEL)
			second := first
			if !c.shared {
				second, _ = fake(t, vault.CEL)
			}
			here := server(first)
			here.Roots = append(here.Roots, second.CA.Root.Certificate)
			var sealed atomic.Bool
			front := upstreamtest.NewFront(t, upstreamtest.ServerCertificate(t, first.CA.Root), upstream.TLS(here.Roots, nil, nil), func() string { return first.URL }, func(a *upstreamtest.Asked) {
				if sealed.Load() && strings.Contains(a.Request.URL.Path, "/sign/") {
					a.Status = http.StatusServiceUnavailable
					a.Answer()
					return
				}
				a.Relay()
			})
			up := open(t, here, vault.CEL, appRole, func(c *vault.Config) { c.URL, c.Others = front.URL, []string{second.URL} })
			if _, err := up.Issue(t.Context(), order(t)); err != nil {
				t.Fatal(err)
			}
			sealed.Store(true)
			for range 3 {
				_, err := up.Issue(t.Context(), order(t))
				fails(t, err, ra.UpstreamDown, "503")
			}
			before := count(second, "/cel/sign/"+vaulttest.Role)
			if _, err := up.Issue(t.Context(), order(t)); err != nil {
				t.Error(err)
			}
			logins := count(first, "/login")
			if !c.shared {
				logins += count(second, "/login")
			}
			if calls := count(second, "/cel/sign/"+vaulttest.Role) - before; logins != c.logins || calls != c.calls {
				t.Errorf("%d logins, want %d; %d calls to sign at the second address, want %d", logins, c.logins, calls, c.calls)
			}
		})
	}
}
