// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// A scene is an authority with one CA and the permissive policy.
type scene struct {
	upstream  *ratest.CA
	ca        *ra.CA
	authority *ra.Authority
	profile   *policy.Profile
}

func newScene(t *testing.T) *scene {
	t.Helper()
	upstream := ratest.NewCA(t)
	ca := upstream.Known(ratest.Upstream)
	now := func() time.Time { return begin.Add(500 * time.Millisecond) }
	ca.Now = now
	p := ratest.Policy(t, ratest.Permissive)
	profile, ok := p.Profile("any")
	if !ok {
		t.Fatal("no profile")
	}
	return &scene{upstream, ca, &ra.Authority{Policy: p, CAs: map[string]*ra.CA{ratest.Upstream: ca}, Now: now}, profile}
}

func request(t *testing.T, op policy.Op, user string, options ...csrtest.Option) ra.Request {
	t.Helper()
	options = append([]csrtest.Option{
		csrtest.Subject(csrtest.CN("device.example")), csrtest.SAN(csrtest.DNS("device.example")),
	}, options...)
	parsed, err := csr.Parse(csrtest.New(t, options...))
	if err != nil {
		t.Fatal(err)
	}
	return ra.Request{ID: "request-1", Request: policy.Request{
		Op: op, Label: "any", CSR: parsed,
		Who: policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: user}}},
	}}
}

// renewal is a reenroll by the holder of a certificate.
func renewal(t *testing.T, cert *x509.Certificate) ra.Request {
	t.Helper()
	r := request(t, policy.SimpleReenroll, "")
	r.Who = policy.Identity{Cert: cert, Anchors: []string{"ours"}}
	return r
}

// check compares an outcome with what is always to hold.
func check(t *testing.T, out ra.Outcome, err error, kind ra.Kind, status ra.Status) *ra.Error {
	t.Helper()
	var e *ra.Error
	if !errors.As(err, &e) || e.Kind != kind || out.Status != status {
		t.Fatalf("got %s, %v; want %s, %s", out.Status, err, status, kind)
	}
	if out.Certificate != nil {
		t.Error("there is a certificate to hand out")
	}
	return e
}

