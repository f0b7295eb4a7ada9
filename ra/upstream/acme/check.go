// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// A Rehearsal is a Solver that can see whether its answers would be found.
type Rehearsal interface {
	Rehearse(ctx context.Context) error
}

// directory reads the directory anew; the ACME client keeps it for hours.
func (u *Upstream) directory(ctx context.Context) (acme.Directory, error) {
	var d acme.Directory
	answer, err := u.client.Do(ctx, upstream.Call{Method: http.MethodGet, Path: u.path, Limit: maxAnswer})
	if err != nil {
		return d, err
	}
	if !answer.OK() {
		return d, upstream.Retry(ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s answered %d to its directory", name, answer.Status), nil), answer.Header, u.cfg.Now())
	}
	if err := json.Unmarshal(answer.Body, &d); err != nil || d.NewOrder == "" || d.NewAccount == "" || d.NewNonce == "" {
		return d, ra.Fail(ra.UpstreamDown, fmt.Sprintf("what is at %s is no ACME directory", u.cfg.Directory), nil)
	}
	return d, nil
}

// Health asks for the directory.
func (u *Upstream) Health(ctx context.Context) error {
	_, err := u.directory(ctx)
	return err
}

// Check looks at the directory, our account, which is made where there is none,
// the profile, whether the answers to challenges would be found, the chain, the
// address and the clock.
func (u *Upstream) Check(ctx context.Context) []ra.Check {
	ctx, n := noting(ctx, "")
	d, err := u.directory(ctx)
	checks := []ra.Check{ra.Checked("directory", err, "%s", u.cfg.Directory)}
	if err != nil {
		return checks
	}
	checks = append(checks, u.checkAccount(ctx, n, d), u.checkProfile(d))
	if stage, ok := u.cfg.Solver.(Rehearsal); ok {
		check := ra.Checked(u.cfg.Challenge, stage.Rehearse(ctx), "an answer to a challenge is found")
		if check.Result == ra.Bad { // the CA may come another way
			check.Result = ra.Warning
		}
		checks = append(checks, check)
	}
	return append(append(checks, u.checkChain()), u.client.Check(ctx)...)
}

func (u *Upstream) checkAccount(ctx context.Context, n *note, d acme.Directory) ra.Check {
	const what = "account"
	account, err := u.ourAccount(ctx, n)
	if err != nil {
		return ra.Checked(what, err, "")
	}
	seen, err := u.acme.GetAccount(ctx, acme.Account{PrivateKey: account.PrivateKey})
	if lostAccount(err) {
		if account, err = u.register(ctx, n, account.Location); err != nil {
			return ra.Checked(what, err, "")
		}
		seen, err = u.acme.GetAccount(ctx, acme.Account{PrivateKey: account.PrivateKey})
	}
	if err != nil {
		return ra.Checked(what, u.failed(ctx, n, stepAccount, err), "")
	}
	if seen.Status != acme.StatusValid {
		return ra.Check{What: what, Result: ra.Bad, Detail: fmt.Sprintf("%s is %s", account.Location, upstream.Line(seen.Status))}
	}
	bound := ""
	if u.cfg.EAB != nil {
		bound = ", bound to " + u.cfg.EAB.KeyID
	}
	check := ra.Check{What: what, Result: ra.Good, Detail: account.Location + " is valid" + bound}
	if needsEAB(d) && u.cfg.EAB == nil {
		check.Result, check.Detail = ra.Warning, check.Detail+"; the CA wants an external account binding of a new one, and the upstream has no `eab`"
	}
	return check
}

func (u *Upstream) checkProfile(d acme.Directory) ra.Check {
	const what = "profile"
	var has []string
	if d.Meta != nil {
		has = slices.Sorted(maps.Keys(d.Meta.Profiles))
	}
	switch {
	case u.cfg.Profile == "" && len(has) == 0:
		return ra.Check{What: what, Result: ra.Skipped, Detail: "the CA has none"}
	case u.cfg.Profile == "":
		return ra.Check{What: what, Result: ra.Good, Detail: "the CA's default, of " + list(has)}
	case !slices.Contains(has, u.cfg.Profile):
		return ra.Check{What: what, Result: ra.Bad, Detail: fmt.Sprintf("the CA has no %s, but %s", u.cfg.Profile, list(has))}
	}
	return ra.Check{What: what, Result: ra.Good, Detail: upstream.Line(u.cfg.Profile + ": " + d.Meta.Profiles[u.cfg.Profile])}
}

// checkChain: before the CA has issued anything, nobody knows what issues.
func (u *Upstream) checkChain() ra.Check {
	const what = "issuing chain"
	u.mu.Lock()
	learned := len(u.learned)
	u.mu.Unlock()
	if learned == 0 && len(u.cfg.Chain) == 0 {
		return ra.Check{What: what, Result: ra.Warning, Detail: "there is no `chain`, and nothing was issued since the start: until then /cacerts may lack the issuing certificate"}
	}
	return ra.Check{What: what, Result: ra.Good, Detail: fmt.Sprintf("%d certificates of `chain`, %d that came with issued ones", len(u.cfg.Chain), learned)}
}
