// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Checker is an Upstream that can look how it stands with its CA beyond what
// every CA is asked: its account, the template or role that issues, the clock.
type Checker interface {
	Check(ctx context.Context) []Check
}

// A Check is one thing that was looked at, for operators.
type Check struct {
	What string `json:"what"` // a word or two: "chain"
	// Result is what came of it. The zero value isn't good.
	Result Result `json:"result"`
	Detail string `json:"detail"`
}

// A Result is how a Check ended.
type Result string

// The results. Bad means that no certificate will be issued, or none that
// conforms.
const (
	Good    Result = "good"
	Warning Result = "warning"
	Bad     Result = "bad"
	Skipped Result = "skipped"
)

// Checked is bad with an error's text, else good with the detail.
func Checked(what string, err error, detail string, args ...any) Check {
	if err != nil {
		return Check{what, Bad, reasonOf(err)}
	}
	return Check{what, Good, fmt.Sprintf(detail, args...)}
}

// reasonOf is the text for operators.
func reasonOf(err error) string {
	if own, ok := errors.AsType[*Error](err); ok {
		return own.Text()
	}
	return err.Error()
}

// soonEnds is how early an end is warned of.
const soonEnds = 30 * 24 * time.Hour

// Ends is a Check of something that ends.
func Ends(what string, end, now time.Time, detail string) Check {
	c := Check{what, Good, fmt.Sprintf("%s, until %s", detail, end.UTC().Format(time.RFC3339))}
	switch left := end.Sub(now); {
	case left < 0:
		c.Result = Bad
	case left < soonEnds:
		c.Result = Warning
	}
	return c
}

// Check asks the CA now, whatever is known of it, and what its Upstream can look
// at beside.
func (c *CA) Check(ctx context.Context) (all []Check) {
	defer func() {
		if v := recover(); v != nil {
			all = append(all, Check{"check", Bad, fmt.Sprintf("panic in the upstream: %v", v)})
		}
	}()
	if err := c.Refresh(ctx); err != nil {
		return append(all, Checked("chain", err, ""))
	}
	now := c.now()
	c.mu.Lock()
	known := c.known
	c.mu.Unlock()
	for _, root := range known.roots {
		all = append(all, Ends("root", root.NotAfter, now, root.Subject.String()))
	}
	for _, issuer := range known.current {
		all = append(all, Ends("issuer", issuer.NotAfter, now, issuer.Subject.String()))
	}
	for _, warning := range known.warnings {
		all = append(all, Check{"chain", Warning, warning})
	}
	if prober, ok := c.Upstream.(Prober); ok {
		all = append(all, Checked("health", prober.Health(ctx), "it answers"))
	}
	all = append(all, c.checkDemand()...)
	if err := c.readiness.refusedOf(now); err != nil {
		all = append(all, Checked("credential", err, ""))
	}
	all = append(all, c.checkCRL(ctx))
	if stops := c.Stops(); len(stops) > 0 {
		all = append(all, Check{"stopped", Bad, "after certificates that were not as decided, for the profiles: " + strings.Join(stops, ", ")})
	}
	if checker, ok := c.Upstream.(Checker); ok {
		all = append(all, checker.Check(ctx)...)
	}
	return all
}

func (c *CA) checkCRL(ctx context.Context) Check {
	if !c.UseCRL {
		return Check{"crl", Warning, "none is asked: a certificate that was revoked at the CA can be renewed"}
	}
	return Checked("crl", c.RefreshCRL(ctx), "until %s", c.revocation.list.NextUpdate().UTC().Format(time.RFC3339))
}
