// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy"
)

// Times of a CA's knowledge.
const (
	refreshEvery   = time.Hour
	refreshTimeout = 15 * time.Second
	retryFailed    = 2 * time.Second  // on demand, while nothing is known
	retryRefresh   = 30 * time.Second // in the background
	demandTimeout  = 5 * time.Second
	issueTimeout   = 15 * time.Second
)

// A CA is one upstream with what is known of it: its published chain,
// its issuing certificates, its CRL, and the stop after nonconforming
// certificates. It is safe for concurrent use; the exported fields must not
// change once it is used.
type CA struct {
	Name     string
	Upstream Upstream
	// Pins returns the root certificates that the operator trusts for this
	// upstream. Nil, or an empty list, refuses whatever the CA publishes.
	Pins func() []*x509.Certificate
	// Extra is served in /cacerts beside the CA's own certificates, where a
	// root of Pins has certified it.
	Extra []*x509.Certificate
	// Foreign is served in /cacerts too, though nothing of this CA vouches for
	// it: the CA of the server's own TLS chain. It has no part in anything else.
	Foreign []*x509.Certificate
	// Memory keeps issuing certificates over restarts; nil keeps them while
	// the process lives.
	Memory Memory
	// UseCRL asks the upstream's CRL before a renewal, and fails closed.
	UseCRL bool
	// RefreshEvery is how old the published certificates may get; 0 is one
	// hour.
	RefreshEvery time.Duration
	// Timeout bounds one Issue; 0 is 15 seconds.
	Timeout time.Duration
	Now     func() time.Time // nil: time.Now

	mu         sync.Mutex
	known      *hierarchy
	remembered []*x509.Certificate
	recalled   bool
	flight     *flight
	tried      time.Time // the end of the last refresh
	failure    error     // of the last refresh
	memoryErr  error

	demand    policy.Demand
	demandErr error // of the last question

	revocation revocation
	readiness  readiness
	stops      stops
}

// A flight is a refresh under way.
type flight struct {
	done chan struct{}
	err  error
}

// Start recalls remembered issuing certificates and asks the upstream for the
// first time. Its error is no reason not to serve: Chain asks again.
func (c *CA) Start(ctx context.Context) error { return c.Refresh(ctx) }

// Refresh asks the upstream for its certificates and checks them. What was
// known stays when it fails. Calls at the same time share one question. The
// error is *Error, UpstreamDown.
func (c *CA) Refresh(ctx context.Context) error {
	c.mu.Lock()
	f := c.flight
	if f == nil {
		f = &flight{done: make(chan struct{})}
		c.flight = f
		// One caller that hangs up must not fail the others.
		go c.fly(context.WithoutCancel(ctx), f)
	}
	c.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return c.down("its certificates weren't read in time", ctx.Err())
	}
}

func (c *CA) fly(ctx context.Context, f *flight) {
	ctx, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	err := c.refresh(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		f.err = c.down("its certificates can't be used", err)
	}
	c.tried, c.failure, c.flight = c.now(), f.err, nil
	close(f.done)
}

func (c *CA) refresh(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic in the upstream: %v", r)
		}
	}()
	memoryErr := c.recall(ctx)
	certs, err := c.Upstream.CACerts(ctx)
	if err != nil {
		c.reconstruct()
		return err
	}
	h, err := c.published(certs).check(c.now())
	if err != nil {
		return err
	}
	memoryErr = errors.Join(memoryErr, c.remember(ctx, h.current))
	c.mu.Lock()
	c.known, c.memoryErr = h, memoryErr
	c.mu.Unlock()
	c.askDemand(ctx)
	return nil
}

