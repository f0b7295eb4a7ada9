// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// signing is an upstream that issues with Sign, whoever its signer is.
type signing struct {
	*ratest.CA
	signer ratest.Signer
	more   x509.KeyUsage // than was planned
}

func (s signing) Issue(_ context.Context, o ra.Order) (ra.Issued, error) {
	plan := o.Plan()
	subject, err := plan.Names.Subject.MarshalDER()
	if err != nil {
		return ra.Issued{}, err
	}
	san, err := csr.MarshalSAN(plan.Names.SAN)
	if err != nil {
		return ra.Issued{}, err
	}
	return ra.Sign(&x509.Certificate{
		SerialNumber: o.Serial(), RawSubject: subject, NotBefore: o.NotBefore(), NotAfter: o.NotAfter(),
		KeyUsage: plan.KeyUsage | s.more, UnknownExtKeyUsage: plan.ExtKeyUsage, BasicConstraintsValid: true,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: san}},
	}, s.signer.Certificate, o.CSR().Key.Public, s.signer.Key)
}

// Sign saves the second verification of one signature, and nothing else of
// the comparison.
func TestWhatSignMadeIsComparedToo(t *testing.T) {
	s := newScene(t)
	for name, test := range map[string]struct {
		signer ratest.Signer
		more   x509.KeyUsage
		want   string // "": it conforms
	}{
		"the issuing CA":                {s.upstream.Intermediate, 0, ""},
		"a sibling CA":                  {s.upstream.Root.Sub(t, "Another Issuing CA"), 0, "issuer: planned"},
		"a namesake of the issuing CA":  {s.upstream.Root.Sub(t, s.upstream.Intermediate.Certificate.Subject.CommonName), 0, "issuer: planned"},
		"another key usage than wanted": {s.upstream.Intermediate, x509.KeyUsageCertSign, "keyUsage: planned"},
	} {
		t.Run(name, func(t *testing.T) {
			s.ca.Upstream = signing{s.upstream, test.signer, test.more}
			out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
			if test.want == "" {
				if err != nil || out.Certificate == nil {
					t.Errorf("certificate %v, error %v", out.Certificate, err)
				}
				return
			}
			e := check(t, out, err, ra.Nonconforming, ra.StatusFailed)
			if !strings.Contains(e.Error(), test.want) || strings.Count(e.Error(), ": planned") != 1 {
				t.Errorf("error %v, want %s alone", e, test.want)
			}
		})
	}
}

func TestSignNeedsTheIssuersOwnKey(t *testing.T) {
	ca := ratest.NewCA(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}
	if _, err := ra.Sign(template, ca.Intermediate.Certificate, ratest.NewKey(t).Public(), ca.Root.Key); err == nil {
		t.Error("signed with a key that isn't the issuer's")
	}
	claimed := &x509.Certificate{RawSubject: ca.Intermediate.Certificate.RawSubject}
	if _, err := ra.Sign(template, claimed, ratest.NewKey(t).Public(), ca.Intermediate.Key); err == nil {
		t.Error("signed for an issuer that was put together")
	}
}
