// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"context"
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
)

// Reasons of RFC 5280 section 5.3.1 that every CA knows.
const (
	keyCompromise        = 1
	superseded           = 4
	cessationOfOperation = 5
	noReason             = 7 // not used there
)

func (s Subject) testRevoke(t *testing.T) {
	up := s.open(t)
	revoker, is := up.(ra.Revoker)
	if partly, ok := up.(interface{ CanRevoke() bool }); ok && is && !partly.CanRevoke() {
		leaf := Issue(t, up, plain(t, up))
		_ = Fails(t, revoker.Revoke(t.Context(), leaf, superseded), ra.UpstreamRefused)
		is = false
	}
	if !is {
		if s.Revoked != nil {
			t.Error("it revokes nothing, and the test knows of revoked certificates")
		}
		return
	}
	leaf := Issue(t, up, plain(t, up))
	if now, _ := s.revoked(t, up, leaf); now {
		t.Fatal("it is revoked before it is")
	}
	for range 2 { // a second time is no error
		if err := revoker.Revoke(t.Context(), leaf, keyCompromise); err != nil {
			t.Fatal(err)
		}
	}
	s.isRevoked(t, up, leaf, keyCompromise)
	other := Issue(t, up, plain(t, up))
	if now, _ := s.revoked(t, up, other); now {
		t.Error("the next one is, too")
	}
	_ = Fails(t, revoker.Revoke(t.Context(), nil, superseded), ra.UpstreamRefused)
	_ = Fails(t, revoker.Revoke(t.Context(), other, noReason), ra.UpstreamRefused)
	if bySerial, ok := up.(ra.SerialRevoker); ok {
		s.testRevokeSerial(t, up, bySerial)
	}
}

// testRevokeSerial revokes what nobody has.
func (s Subject) testRevokeSerial(t *testing.T, up ra.Upstream, revoker ra.SerialRevoker) {
	leaf := Issue(t, up, plain(t, up))
	for range 2 {
		if err := revoker.RevokeSerial(t.Context(), leaf.SerialNumber, nil, leaf.NotAfter, cessationOfOperation); err != nil {
			t.Fatal(err)
		}
	}
	s.isRevoked(t, up, leaf, cessationOfOperation)
	for name, serial := range map[string]*big.Int{"none": nil, "zero": {}, "below zero": big.NewInt(-1)} {
		if err := revoker.RevokeSerial(t.Context(), serial, nil, time.Time{}, 0); err == nil {
			t.Errorf("a serial number that is %s was revoked", name)
		}
	}
}

func (s Subject) isRevoked(t testing.TB, up ra.Upstream, leaf *x509.Certificate, reason int) {
	t.Helper()
	if s.NoReasons {
		reason = 0
	}
	if now, why := s.revoked(t, up, leaf); !now || why != reason {
		t.Errorf("revoked %t, for reason %d, want %d", now, why, reason)
	}
}

// revoked asks the CA by its CRL, or as the test knows it.
func (s Subject) revoked(t testing.TB, up ra.Upstream, leaf *x509.Certificate) (is bool, reason int) {
	t.Helper()
	if s.Revoked != nil {
		return s.Revoked(t, leaf)
	}
	source, ok := up.(ra.CRLSource)
	if !ok {
		t.Fatal("it has no CRL, and the test doesn't say how else it is seen what is revoked")
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	der, err := source.CRL(ctx)
	if err != nil {
		t.Fatalf("CRL: %v", err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatalf("CRL: %v", err)
	}
	signs := func(c *x509.Certificate) bool { return list.CheckSignatureFrom(c) == nil }
	if !slices.ContainsFunc(caCerts(t, up), signs) {
		t.Errorf("no certificate of CACerts has signed the CRL of %s", list.Issuer)
	}
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return true, e.ReasonCode
		}
	}
	return false, 0
}
