// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"

	"github.com/caddy-est/estra/policy"
)

// Demand is what the CA says that requests should carry, as far as it is known. Where
// it was never asked, it is: who comes right after the start is told the same.
func (c *CA) Demand(ctx context.Context) policy.Demand {
	c.mu.Lock()
	demand, asked := c.demand, !c.tried.IsZero()
	c.mu.Unlock()
	if _, ok := c.Upstream.(Demander); !ok || asked {
		return demand
	}
	ctx, cancel := context.WithTimeout(ctx, demandTimeout)
	defer cancel()
	_ = c.Refresh(ctx) // without it the policy says what there is to say
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.demand
}

// askDemand asks a Demander. It never makes the CA one that is down: what was known
// stays, and requests are decided as always.
func (c *CA) askDemand(ctx context.Context) {
	demander, ok := c.Upstream.(Demander)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, demandTimeout)
	defer cancel()
	demand, err := demander.Demand(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.demandErr = err; err == nil {
		c.demand = demand
	}
}

// checkDemand is a row for what a Demander says.
func (c *CA) checkDemand() []Check {
	if _, ok := c.Upstream.(Demander); !ok {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.demandErr != nil {
		return []Check{{"csrattrs", Warning, reasonOf(c.demandErr)}}
	}
	return []Check{{"csrattrs", Good, "it asks requests for " + c.demand.String()}}
}
