// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/crl"
	"github.com/caddy-est/estra/ra/ratest"
)

var now = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// source is a Source that a test can change.
type source struct {
	anchors, intermediates []*x509.Certificate
	err, refuses           error
	asked                  int
}

func (s *source) Certificates(context.Context) (anchors, intermediates []*x509.Certificate, err error) {
	return s.anchors, s.intermediates, s.err
}

func (s *source) Accepts(_ context.Context, leaf *x509.Certificate, chain []*x509.Certificate) error {
	s.asked++
	if chain[0] != leaf {
		return errors.New("the chain doesn't begin with the leaf presented")
	}
	return s.refuses
}

// saying is a Revocation: the nth of each chain is revoked, -1 for none.
type saying struct {
	revoked int
	err     error
}

func (s saying) Revoked(_ context.Context, chain []*x509.Certificate, _ time.Time) (*x509.Certificate, error) {
	if s.revoked >= 0 {
		return chain[s.revoked], nil
	}
	return nil, s.err
}

func usages(usages ...x509.ExtKeyUsage) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.ExtKeyUsage = usages }
}

func validity(from, to time.Time) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = from, to }
}

func extension(oid asn1.ObjectIdentifier, value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: oid, Critical: true, Value: value})
	}
}

// idevid makes a device identity as IEEE 802.1AR has it: no subject, a
// critical SAN, no end.
func idevid(names ...[]byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.ExtKeyUsage = pkix.Name{}, nil, nil
		c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		extension(asn1.ObjectIdentifier{2, 5, 29, 17}, csrtest.SEQ(names...))(c)
	}
}

var hardwareModule = csrtest.OtherName("1.3.6.1.5.5.7.8.4",
	csrtest.SEQ(csrtest.OID("1.3.6.1.4.1.99999.1"), csrtest.Text(4, "SN-0042")))

func TestVerifyJudgesTheWholePath(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	issuing := root.Sub(t, "Issuing CA")
	stranger := ratest.NewRoot(t, "Root")
	key := ratest.NewKey(t)
	shortTemplate := *issuing.Certificate
	shortTemplate.NotAfter = now.Add(-48 * time.Hour)
	short := ratest.Signer{Key: key, Certificate: root.Sign(t, &shortTemplate, key.Public())}
	mailTemplate := *issuing.Certificate
	usages(x509.ExtKeyUsageEmailProtection)(&mailTemplate)
	mail := ratest.Signer{Key: key, Certificate: root.Sign(t, &mailTemplate, key.Public())}
	at := func(certs ...*x509.Certificate) []*x509.Certificate { return certs }
	expired := validity(now.Add(-72*time.Hour), now.Add(-24*time.Hour))
	for name, test := range map[string]struct {
		signer        ratest.Signer
		change        []func(*x509.Certificate)
		anchors       []*x509.Certificate
		intermediates []*x509.Certificate
		alone         bool // the client sends no intermediate
		anyEKU        bool
		want          string // "": vouched for
	}{
		"a chain to the anchor":                             {signer: issuing, anchors: at(root.Certificate)},
		"an intermediate as anchor":                         {signer: issuing, anchors: at(issuing.Certificate), alone: true},
		"a leaf alone, the source completes the chain":      {signer: issuing, anchors: at(root.Certificate), intermediates: at(issuing.Certificate), alone: true},
		"a leaf alone that nobody completes":                {signer: issuing, anchors: at(root.Certificate), alone: true, want: "unknown authority"},
		"a root of the same name with another key":          {signer: issuing, anchors: at(stranger.Certificate), want: "unknown authority"},
		"no anchors never means the system's":               {signer: issuing, want: "no certificates"},
		"a certificate for servers only":                    {signer: issuing, change: fs(usages(x509.ExtKeyUsageServerAuth)), anchors: at(root.Certificate), want: "key usage"},
		"a certificate for servers only, with any_eku":      {signer: issuing, change: fs(usages(x509.ExtKeyUsageServerAuth)), anchors: at(root.Certificate), anyEKU: true},
		"a certificate without extended key usage":          {signer: issuing, change: fs(usages()), anchors: at(root.Certificate)},
		"a certificate with anyExtendedKeyUsage":            {signer: issuing, change: fs(usages(x509.ExtKeyUsageAny)), anchors: at(root.Certificate)},
		"no extended key usage, under a CA for mail only":   {signer: mail, change: fs(usages()), anchors: at(root.Certificate), want: "key usage"},
		"clientAuth under a CA for mail only":               {signer: mail, anchors: at(root.Certificate), want: "key usage"},
		"an IDevID under a CA for mail only":                {signer: mail, change: fs(idevid(hardwareModule)), anchors: at(root.Certificate), want: "key usage"},
		"a CA for mail only, with any_eku":                  {signer: mail, change: fs(usages()), anchors: at(root.Certificate), anyEKU: true},
		"a leaf that isn't valid yet":                       {signer: issuing, change: fs(validity(now.Add(time.Hour), now.Add(2*time.Hour))), anchors: at(root.Certificate), want: "valid only from"},
		"an expired leaf is verified at its end":            {signer: issuing, change: fs(expired), anchors: at(root.Certificate)},
		"an expired leaf whose issuer had ended before":     {signer: short, change: fs(expired), anchors: at(root.Certificate), want: "expired"},
		"a valid leaf whose issuer has ended":               {signer: short, anchors: at(root.Certificate), want: "expired"},
		"an IDevID with a hardwareModuleName":               {signer: issuing, change: fs(idevid(hardwareModule)), anchors: at(root.Certificate)},
		"a critical SAN with a registeredID as well":        {signer: issuing, change: fs(idevid(hardwareModule, csrtest.RegisteredID("1.2.3"))), anchors: at(root.Certificate), want: "critical"},
		"a critical SAN with a hardwareModuleName of junk":  {signer: issuing, change: fs(idevid(csrtest.OtherName("1.3.6.1.5.5.7.8.4", csrtest.UTF8("x")))), anchors: at(root.Certificate), want: "critical"},
		"an IDevID with another critical extension as well": {signer: issuing, change: fs(idevid(hardwareModule), extension(asn1.ObjectIdentifier{1, 2, 3}, []byte{5, 0})), anchors: at(root.Certificate), want: "critical"},
	} {
		t.Run(name, func(t *testing.T) {
			device := test.signer.Device(t, "device.example", test.change...)
			presented := at(device.Leaf, test.signer.Certificate)
			if test.alone {
				presented = presented[:1]
			}
			set := anchor.Set{Anchors: []anchor.Anchor{{
				Name: "a", AnyEKU: test.anyEKU,
				Source: &source{anchors: test.anchors, intermediates: test.intermediates},
			}}}
			before := slices.Clone(device.Leaf.UnhandledCriticalExtensions)
			for _, run := range []string{"first", "remembered"} {
				got := set.Verify(t.Context(), presented, now)
				if vouched := slices.Equal(got.Names, []string{"a"}); vouched != (test.want == "") {
					t.Errorf("%s: got %+v", run, got)
				}
				if test.want != "" && (len(got.Reasons) != 1 || !strings.Contains(got.Reasons[0], test.want)) {
					t.Errorf("%s: reasons %q, want %q", run, got.Reasons, test.want)
				}
			}
			if len(before) != len(device.Leaf.UnhandledCriticalExtensions) {
				t.Error("the connection's certificate was changed")
			}
		})
	}
}