func TestEnrollIssuesWhatWasDecided(t *testing.T) {
	s := newScene(t)
	req := request(t, policy.SimpleEnroll, ratest.User)
	req.Renews = s.upstream.Root.Certificate // nobody but Enroll says what is renewed
	out, err := s.authority.Enroll(t.Context(), s.profile, req)
	if err != nil {
		t.Fatal(err)
	}
	if out.Status != ra.StatusIssued || out.Profile != "any" || out.Upstream != ratest.Upstream ||
		out.Conforms == nil || !*out.Conforms || out.Withheld != nil || out.Replaces != nil || out.Ref == "" {
		t.Errorf("outcome %+v", out)
	}
	leaf := out.Certificate
	if leaf.SerialNumber.Cmp(out.Serial) != 0 || len(out.Serial.Bytes()) != 20 || out.Serial.BitLen() > 159 {
		t.Errorf("serial %x", out.Serial)
	}
	if !leaf.NotBefore.Equal(begin) || !leaf.NotAfter.Equal(begin.Add(24*time.Hour-time.Second)) {
		t.Errorf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	order := s.upstream.Orders()[0]
	if order.RequestID() != "request-1" || !bytes.Equal(order.CSR().Raw, req.CSR.Raw) {
		t.Errorf("order of request %q", order.RequestID())
	}
}

func TestEnrollRefusesBeforeTheCAIsAsked(t *testing.T) {
	titled := csrtest.Subject(csrtest.CN("device.example"), csrtest.RDN(csrtest.ATV("2.5.4.12", csrtest.UTF8("Admin"))))
	for name, test := range map[string]struct {
		change func(*testing.T, *scene, *ra.Request)
		kind   ra.Kind
		status ra.Status
	}{
		"nobody":                     {func(_ *testing.T, _ *scene, r *ra.Request) { r.Who = policy.Identity{} }, ra.Forbidden, ra.StatusRefused},
		"another user":               {func(_ *testing.T, _ *scene, r *ra.Request) { r.Who.Accounts[0].User = "eve" }, ra.Forbidden, ra.StatusRefused},
		"wrong linking":              {func(_ *testing.T, _ *scene, r *ra.Request) { r.Linking = policy.Mismatched }, ra.LinkFailed, ra.StatusRefused},
		"uncomputable linking":       {func(_ *testing.T, _ *scene, r *ra.Request) { r.Linking = policy.Uncomputable }, ra.LinkFailed, ra.StatusRefused},
		"a name that isn't allowed":  {func(t *testing.T, _ *scene, r *ra.Request) { *r = request(t, r.Op, ratest.User, titled) }, ra.Refused, ra.StatusRefused},
		"an unknown operation":       {func(_ *testing.T, _ *scene, r *ra.Request) { r.Op = "simpleenrol" }, ra.OperationOff, ra.StatusRefused},
		"no operation":               {func(_ *testing.T, _ *scene, r *ra.Request) { r.Op = "" }, ra.OperationOff, ra.StatusRefused},
		"an operation for later":     {func(_ *testing.T, _ *scene, r *ra.Request) { r.Op = policy.FullCMC }, ra.OperationOff, ra.StatusRefused},
		"a GET operation":            {func(_ *testing.T, _ *scene, r *ra.Request) { r.Op = policy.CACerts }, ra.OperationOff, ra.StatusRefused},
		"no CSR":                     {func(_ *testing.T, _ *scene, r *ra.Request) { r.CSR = nil }, ra.Malformed, ra.StatusRefused},
		"no profile":                 {func(_ *testing.T, s *scene, _ *ra.Request) { s.profile = nil }, ra.NoProfile, ra.StatusRefused},
		"an upstream that is gone":   {func(_ *testing.T, s *scene, _ *ra.Request) { s.authority.CAs = nil }, ra.Fault, ra.StatusFailed},
		"a CA whose chain is unsure": {func(_ *testing.T, s *scene, _ *ra.Request) { s.ca.Pins = nil }, ra.UpstreamDown, ra.StatusFailed},
		"no random numbers":          {func(_ *testing.T, s *scene, _ *ra.Request) { s.authority.Rand = bytes.NewReader(make([]byte, 14)) }, ra.Fault, ra.StatusFailed},
		"a reenroll without a certificate": {func(_ *testing.T, _ *scene, r *ra.Request) {
			r.Op = policy.SimpleReenroll
		}, ra.BadRenewal, ra.StatusRefused},
		"a reenroll with a certificate of the sibling CA": {func(t *testing.T, s *scene, r *ra.Request) {
			*r = renewal(t, s.upstream.Root.Sub(t, "Sibling").Device(t, "device.example").Leaf)
		}, ra.BadRenewal, ra.StatusRefused},
		"a reenroll while the CA can't be asked": {func(t *testing.T, s *scene, r *ra.Request) {
			*r = renewal(t, s.upstream.Intermediate.Device(t, "device.example").Leaf)
			s.upstream.Set(ratest.Knobs{Down: true})
		}, ra.UpstreamDown, ra.StatusFailed},
		"a reenroll of a revoked certificate": {func(t *testing.T, s *scene, r *ra.Request) {
			*r = renewal(t, s.upstream.Intermediate.Device(t, "device.example").Leaf)
			s.ca.UseCRL = true
			if err := s.upstream.Revoke(t.Context(), r.Who.Cert, 1); err != nil {
				t.Fatal(err)
			}
		}, ra.BadRenewal, ra.StatusRefused},
		"a reenroll without an answer on revocation": {func(t *testing.T, s *scene, r *ra.Request) {
			*r = renewal(t, s.upstream.Intermediate.Device(t, "device.example").Leaf)
			s.ca.UseCRL, s.ca.Upstream = true, brokenCRL{s.upstream}
		}, ra.UpstreamDown, ra.StatusFailed},
		"a reenroll for another name": {func(t *testing.T, s *scene, r *ra.Request) {
			*r = renewal(t, s.upstream.Intermediate.Device(t, "other.example").Leaf)
		}, ra.BadRenewal, ra.StatusRefused},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			req := request(t, policy.SimpleEnroll, ratest.User)
			test.change(t, s, &req)
			out, err := s.authority.Enroll(t.Context(), s.profile, req)
			check(t, out, err, test.kind, test.status)
			if len(s.upstream.Orders()) > 0 {
				t.Error("the CA was asked")
			}
		})
	}
}

func TestReenrollReplacesTheCertificatePresented(t *testing.T) {
	s := newScene(t)
	s.ca.UseCRL = true
	old := s.upstream.Intermediate.Device(t, "device.example").Leaf
	out, err := s.authority.Enroll(t.Context(), s.profile, renewal(t, old))
	if err != nil {
		t.Fatal(err)
	}
	if out.Replaces != old || out.Certificate == nil || out.Certificate.Subject.CommonName != "device.example" {
		t.Errorf("outcome %+v", out)
	}
}

