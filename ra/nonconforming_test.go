// SPDX-License-Identifier: Apache-2.0

package ra_test

import (
	"context"
	"crypto/x509"
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// addsAName is what a CA does whose provisioner takes names from elsewhere.
var addsAName = ratest.Knobs{Mutate: san(csrtest.DNS("device.example"), csrtest.DNS("admin.example"))}

// enroll sends a request under a client certificate.
func (s *scene) enroll(t *testing.T, device *x509.Certificate) (ra.Outcome, error) {
	t.Helper()
	req := request(t, policy.SimpleEnroll, "")
	req.Who = policy.Identity{Cert: device, Anchors: []string{"ours"}}
	return s.authority.Enroll(t.Context(), s.profile, req)
}

func (s *scene) devices(t *testing.T, n int) certs {
	t.Helper()
	var devices certs
	for i := range n {
		devices = append(devices, s.upstream.Intermediate.Device(t, fmt.Sprintf("d%d.example", i)).Leaf)
	}
	return devices
}

func TestThreat_ACertificateAgainstTheDecisionIsWithheldAndRevoked(t *testing.T) {
	s := newScene(t)
	s.upstream.Set(addsAName)
	out, err := s.enroll(t, s.devices(t, 1)[0])
	e := check(t, out, err, ra.Nonconforming, ra.StatusFailed)
	if out.Withheld == nil || out.Conforms == nil || *out.Conforms {
		t.Errorf("outcome %+v", out)
	}
	if !strings.Contains(e.Error(), "admin.example") || strings.Contains(e.Public, "admin") {
		t.Errorf("error %q, public %q", e.Error(), e.Public)
	}
	revoked := s.upstream.Revoked()
	if len(revoked) != 1 || revoked[0].SerialNumber.Cmp(out.Withheld.SerialNumber) != 0 || revoked[0].ReasonCode != 9 {
		t.Errorf("revoked: %+v", revoked)
	}
}

func TestThreat_SomebodyElsesCertificateIsWithheldAndNotRevoked(t *testing.T) {
	s := newScene(t)
	other := ratest.NewKey(t)
	s.upstream.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) {
		c.PublicKey = other.Public()
		c.SerialNumber.SetInt64(4711)
	}})
	out, err := s.enroll(t, s.devices(t, 1)[0])
	e := check(t, out, err, ra.Nonconforming, ra.StatusFailed)
	if len(s.upstream.Revoked()) != 0 || !strings.Contains(e.Reason, "isn't revoked") {
		t.Errorf("revoked %d, reason %q", len(s.upstream.Revoked()), e.Reason)
	}
}

func TestRevokingThatFailsIsInTheReason(t *testing.T) {
	for name, test := range map[string]struct {
		upstream func(*ratest.CA) ra.Upstream
		want     string
	}{
		"an upstream that can't revoke": {func(c *ratest.CA) ra.Upstream { return struct{ ra.Upstream }{c} }, "can't revoke"},
		"a panic":                       {func(c *ratest.CA) ra.Upstream { return revokePanics{c} }, "revoking it failed: panic"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			s.upstream.Set(addsAName)
			s.ca.Upstream = test.upstream(s.upstream)
			out, err := s.enroll(t, s.devices(t, 1)[0])
			if e := check(t, out, err, ra.Nonconforming, ra.StatusFailed); !strings.Contains(e.Reason, test.want) {
				t.Errorf("reason %q, want %q", e.Reason, test.want)
			}
		})
	}
}

// Devices with one account are told apart by the names that they ask for.
func TestDevicesWithASharedAccountStopAFaultyCAToo(t *testing.T) {
	s := newScene(t)
	s.upstream.Set(ratest.Knobs{Mutate: func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }})
	enroll := func(name string) (ra.Outcome, error) {
		return s.authority.Enroll(t.Context(), s.profile, request(t, policy.SimpleEnroll, ratest.User,
			csrtest.Subject(csrtest.CN(name))))
	}
	for _, name := range []string{"a.example", "a.example", "a.example", "b.example", "c.example"} {
		if s.ca.Stopped(s.profile.Name()) {
			t.Fatalf("stopped before %s", name)
		}
		out, err := enroll(name)
		check(t, out, err, ra.Nonconforming, ra.StatusFailed)
	}
	if !s.ca.Stopped(s.profile.Name()) {
		t.Error("three devices, and the CA is still asked")
	}
}

