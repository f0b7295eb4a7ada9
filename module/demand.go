// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
)

func newConflicts() *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: "caddy", Subsystem: "est", Name: "csrattrs_conflicts",
		Help: "What a CA's /csrattrs demands of requests that the profile doesn't take.",
	}, []string{"upstream", "profile"})
}

// A conflict is one of a profile with the CA that issues for it.
type conflict struct {
	policy.Conflict

	profile string
}

// conflicts are those of all profiles that issue from a CA, each once.
func (a *App) conflicts(ctx context.Context, ca *ra.CA) (all []conflict) {
	demand := ca.Demand(ctx)
	a.mu.Lock()
	handlers := a.handlers
	a.mu.Unlock()
	seen := map[conflict]bool{}
	for _, h := range handlers {
		for _, p := range h.policy.Profiles() {
			if p.Upstream() != ca.Name || h.server.Authority.CAs[ca.Name] != ca {
				continue
			}
			_, found := p.HintsWith(policy.SimpleEnroll, demand)
			for _, one := range found {
				c := conflict{one, p.Name()}
				if !seen[c] {
					all = append(all, c)
				}
				seen[c] = true
			}
		}
	}
	return all
}

// observeConflicts counts them, and gives a line for the log for each.
func (a *App) observeConflicts(ctx context.Context, ca *ra.CA) (lines []string) {
	a.demands.DeletePartialMatch(prometheus.Labels{"upstream": ca.Name})
	for _, c := range a.conflicts(ctx, ca) {
		a.demands.WithLabelValues(ca.Name, c.profile).Inc()
		lines = append(lines, "upstream "+ca.Name+": what its /csrattrs says doesn't fit the profile "+c.profile+", which stands: "+c.String())
	}
	return lines
}
