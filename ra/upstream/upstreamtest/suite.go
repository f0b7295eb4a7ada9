// SPDX-License-Identifier: Apache-2.0

// Package upstreamtest is the suite that every upstream passes.
package upstreamtest

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// A Subject is an upstream with the CA behind it. What the upstream says of itself
// by its interfaces decides which of the fields there must be: for what it can't do,
// it is held to saying so.
type Subject struct {
	// Open gives the upstream, which asks the CA at a place.
	Open func(t testing.TB, at Place) ra.Upstream
	// Pins are certificates that CACerts must list, such as the CA's root.
	Pins []*x509.Certificate

	// CA is how the CA is reached. Nil: the upstream signs in this process
	// (ra.InProcess), and nothing can be between.
	CA *CA

	// Refuse gives an order that a CA refuses. Where the upstream doesn't sign in
	// this process: there nobody else could.
	Refuse func(t testing.TB) Refusal
	// Defer gives the upstream for a CA that decides later, and what makes it
	// decide. Where the upstream is an ra.Deferrer, and there alone.
	Defer func(t testing.TB) (up ra.Upstream, decide func(grant bool))
	// Revoked says whether a certificate is revoked at the CA, and with which
	// reason. Where the upstream revokes, and gives no CRL that says so.
	Revoked func(t testing.TB, c *x509.Certificate) (is bool, reason int)
	// NoReasons says that the CA keeps no reason of a revocation.
	NoReasons bool
}

// A CA is one at an address.
type CA struct {
	// Name is how it is called, which no device may read.
	Name string
	URL  string
	// TLS is how a front asks it: with the certificate of the RA, where it wants
	// one. Server is what a front shows to the upstream.
	TLS    *tls.Config
	Server tls.Certificate
	// Signs tells the request that asks for a certificate from others; Gives that
	// whose answer has it. Nil: the same.
	Signs, Gives func(*http.Request) bool
	// Reissue gives an answer of the CA with another certificate in it.
	Reissue func(answer []byte, another Another) ([]byte, error)
	// Issuer issues. Its zero value: a CA that doesn't give its key away.
	Issuer ratest.Signer
	// Finds says that a certificate whose answer is lost is found again.
	Finds bool
	// Keeps says that an order whose outcome isn't known stays open at the CA, and is
	// asked for again (ra.Later).
	Keeps bool
}

// A Place is where the CA is, for one upstream.
type Place struct {
	URL string
	// Timeout bounds a call; 0: the upstream's own.
	Timeout time.Duration
}

// A Refusal is what a CA doesn't issue.
type Refusal struct {
	Upstream ra.Upstream // for that CA
	Order    ra.Order
	Says     string // a part of its words; "": it gives none
}

// Run holds an upstream to the contract of ra.Upstream, with a CA that works and
// with one that doesn't.
func Run(t *testing.T, s Subject) {
	Issues(t, s)
	open := func(t testing.TB) ra.Upstream { return s.open(t) }
	t.Run("it refuses an order that no authority made", func(t *testing.T) { s.testZeroOrder(t) })
	t.Run("it revokes, or says that it doesn't", func(t *testing.T) { s.testRevoke(t) })
	t.Run("it waits for a CA that decides later, or says that there is none", func(t *testing.T) { s.testLater(t) })
	t.Run("it gives up when the context is cancelled", func(t *testing.T) { testCancelled(t, open(t)) })
	t.Run("it leaves no goroutine", func(t *testing.T) { s.testGoroutines(t) })
	if s.local(t) {
		return
	}
	t.Run("it passes on a refusal of the CA", func(t *testing.T) { s.testRefusal(t) })
	t.Run("it makes of each fault what the authority needs to know", func(t *testing.T) { s.testFaults(t) })
	t.Run("it takes no certificate for the one that was ordered", func(t *testing.T) { s.testForged(t) })
	t.Run("it reads no CA certificates out of what are none", func(t *testing.T) { s.testNoCACerts(t) })
	t.Run("it asks nobody who isn't the CA", func(t *testing.T) { s.testNotTheCA(t) })
	t.Run("it gives up in its time, and when the caller does", func(t *testing.T) { s.testSilence(t) })
	t.Run("it keeps its connections", func(t *testing.T) { s.testConnections(t) })
}

// Issues is the part of Run about what is issued: for a variant of an upstream that
// passes Run.
func Issues(t *testing.T, s Subject) {
	open := func(t testing.TB) ra.Upstream { return s.open(t) }
	t.Run("it gives its CA certificates", func(t *testing.T) { testCACerts(t, open(t), s.Pins) })
	t.Run("it issues a rewritten order as planned", func(t *testing.T) { testRewrite(t, open(t)) })
	t.Run("it issues what a policy sets and moves", func(t *testing.T) { testDecided(t, open(t)) })
	t.Run("it issues every form of name as planned", func(t *testing.T) { testEveryName(t, open(t)) })
	t.Run("it writes each field that it carries, and refuses others", func(t *testing.T) { s.testFields(t) })
	t.Run("it issues two orders for one CSR", func(t *testing.T) { testTwice(t, open(t)) })
	t.Run("it serves several callers at once", func(t *testing.T) { testConcurrent(t, open(t)) })
}

// local says that nothing is between the upstream and its CA.
func (s Subject) local(t testing.TB) bool {
	t.Helper()
	_, local := s.Open(t, s.place()).(ra.InProcess)
	if local != (s.CA == nil) {
		t.Fatalf("it signs in this process: %t; the test names a CA elsewhere: %t", local, s.CA != nil)
	}
	return local
}

func (s Subject) place() Place {
	if s.CA == nil {
		return Place{}
	}
	return Place{URL: s.CA.URL}
}

// open gives the upstream that asks the CA itself.
func (s Subject) open(t testing.TB) ra.Upstream {
	t.Helper()
	return s.Open(t, s.place())
}