func TestThreeIdentitiesInARowStopUpstreamAndProfile(t *testing.T) {
	s := newScene(t)
	devices := s.devices(t, 4)
	fails := func(device *x509.Certificate, kind ra.Kind) *ra.Error {
		t.Helper()
		out, err := s.enroll(t, device)
		return check(t, out, err, kind, ra.StatusFailed)
	}
	s.upstream.Set(addsAName)
	for range 5 {
		fails(devices[0], ra.Nonconforming) // one strange device stops nobody else
	}
	fails(devices[1], ra.Nonconforming)
	if s.ca.Stopped("any") {
		t.Fatal("two identities stopped the profile")
	}
	s.upstream.Set(ratest.Knobs{})
	if _, err := s.enroll(t, devices[2]); err != nil {
		t.Fatal(err)
	}
	s.upstream.Set(addsAName)
	for _, device := range devices[:2] {
		fails(device, ra.Nonconforming) // the success began a new row
	}
	if e := fails(devices[2], ra.Nonconforming); !s.ca.Stopped("any") || !strings.Contains(e.Reason, "stopped") {
		t.Fatalf("three identities didn't stop the profile: %v", e)
	}

	s.upstream.Set(ratest.Knobs{})
	orders := len(s.upstream.Orders())
	e := fails(devices[3], ra.UpstreamDown)
	if !strings.Contains(e.Reason, "`caddy est upstream resume test any`") {
		t.Errorf("reason %q", e.Reason)
	}
	if len(s.upstream.Orders()) != orders {
		t.Error("a stopped CA was asked")
	}
	if s.ca.Stopped("other") || fmt.Sprint(s.ca.Stops()) != "[any]" {
		t.Errorf("stopped: %q", s.ca.Stops())
	}
	if s.ca.Resume("other") || !s.ca.Resume("any") || s.ca.Resume("any") {
		t.Error("Resume doesn't say what was stopped")
	}
	if _, err := s.enroll(t, devices[3]); err != nil {
		t.Errorf("after Resume: %v", err)
	}
}

func TestANewIssuingCertificateIsLearntWhenItFirstSigns(t *testing.T) {
	s := newScene(t)
	if _, err := s.ca.Chain(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := s.upstream.Root.Sub(t, "Next Issuing CA")
	s.upstream.Publish(s.upstream.Root.Certificate, next.Certificate)
	s.upstream.Set(ratest.Knobs{Sign: &next})
	device := s.devices(t, 1)[0]
	if _, err := s.enroll(t, device); err != nil {
		t.Errorf("a published one: %v", err)
	}
	sibling := s.upstream.Root.Sub(t, "Sibling")
	s.upstream.Set(ratest.Knobs{Sign: &sibling})
	out, err := s.enroll(t, device)
	check(t, out, err, ra.Nonconforming, ra.StatusFailed)
}

type revokePanics struct{ *ratest.CA }

func (revokePanics) Revoke(context.Context, *x509.Certificate, int) error { panic("Revoke") }

// tolerant declares what a test's CA adds, and takes no serial number.
type tolerant struct{ *ratest.CA }

func (tolerant) Tolerates() ra.Tolerated {
	return ra.Tolerated{Extensions: []string{oidAdded.String()}}
}

func (c tolerant) Carries() policy.Capabilities {
	carries := c.CA.Carries()
	carries.Serial = false
	return carries
}

func TestAnAdapterSaysWhatItsCAAdds(t *testing.T) {
	adds := ratest.Knobs{Mutate: func(c *x509.Certificate) {
		replaced(oidAdded, false, []byte{5, 0})(c)
		c.SerialNumber.SetInt64(4711)
	}}
	s := newScene(t)
	s.upstream.Set(adds)
	device := s.devices(t, 1)[0]
	out, err := s.enroll(t, device)
	check(t, out, err, ra.Nonconforming, ra.StatusFailed)
	s.ca.Upstream = tolerant{s.upstream}
	if out, err = s.enroll(t, device); err != nil || out.Certificate.SerialNumber.Int64() != 4711 {
		t.Errorf("with a tolerance: %v", err)
	}
}