func fs(f ...func(*x509.Certificate)) []func(*x509.Certificate) { return f }

func TestVerifyAsksEachTimeWhatCanChange(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	issuing := root.Sub(t, "Issuing CA")
	device := issuing.Device(t, "device.example", validity(now.Add(-time.Hour), now.Add(time.Hour)))
	presented := []*x509.Certificate{device.Leaf, issuing.Certificate}
	good := func() (*source, *anchor.Anchor) {
		s := &source{anchors: []*x509.Certificate{root.Certificate}}
		return s, &anchor.Anchor{Name: "a", Source: s}
	}
	for name, test := range map[string]struct {
		change      func(*source, *anchor.Anchor)
		at          time.Time
		vouched     bool
		unavailable bool
		reason      string
	}{
		"nothing changed": {change: func(*source, *anchor.Anchor) {}, vouched: true},
		"another trust anchor": {change: func(s *source, _ *anchor.Anchor) {
			s.anchors = []*x509.Certificate{ratest.NewRoot(t, "Root").Certificate}
		}, reason: "unknown authority"},
		"one more trust anchor":        {change: func(s *source, _ *anchor.Anchor) { s.anchors = append(s.anchors, issuing.Certificate) }, vouched: true},
		"the source fails":             {change: func(s *source, _ *anchor.Anchor) { s.err = errors.New("the CA is down") }, unavailable: true, reason: "the CA is down"},
		"the source has no anchors":    {change: func(s *source, _ *anchor.Anchor) { s.anchors = nil }, unavailable: true, reason: "no certificates"},
		"there is no source":           {change: func(_ *source, a *anchor.Anchor) { a.Source = nil }, unavailable: true, reason: "no source"},
		"the source refuses the chain": {change: func(s *source, _ *anchor.Anchor) { s.refuses = errors.New("a sibling") }, reason: "a sibling"},
		"the leaf is revoked": {change: func(_ *source, a *anchor.Anchor) {
			a.Revocation = saying{revoked: 0}
		}, reason: "is revoked"},
		"a CA of the chain is revoked": {change: func(_ *source, a *anchor.Anchor) {
			a.Revocation = saying{revoked: 1}
		}, reason: `the CA certificate "CN=Issuing CA"`},
		"revocation can't be checked": {change: func(_ *source, a *anchor.Anchor) {
			a.Revocation = saying{revoked: -1, err: errors.New("stale")}
		}, unavailable: true, reason: "stale"},
		"the list no longer speaks of the leaf": {change: func(_ *source, a *anchor.Anchor) {
			a.Revocation = saying{revoked: -1, err: fmt.Errorf("a list: %w", crl.ErrExpired)}
		}, reason: "revocation can't be checked"},
		"the leaf isn't revoked": {change: func(_ *source, a *anchor.Anchor) {
			a.Revocation = saying{revoked: -1}
		}, vouched: true},
		"the leaf has ended":       {change: func(*source, *anchor.Anchor) {}, at: now.Add(2 * time.Hour), vouched: true},
		"the clock was before all": {change: func(*source, *anchor.Anchor) {}, at: now.Add(-24 * time.Hour), reason: "valid only from"},
	} {
		t.Run(name, func(t *testing.T) {
			s, a := good()
			set := &anchor.Set{Anchors: []anchor.Anchor{*a}}
			if got := set.Verify(t.Context(), presented, now); len(got.Names) != 1 || set.Remembered() != 1 {
				t.Fatalf("at first: %+v, %d remembered", got, set.Remembered())
			}
			test.change(s, a)
			set.Anchors[0] = *a
			if test.at.IsZero() {
				test.at = now
			}
			got := set.Verify(t.Context(), presented, test.at)
			if (len(got.Names) == 1) != test.vouched || (len(got.Unavailable) == 1) != test.unavailable {
				t.Errorf("got %+v", got)
			}
			if test.vouched && s.asked != 2 {
				t.Errorf("the source was asked %d times whether it accepts the chain, want 2", s.asked)
			}
			if test.reason != "" && (len(got.Reasons) != 1 || !strings.Contains(got.Reasons[0], test.reason)) {
				t.Errorf("reasons %q, want %q", got.Reasons, test.reason)
			}
		})
	}
}

