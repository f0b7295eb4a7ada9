// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// probeEvery is how long the answer of a Prober is taken as true.
	probeEvery   = 5 * time.Second
	probeTimeout = 5 * time.Second
	// refusalAge is how long a refused credential counts. There may be nobody
	// to try it again: a balancer sends nothing to a server that isn't ready.
	refusalAge = 5 * time.Minute
)

// ErrCredential is in the error of an Upstream whose credential the CA doesn't
// accept: no certificate will be issued until somebody mends that.
var ErrCredential = errors.New("the CA doesn't accept our credential")

// A Prober is an Upstream that can be asked whether it would answer.
type Prober interface {
	Health(ctx context.Context) error
}

// readiness is what was last found out. The zero value knows nothing.
type readiness struct {
	mu      sync.Mutex
	probed  time.Time
	failure error // of the last probe

	refusal error // of the credential
	refused time.Time
}

// Ready returns nil when the CA can issue now, as far as can be known without
// issuing: an issuing certificate is valid, the CA answers (asked at most every
// five seconds), it didn't refuse our credential of late, and, with UseCRL, its
// CRL can be had. The error is for operators.
func (c *CA) Ready(ctx context.Context) error {
	c.mu.Lock()
	known, failure := c.known, c.failure
	c.mu.Unlock()
	switch {
	case known == nil && failure != nil:
		return failure
	case known == nil:
		return c.down("its certificates have not been read yet", nil)
	case len(c.valid(known.roots)) == 0 || len(c.valid(known.current)) == 0:
		return c.down("its certificates have ended", nil)
	}
	if prober, ok := c.Upstream.(Prober); !ok {
		if failure != nil {
			return failure
		}
	} else if err := c.readiness.probe(ctx, prober, c.now); err != nil {
		return c.down("it doesn't answer", err)
	}
	if err := c.readiness.refusedOf(c.now()); err != nil {
		return err
	}
	return c.RefreshCRL(ctx)
}

func (r *readiness) probe(ctx context.Context, p Prober, now func() time.Time) (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.probed.IsZero() && now().Sub(r.probed) < probeEvery {
		return r.failure
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic in the upstream: %v", v)
		}
		r.probed, r.failure = now(), err
	}()
	// Who asks may hang up; the answer is for all.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	return p.Health(ctx)
}

// refusedOf is the refusal of the credential, while it counts.
func (r *readiness) refusedOf(now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusal != nil && now.Sub(r.refused) < refusalAge {
		return r.refusal
	}
	return nil
}

// answered takes note of what came of an order.
func (r *readiness) answered(err error, now time.Time) {
	switch {
	case err == nil:
	case errors.Is(err, ErrCredential):
	default:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusal, r.refused = err, now
}

// RefreshCRL fetches the CRL when the one held is old; without UseCRL it does
// nothing. The error says why renewals are refused.
func (c *CA) RefreshCRL(ctx context.Context) error {
	if !c.UseCRL {
		return nil
	}
	if err := c.revocation.update(ctx, c, c.now()); err != nil {
		return c.down("its CRL can't be had, so that nothing is renewed", err)
	}
	return nil
}
