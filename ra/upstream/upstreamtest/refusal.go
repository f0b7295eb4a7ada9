// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra"
)

// testZeroOrder has an order that no authority made refused, and nobody asked.
func (s Subject) testZeroOrder(t *testing.T) {
	up, asked := s.open(t), func() int { return 0 }
	if s.CA != nil {
		front := s.line(t)
		up = s.Open(t, Place{URL: front.URL})
		asked = func() int { n, _ := front.counts(); return n }
	}
	issued, err := up.Issue(t.Context(), ra.Order{})
	if kind, ok := kindOf(err); !ok || kind != ra.UpstreamRefused {
		t.Errorf("Issue of the zero order: %v, want %v", err, ra.UpstreamRefused)
	}
	if issued.Certificate != nil {
		t.Error("Issue of the zero order gave a certificate")
	}
	if n := asked(); n != 0 {
		t.Errorf("the CA was asked %d times", n)
	}
}

// testRefusal has the CA itself say no.
func (s Subject) testRefusal(t *testing.T) {
	if s.Refuse == nil {
		t.Fatal("the test names no order that the CA refuses")
	}
	r := s.Refuse(t)
	issued, err := r.Upstream.Issue(t.Context(), r.Order)
	if issued.Certificate != nil {
		t.Error("it gave a certificate")
	}
	e := Fails(t, err, ra.UpstreamRefused)
	if e.RetryAfter != 0 {
		t.Errorf("a device may come again after %s", e.RetryAfter)
	}
	if !strings.Contains(e.Text(), r.Says) {
		t.Errorf("the reason is %q, want %q in it", e.Text(), r.Says)
	}
	s.private(t, e)
}
