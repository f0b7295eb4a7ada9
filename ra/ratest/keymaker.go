// SPDX-License-Identifier: Apache-2.0

package ratest

import (
	"context"
	"crypto/x509"
	"sync"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
)

// A KeyCA is a CA that makes keys for devices.
type KeyCA struct {
	*CA
	// Make gives a key: its public half, and what goes to the device.
	Make func(o ra.Order) (public any, private ra.PrivateKey, err error)

	making sync.Mutex
}

// Carries implements ra.Upstream.
func (c *KeyCA) Carries() policy.Capabilities {
	can := c.CA.Carries()
	can.Keygen = true
	return can
}

// IssueWithKey implements ra.KeyMaker.
func (c *KeyCA) IssueWithKey(ctx context.Context, o ra.Order) (ra.Issued, ra.PrivateKey, error) {
	c.making.Lock() // it goes by the knobs
	defer c.making.Unlock()
	public, private, err := c.Make(o)
	if err != nil {
		return ra.Issued{}, ra.PrivateKey{}, err
	}
	c.mu.Lock()
	before := c.knobs
	c.mu.Unlock()
	with := before
	with.Mutate = func(template *x509.Certificate) {
		if template.PublicKey = public; before.Mutate != nil {
			before.Mutate(template)
		}
	}
	c.Set(with)
	defer c.Set(before)
	issued, err := c.Issue(ctx, o)
	return issued, private, err
}

var _ ra.KeyMaker = (*KeyCA)(nil)