func TestVerifyTellsAnchorsApart(t *testing.T) {
	root, other := ratest.NewRoot(t, "Root"), ratest.NewRoot(t, "Other")
	device := root.Device(t, "device.example")
	set := &anchor.Set{Anchors: []anchor.Anchor{
		{Name: "other", Source: anchor.File([]*x509.Certificate{other.Certificate})},
		{Name: "second", Source: anchor.File([]*x509.Certificate{root.Certificate, other.Certificate})},
		{Name: "down", Source: &source{err: errors.New("down")}},
		{Name: "first", Source: anchor.File([]*x509.Certificate{root.Certificate})},
		{Name: "empty", Source: anchor.File(nil)},
	}}
	got := set.Verify(t.Context(), []*x509.Certificate{device.Leaf}, now)
	if !slices.Equal(got.Names, []string{"second", "first"}) || !slices.Equal(got.Unavailable, []string{"down", "empty"}) || len(got.Reasons) != 3 {
		t.Errorf("got %+v", got)
	}
	if got := set.Verify(t.Context(), nil, now); got.Names != nil || got.Unavailable != nil {
		t.Errorf("without a certificate: %+v", got)
	}
	var none anchor.Set
	if got := none.Verify(t.Context(), []*x509.Certificate{device.Leaf}, now); got.Names != nil {
		t.Errorf("the zero set vouches: %+v", got)
	}
}

func TestVerifyIsSafeForConcurrentUse(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	set := &anchor.Set{Anchors: []anchor.Anchor{{Name: "a", Source: anchor.File([]*x509.Certificate{root.Certificate})}}}
	leaf := root.Device(t, "device.example").Leaf
	done := make(chan bool)
	for range 4 {
		go func() {
			good := true
			for range 50 {
				good = good && len(set.Verify(context.Background(), []*x509.Certificate{leaf}, now).Names) == 1
			}
			done <- good
		}()
	}
	for range 4 {
		if !<-done {
			t.Error("a good chain was refused")
		}
	}
}

// A leaf whose signature was remembered must not lend it to another one.
func TestVerifyRemembersByAllBytesPresented(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	set := &anchor.Set{Anchors: []anchor.Anchor{{Name: "a", Source: anchor.File([]*x509.Certificate{root.Certificate})}}}
	good := root.Device(t, "device.example").Leaf
	set.Verify(t.Context(), []*x509.Certificate{good}, now)
	raw := bytes.Clone(good.Raw)
	raw[len(raw)-1] ^= 1
	forged, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := set.Verify(t.Context(), []*x509.Certificate{forged}, now); len(got.Names) != 0 {
		t.Errorf("a forged signature: %+v", got)
	}
}
