// SPDX-License-Identifier: Apache-2.0

// Package ratest has what tests of the authority and of its upstreams need:
// a certification authority in memory, and orders made by a real Authority.
package ratest

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
)

// Knobs change how a CA behaves. The zero value issues what it is told.
type Knobs struct {
	// Down makes every call fail with UpstreamDown.
	Down bool
	// Err is what Issue fails with.
	Err error
	// Delay is how long Issue waits before it signs; it ends with ctx.
	Delay time.Duration
	// Mutate changes the certificate before it is signed. Extensions stand in
	// ExtraExtensions: SAN and EKU among them.
	Mutate func(template *x509.Certificate)
	// OwnSerials says that the CA numbers its certificates itself.
	OwnSerials bool
	// Sign, when set, issues in place of the intermediate.
	Sign *Signer
}

// A CA is a certification authority in memory: a root and one intermediate,
// both P-256, valid from 2020 to 2119. It issues everything that a plan can
// say. It is safe for concurrent use.
type CA struct {
	Root         Signer
	Intermediate Signer

	mu        sync.Mutex
	knobs     Knobs
	published []*x509.Certificate
	orders    []ra.Order
	issued    []*x509.Certificate
	revoked   []x509.RevocationListEntry
	crlNumber int64
}

// NewCA makes a CA with new keys.
func NewCA(t testing.TB) *CA {
	t.Helper()
	root := NewRoot(t, "Test Root")
	intermediate := root.Sub(t, "Test Issuing CA")
	return &CA{
		Root:         root,
		Intermediate: intermediate,
		published:    []*x509.Certificate{root.Certificate, intermediate.Certificate},
	}
}

// Set replaces the knobs.
func (c *CA) Set(k Knobs) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.knobs = k
}

// Publish replaces what CACerts answers.
func (c *CA) Publish(certs ...*x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.published = slices.Clone(certs)
}

// Orders returns every order that reached Issue, refused ones too.
func (c *CA) Orders() []ra.Order {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.orders)
}

// Issued returns every certificate that Issue signed.
func (c *CA) Issued() []*x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.issued)
}

// Revoked returns the revocations, oldest first.
func (c *CA) Revoked() []x509.RevocationListEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.revoked)
}

// Known is the CA as an Authority knows it: under this name, its root pinned.
func (c *CA) Known(name string) *ra.CA {
	return &ra.CA{
		Name:     name,
		Upstream: c,
		Pins:     func() []*x509.Certificate { return []*x509.Certificate{c.Root.Certificate} },
	}
}

// CACerts implements ra.Upstream.
func (c *CA) CACerts(context.Context) ([]*x509.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.knobs.Down {
		return nil, ra.Fail(ra.UpstreamDown, "the test CA is down", nil)
	}
	return slices.Clone(c.published), nil
}

// Carries implements ra.Upstream: everything, but for what the knobs say.
func (c *CA) Carries() policy.Capabilities {
	c.mu.Lock()
	defer c.mu.Unlock()
	return policy.Capabilities{Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true, Extensions: true, Serial: !c.knobs.OwnSerials}
}

// Issue implements ra.Upstream.
func (c *CA) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if !o.Valid() {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "not an order of an authority", nil)
	}
	c.mu.Lock()
	k := c.knobs
	c.orders = append(c.orders, o)
	c.mu.Unlock()
	if k.Down {
		return ra.Issued{}, ra.Fail(ra.UpstreamDown, "the test CA is down", nil)
	}
	select {
	case <-time.After(k.Delay):
	case <-ctx.Done():
		return ra.Issued{}, ctx.Err()
	}
	if k.Err != nil {
		return ra.Issued{}, k.Err
	}
	signer := c.Intermediate
	if k.Sign != nil {
		signer = *k.Sign
	}
	leaf, err := signer.issue(o, k.Mutate)
	if err != nil {
		return ra.Issued{}, ra.Fail(ra.UpstreamRefused, "the test CA can't sign", err)
	}
	c.mu.Lock()
	c.issued = append(c.issued, leaf)
	c.mu.Unlock()
	return ra.Issued{Certificate: leaf, Ref: leaf.SerialNumber.Text(16)}, nil
}

// Revoke implements ra.Revoker.
func (c *CA) Revoke(_ context.Context, leaf *x509.Certificate, reason int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.knobs.Down {
		return ra.Fail(ra.UpstreamDown, "the test CA is down", nil)
	}
	c.revoked = append(c.revoked, x509.RevocationListEntry{
		SerialNumber:   leaf.SerialNumber,
		RevocationTime: leaf.NotBefore,
		ReasonCode:     reason,
	})
	return nil
}

// CRL implements ra.CRLSource: a list by the intermediate, valid from 2020 to
// 2119.
func (c *CA) CRL(context.Context) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.knobs.Down {
		return nil, ra.Fail(ra.UpstreamDown, "the test CA is down", nil)
	}
	c.crlNumber++
	return x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number:                    big.NewInt(c.crlNumber),
		ThisUpdate:                begin,
		NextUpdate:                end,
		RevokedCertificateEntries: c.revoked,
	}, c.Intermediate.Certificate, c.Intermediate.Key)
}

var (
	_ ra.Upstream  = (*CA)(nil)
	_ ra.Revoker   = (*CA)(nil)
	_ ra.CRLSource = (*CA)(nil)
)
