// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

const notIssued = "the authority could not issue"

func TestRefusalsBeforeAndAtStepCA(t *testing.T) {
	t.Parallel()
	// A day is less than the policy's 30.
	ca := stepcatest.Start(t, stepcatest.Options{MaxDuration: 24 * time.Hour})
	s := serve(t, jwkSite(ca, ""))
	d := newDevice(t, s)

	t.Run("what the policy refuses never reaches step-ca", func(t *testing.T) {
		d.csr("bad", "/CN=evil.example.com", "")
		record := d.refused(d.ask("simpleenroll", "bad", basicOption), 403, "refused by policy")
		if record.Outcome != "refused" || record.Upstream != nil || record.Serial != "" {
			t.Errorf("the record has outcome %s, upstream %+v, serial %q", record.Outcome, record.Upstream, record.Serial)
		}
		if strings.Contains(ca.Written(), string(record.ID)) || strings.Contains(ca.Written(), "/1.0/sign") {
			t.Error("step-ca was asked")
		}
	})
	t.Run("what step-ca refuses is 502 without its words", func(t *testing.T) {
		d.csr("long", "/CN=a.example.net", "")
		record := d.refused(d.ask("simpleenroll", "long", basicOption), 502, notIssued)
		if record.Outcome != "failed" || record.Kind != "upstream_refused" || record.Conforms != nil || record.Cert != nil {
			t.Errorf("the record has outcome %s, kind %s, conforms %v, cert %+v", record.Outcome, record.Kind, record.Conforms, record.Cert)
		}
		if !strings.Contains(string(record.Reason), "step-ca answered 403: ") || !strings.Contains(string(record.Reason), "requested duration") {
			t.Errorf("the operator reads %q", record.Reason)
		}
		if !strings.Contains(ca.Written(), string(record.ID)) {
			t.Error("step-ca's log lacks the request id")
		}
	})
	t.Run("a key that step-ca doesn't know is 503, and an alarm", func(t *testing.T) {
		stranger, _, err := stepca.NewJWK()
		if err != nil {
			t.Fatal(err)
		}
		key, err := json.Marshal(stranger)
		if err != nil {
			t.Fatal(err)
		}
		other := serve(t, stepSite(ca, stepcatest.JWKProvisioner, key, ""))
		d := newDevice(t, other)
		d.csr("one", "/CN=a.example.net", "")
		a := d.ask("simpleenroll", "one", basicOption)
		d.retries(a)
		record := d.refused(a, 503, "try again later")
		if !strings.Contains(string(record.Reason), "step-ca answered 401: ") {
			t.Errorf("the operator reads %q", record.Reason)
		}
		other.logged("the CA did not issue as decided", string(record.ID))
	})
}

func TestAProvisionerWithoutTheTemplateIsStopped(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	s := serve(t, plainSite(t, ca))
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	as := func(name string) answer { return d.ask("simpleenroll", "one", "--user "+name+":"+password) }

	// One identity alone stops nothing, however often it comes.
	for _, name := range []string{user, user, user, user, "second", "third"} {
		withheld(t, d, ca, d.refused(as(name), 502, notIssued))
	}
	stopped := as(user)
	record := d.refused(stopped, 503, "try again later")
	d.retries(stopped)
	if record.Cert != nil || record.Upstream != nil || !strings.Contains(string(record.Reason), "`caddy est upstream resume step_ca devices`") {
		t.Errorf("the operator reads %q, cert %+v", record.Reason, record.Cert)
	}
	s.logged("caddy est upstream resume step_ca devices", string(record.ID))
	if strings.Contains(ca.Written(), string(record.ID)) {
		t.Error("step-ca was asked by a stopped upstream")
	}
	if status, _, upstreams := s.ready(); status != 503 || !strings.Contains(upstreams["step_ca"], "for the profiles: devices") {
		t.Errorf("/est/ready: %d %v", status, upstreams)
	}
	resume(t, s)
	withheld(t, d, ca, d.refused(as(user), 502, notIssued))
}

// withheld: the certificate exists at step-ca, is revoked there, and nobody
// got it.
func withheld(t *testing.T, d *device, ca *stepcatest.CA, record audit.Record) {
	t.Helper()
	if record.Conforms == nil || *record.Conforms || record.Outcome != "failed" || record.Kind != "nonconforming" || record.Cert == nil {
		t.Fatalf("the record has conforms %v, outcome %s, kind %s, cert %+v", record.Conforms, record.Outcome, record.Kind, record.Cert)
	}
	for _, want := range []string{"is withheld", "it has been revoked", "subject: planned"} {
		if !strings.Contains(string(record.Reason), want) {
			t.Errorf("the operator reads %q, without %q", record.Reason, want)
		}
	}
	serials := revoked(t, ca)
	if !slices.Contains(serials, record.Cert.Serial) {
		t.Errorf("step-ca's CRL has %v, not %s", serials, record.Cert.Serial)
	}
	d.site.logged("the CA did not issue as decided", string(record.ID))
}

// revoked are the serial numbers in step-ca's CRL.
func revoked(t *testing.T, ca *stepcatest.CA) []string {
	t.Helper()
	up, err := stepca.New(ca.Config())
	if err != nil {
		t.Fatal(err)
	}
	der, err := up.CRL(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	var serials []string
	for _, e := range list.RevokedCertificateEntries {
		serials = append(serials, audit.Serial(e.SerialNumber))
	}
	return serials
}

// resume is the operator's command, with its refusals.
func resume(t *testing.T, s *site) {
	t.Helper()
	command := func(upstream, profile string) (stdout, stderr string, code int) {
		return runCaddy(t, s.dir, "est", "upstream", "resume", upstream, profile, "--address", s.admin)
	}
	if _, stderr, code := command("other", "devices"); code != 2 || !strings.Contains(stderr, "there is: step_ca") {
		t.Errorf("an unknown upstream: exit %d, %s", code, stderr)
	}
	if stdout, stderr, code := command("step_ca", "devices"); code != 0 || stdout != "step_ca issues again for devices\n" {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
	if _, stderr, code := command("step_ca", "devices"); code != 2 || !strings.Contains(stderr, "isn't stopped") {
		t.Errorf("a second time: exit %d, %s", code, stderr)
	}
}
