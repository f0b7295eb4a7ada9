// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/ratest"
)

// A certificate that its CA has revoked vouches for nobody, whatever the
// operation.
func TestAnAnchorOfAnUpstreamAsksItsCRL(t *testing.T) {
	upstream := ratest.NewCA(t)
	known := upstream.Known("step_ca")
	known.UseCRL = true
	h := &Handler{upstreams: map[string]*authority{"step_ca": {ca: known}}}
	made, err := h.loadAnchor(AnchorConfig{Name: ours, Upstream: "step_ca"})
	if err != nil {
		t.Fatal(err)
	}
	good := upstream.Intermediate.Device(t, "good.example").Leaf
	bad := upstream.Intermediate.Device(t, "bad.example").Leaf
	if err := upstream.Revoke(t.Context(), bad, 1); err != nil {
		t.Fatal(err)
	}
	if revoked, err := made.Revoked(t.Context(), good, time.Now()); revoked || err != nil {
		t.Errorf("a good certificate: %v, %v", revoked, err)
	}
	if revoked, err := made.Revoked(t.Context(), bad, time.Now()); !revoked || err != nil {
		t.Errorf("a revoked certificate: %v, %v", revoked, err)
	}
	known.UseCRL = false
	if revoked, err := made.Revoked(t.Context(), bad, time.Now()); revoked || err != nil {
		t.Errorf("without a CRL that is asked: %v, %v", revoked, err)
	}
}

func TestAnchorsOfFilesTellWhenTheyEnd(t *testing.T) {
	first, second := ratest.NewRoot(t, "One").Certificate, ratest.NewRoot(t, "Two").Certificate
	early := *second
	early.NotAfter = first.NotAfter.Add(-time.Hour)
	ends := datedAnchor{name: "idevid", certs: []*x509.Certificate{first, &early}}.expiries(time.Now())
	if len(ends) != 1 || !ends["anchor/idevid"].Equal(early.NotAfter) {
		t.Errorf("%v", ends)
	}
}
