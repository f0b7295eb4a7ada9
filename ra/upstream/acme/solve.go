// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// A Solver makes the answers to challenges of one type appear where the CA looks
// for them. It is safe for concurrent use.
type Solver interface {
	// Hold waits until nobody else solves a challenge for one of the names, where
	// there is place for one answer alone. Names are sorted.
	Hold(ctx context.Context, names []string) (release func(), err error)
	Present(ctx context.Context, c acme.Challenge) error
	// Wait returns once the answer can be seen.
	Wait(ctx context.Context, c acme.Challenge) error
	// CleanUp takes the answer away, if there is one.
	CleanUp(ctx context.Context, c acme.Challenge) error
}

// cleanUpTime bounds what follows an order whose time may be over.
const cleanUpTime = 15 * time.Second

// A claim is an authorization that is being proven.
type claim struct {
	acme.Authorization
	challenge acme.Challenge
}

// solve proves that the names of an order are ours (RFC 8555 section 7.5).
func (r *run) solve(ctx context.Context, order acme.Order) error {
	release, err := r.u.cfg.Solver.Hold(ctx, r.wish.names)
	if err != nil {
		return r.unsolvable(ctx, "the names can't be held", err)
	}
	defer release()
	var claims []*claim
	defer func() { r.tidy(ctx, claims) }()
	for _, address := range order.Authorizations {
		c, err := r.claim(ctx, address)
		if err != nil {
			return err
		}
		if c == nil {
			continue
		}
		claims = append(claims, c)
		if err := r.u.cfg.Solver.Present(ctx, c.challenge); err != nil {
			return r.unsolvable(ctx, "the answer for "+c.IdentifierValue()+" can't be made", err)
		}
	}
	for _, c := range claims {
		if err := r.u.cfg.Solver.Wait(ctx, c.challenge); err != nil {
			return r.unsolvable(ctx, "the answer for "+c.IdentifierValue()+" isn't to be seen", err)
		}
	}
	for _, c := range claims {
		if c.challenge.Status != acme.StatusPending {
			continue // the CA looks already
		}
		if _, err := r.u.acme.InitiateChallenge(ctx, r.account, c.challenge); err != nil {
			return r.u.failed(ctx, r.note, r.at(c), err)
		}
	}
	for _, c := range claims {
		if err := r.proven(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// claim reads an authorization; nil: it is valid already.
func (r *run) claim(ctx context.Context, address string) (*claim, error) {
	a, err := r.u.acme.GetAuthorization(ctx, r.account, address)
	if err != nil {
		return nil, r.u.failed(ctx, r.note, step{what: "authorization"}, err)
	}
	switch a.Status {
	case acme.StatusValid:
		return nil, nil
	case acme.StatusPending:
	default:
		return nil, refusedClaim(a)
	}
	var offered []string
	for _, c := range a.Challenges {
		if c.Type == r.u.cfg.Challenge && (c.Status == acme.StatusPending || c.Status == acme.StatusProcessing) {
			return &claim{a, c}, nil
		}
		offered = append(offered, c.Type)
	}
	return nil, ra.Fail(ra.UpstreamRefused, fmt.Sprintf("%s offers no %s for %s, but %s: see `challenge` of the upstream",
		name, r.u.cfg.Challenge, upstream.Line(a.IdentifierValue()), upstream.Line(strings.Join(offered, ", "))), nil)
}

// proven waits for the CA's word.
func (r *run) proven(ctx context.Context, c *claim) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		if err := r.pause(ctx, pause); err != nil {
			return err
		}
		a, err := r.u.acme.GetAuthorization(ctx, r.account, c.Location)
		if err != nil {
			return r.u.failed(ctx, r.note, r.at(c), err)
		}
		c.Authorization = a
		switch a.Status {
		case acme.StatusPending, acme.StatusProcessing:
		case acme.StatusValid:
			return nil
		default:
			return refusedClaim(a)
		}
	}
}

// refusedClaim says why an authorization isn't valid.
func refusedClaim(a acme.Authorization) error {
	said := ""
	for _, c := range a.Challenges {
		if c.Error != nil {
			said = fmt.Sprintf(": %s: %s", c.Type, problemText(*c.Error))
			break
		}
	}
	return ra.Fail(ra.UpstreamRefused, fmt.Sprintf("%s didn't find that %s is ours, the authorization is %s%s", name, upstream.Line(a.IdentifierValue()), a.Status, said), nil)
}

// tidy takes the answers away, and gives up what won't be proven any more, of
// which CAs allow so many.
func (r *run) tidy(ctx context.Context, claims []*claim) {
	over := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
	defer cancel()
	failed := false
	for _, c := range claims {
		// What stays behind proves nothing to anybody else.
		_ = r.u.cfg.Solver.CleanUp(ctx, c.challenge)
		failed = failed || c.Status == acme.StatusInvalid
	}
	if !failed || over {
		return
	}
	for _, c := range claims {
		if c.Status == acme.StatusPending {
			_, _ = r.u.acme.DeactivateAuthorization(ctx, r.account, c.Location)
		}
	}
}

func (r *run) at(c *claim) step {
	return step{what: fmt.Sprintf("%s of %s", r.u.cfg.Challenge, upstream.Line(c.IdentifierValue()))}
}

// errLater says that the order's time is over.
var errLater = errors.New("the time for this order is over")

// unsolvable is about our own side: the CA was told nothing.
func (r *run) unsolvable(ctx context.Context, what string, err error) error {
	if ctx.Err() != nil {
		return errLater
	}
	return ra.Fail(ra.UpstreamDown, fmt.Sprintf("%s: %s: %s", r.u.cfg.Challenge, upstream.Line(what), upstream.Line(err.Error())), nil)
}