// published is an answer with what else a hierarchy is made from.
func (c *CA) published(certs []*x509.Certificate) published {
	p := published{certs: certs, extra: c.Extra}
	if c.Pins != nil {
		p.pins = c.Pins()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p.remembered = slices.Clone(c.remembered)
	if c.known != nil {
		p.remembered = append(p.remembered, c.known.issuers...)
	}
	return p
}

// reconstruct makes a hierarchy of what is remembered and the configured roots,
// where nothing is known because the CA hasn't answered since the start. Both are
// good without its word; only what it may have begun since is missing, and it
// issues nothing now.
func (c *CA) reconstruct() {
	p := c.published(nil)
	c.mu.Lock()
	known := c.known != nil
	c.mu.Unlock()
	if known || len(p.remembered) == 0 {
		return
	}
	p.certs = unique(slices.Concat(p.pins, p.remembered))
	h, err := p.check(c.now())
	if err != nil || !slices.ContainsFunc(p.remembered, func(cert *x509.Certificate) bool { return contains(h.issuers, cert) }) {
		return // as if there were nothing
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = h
	}
}

// recall reads the memory once, and again while that fails.
func (c *CA) recall(ctx context.Context) error {
	c.mu.Lock()
	recalled := c.recalled || c.Memory == nil
	c.mu.Unlock()
	if recalled {
		return nil
	}
	certs, err := c.Memory.Recall(ctx, c.Name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recalled = true
	c.remembered = unique(slices.Concat(c.remembered, certs))
	return nil
}

// remember puts issuing certificates into the memory. A memory that fails
// costs renewals after a restart, and is no reason to stop now.
func (c *CA) remember(ctx context.Context, current []*x509.Certificate) error {
	for _, cert := range current {
		c.mu.Lock()
		known := contains(c.remembered, cert)
		c.mu.Unlock()
		if known {
			continue
		}
		if c.Memory != nil {
			if err := c.Memory.Remember(ctx, c.Name, cert); err != nil {
				return err
			}
		}
		c.mu.Lock()
		c.remembered = append(c.remembered, cert)
		c.mu.Unlock()
	}
	return nil
}

// hierarchy returns what is known, asking the upstream when that is nothing:
// at most every two seconds.
func (c *CA) hierarchy(ctx context.Context) (*hierarchy, error) {
	c.mu.Lock()
	known, failure := c.known, c.failure
	waits := failure != nil && c.now().Sub(c.tried) < retryFailed
	c.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if waits {
		return nil, failure
	}
	err := c.Refresh(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		return nil, err
	}
	return c.known, nil
}

// Chain is what /cacerts serves: never without a root (RFC 7030 section 4.1.3).
// The error is *Error, UpstreamDown.
func (c *CA) Chain(ctx context.Context) ([]*x509.Certificate, error) {
	h, err := c.hierarchy(ctx)
	if err != nil {
		return nil, err
	}
	if len(c.valid(h.roots)) == 0 {
		return nil, c.down("its root certificates have ended", nil)
	}
	return c.valid(unique(slices.Concat(h.chain, c.Foreign))), nil
}

// Roots returns the self-signed certificates among those of Chain: what a client of
// /cacerts takes for its trust anchors. Error as of Chain.
func (c *CA) Roots(ctx context.Context) ([]*x509.Certificate, error) {
	chain, err := c.Chain(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(chain, func(c *x509.Certificate) bool { return !signedBy(c, c) }), nil
}

// Issuers returns the issuing certificates that are valid now: those that the
// upstream publishes, and remembered ones. Error as of Chain.
func (c *CA) Issuers(ctx context.Context) ([]*x509.Certificate, error) {
	h, err := c.hierarchy(ctx)
	if err != nil {
		return nil, err
	}
	return c.valid(h.issuers), nil
}

// Issued tells whether this CA issued a certificate: the direct issuer's key
// is one of its issuing keys. To lead to the same root is not enough: a
// sibling CA under a corporate root is a stranger. Error as of Chain.
func (c *CA) Issued(ctx context.Context, cert *x509.Certificate) (bool, error) {
	issuers, err := c.Issuers(ctx)
	if err != nil {
		return false, err
	}
	return signedByOneOf(cert, issuers), nil
}

// Warnings says what an operator should know of this CA, one sentence each.
func (c *CA) Warnings() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var warnings []string
	if c.known != nil {
		warnings = slices.Clone(c.known.warnings)
	}
	if c.failure != nil {
		warnings = append(warnings, c.failure.Error())
	}
	if c.memoryErr != nil {
		warnings = append(warnings, fmt.Sprintf("upstream %s: issuing certificates can't be remembered: %v", c.Name, c.memoryErr))
	}
	if c.demandErr != nil {
		warnings = append(warnings, fmt.Sprintf("upstream %s: what its /csrattrs says isn't known, and devices are told what was: %v", c.Name, reasonOf(c.demandErr)))
	}
	if !c.UseCRL {
		warnings = append(warnings, fmt.Sprintf("upstream %s has no CRL that is asked: a revoked certificate can be renewed", c.Name))
	}
	return warnings
}

// Next is when Refresh is due. It is in the past while nothing was asked.
func (c *CA) Next() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure != nil {
		return c.tried.Add(retryRefresh)
	}
	if c.RefreshEvery > 0 {
		return c.tried.Add(c.RefreshEvery)
	}
	return c.tried.Add(refreshEvery)
}

func (c *CA) valid(certs []*x509.Certificate) []*x509.Certificate {
	now := c.now()
	return slices.DeleteFunc(slices.Clone(certs), func(cert *x509.Certificate) bool { return !validAt(cert, now) })
}

func (c *CA) now() time.Time {
	if c.Now == nil {
		return time.Now()
	}
	return c.Now()
}

func (c *CA) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return issueTimeout
}

// down is UpstreamDown with this CA's name. The Retry-After of an upstream's
// own error is kept.
func (c *CA) down(reason string, err error) *Error {
	e := Fail(UpstreamDown, fmt.Sprintf("upstream %s: %s", c.Name, reason), err)
	var own *Error
	if errors.As(err, &own) && own.RetryAfter > 0 {
		e.RetryAfter = own.RetryAfter
	}
	return e
}