func TestAnUpstreamsErrorsKeepTheirKindAndNotTheirWords(t *testing.T) {
	secret := "SECRET BODY"
	for name, test := range map[string]struct {
		knobs  ratest.Knobs
		kind   ra.Kind
		status ra.Status
	}{
		"down":               {ratest.Knobs{Down: true}, ra.UpstreamDown, ra.StatusFailed},
		"refused":            {ratest.Knobs{Err: ra.Fail(ra.UpstreamRefused, secret, nil)}, ra.UpstreamRefused, ra.StatusFailed},
		"busy":               {ratest.Knobs{Err: ra.Fail(ra.Busy, secret, nil)}, ra.Busy, ra.StatusFailed},
		"an answer lost":     {ratest.Knobs{Err: fmt.Errorf("x: %w", ra.Fail(ra.UpstreamTimeout, secret, nil))}, ra.UpstreamTimeout, ra.StatusUnknown},
		"a fault of ours":    {ratest.Knobs{Err: ra.Fail(ra.Fault, secret, nil)}, ra.Fault, ra.StatusFailed},
		"a kind not its own": {ratest.Knobs{Err: ra.Fail(ra.Unauthenticated, secret, nil)}, ra.UpstreamRefused, ra.StatusFailed},
		"any other error":    {ratest.Knobs{Err: errors.New(secret)}, ra.UpstreamRefused, ra.StatusFailed},
		"too slow":           {ratest.Knobs{Delay: time.Minute}, ra.UpstreamTimeout, ra.StatusUnknown},
		"a public text": {ratest.Knobs{Err: func() error {
			e := ra.Fail(ra.UpstreamRefused, "", nil)
			e.Public = secret
			return e
		}()}, ra.UpstreamRefused, ra.StatusFailed},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.ca.Timeout = 50 * time.Millisecond
			if _, err := s.ca.Chain(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.upstream.Set(test.knobs)
			out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
			e := check(t, out, err, test.kind, test.status)
			if strings.Contains(e.Public, secret) {
				t.Errorf("the CA's words reach the client: %q", e.Public)
			}
			if out.Serial == nil || out.Conforms != nil {
				t.Errorf("outcome %+v", out)
			}
		})
	}
}

func TestRetryAfterOfAnUpstreamIsKept(t *testing.T) {
	s := newScene(t)
	s.upstream.Set(ratest.Knobs{Err: ra.Fail(ra.Busy, "queue", nil).After(7 * time.Second)})
	out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
	if e := check(t, out, err, ra.Busy, ra.StatusFailed); e.RetryAfter != 7*time.Second {
		t.Errorf("Retry-After %s", e.RetryAfter)
	}
}

func TestAPanicWhileIssuingLeavesTheOutcomeUnknown(t *testing.T) {
	s := newScene(t)
	if _, err := s.ca.Chain(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.ca.Upstream = panicking{s.upstream}
	out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
	check(t, out, err, ra.Fault, ra.StatusUnknown)
}

func TestAClientThatHangsUpDoesNotEndTheIssuing(t *testing.T) {
	s := newScene(t)
	if _, err := s.ca.Chain(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.upstream.Set(ratest.Knobs{Delay: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out, err := s.authority.Enroll(ctx, s.profile, request(t, policy.SimpleEnroll, ratest.User))
	if err != nil || out.Status != ra.StatusIssued {
		t.Errorf("%s, %v", out.Status, err)
	}
}

type empty struct{ *ratest.CA }

func (empty) Issue(context.Context, ra.Order) (ra.Issued, error) { return ra.Issued{}, nil }

func TestAnAnswerWithoutACertificateIsRefused(t *testing.T) {
	s := newScene(t)
	s.ca.Upstream = empty{s.upstream}
	out, err := s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User))
	check(t, out, err, ra.UpstreamRefused, ra.StatusUnknown)
}

func TestTheZeroOrderIssuesNothing(t *testing.T) {
	var zero ra.Order
	if zero.Valid() || zero.Serial() != nil {
		t.Error("the zero Order is valid")
	}
	ca := ratest.NewCA(t)
	if issued, err := ca.Issue(t.Context(), zero); err == nil || issued.Certificate != nil || len(ca.Issued()) > 0 {
		t.Errorf("issued %v, %v", issued, err)
	}
}
