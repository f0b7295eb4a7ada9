// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// ownStepSite is an RA whose own certificate is of step-ca, too.
func ownStepSite(ca *stepcatest.CA, options, certificate string) config {
	c := jwkSite(ca, options)
	c.site = strings.Replace(c.site, "\ttls internal\n", "", 1)
	c.site = strings.Replace(c.site, "certificate off", certificate, 1)
	return c
}

// provisionerOf is in step-ca's own extension, with the id of the provisioner.
func provisionerOf(t *testing.T, c *x509.Certificate) string {
	t.Helper()
	for _, e := range c.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 37476, 9000, 64, 1}) {
			for _, name := range []string{stepcatest.OwnProvisioner, stepcatest.X5CProvisioner, stepcatest.JWKProvisioner} {
				if bytes.Contains(e.Value, []byte(name)) {
					return name
				}
			}
		}
	}
	return ""
}

func TestStepCAIssuesTheOwnCertificateAndTakesItForAnX5CProvisioner(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	ca := stepcatest.Start(t, stepcatest.Options{})
	s := serve(t, ownStepSite(ca, "own_provisioner "+stepcatest.OwnProvisioner, "certificate from step_ca {\n\t\t\tvalidity 91d\n\t\t}"))
	leaf := isOwn(t, s, "localhost")
	if got := provisionerOf(t, leaf); got != stepcatest.JWKProvisioner {
		t.Errorf("the own certificate is of the provisioner %q, want the JWK's", got)
	}
	if leaf.CheckSignatureFrom(ca.Intermediate) != nil {
		t.Errorf("it is issued by %s", leaf.Issuer)
	}
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.issued("simpleenroll", "one", basicOption)
	if got := provisionerOf(t, d.certificate("one")); got != stepcatest.OwnProvisioner {
		t.Errorf("the device's certificate is of the provisioner %q, want the X5C's\n%s", got, ca.Log())
	}
	d.csr("two", "/CN=a.example.net/O=Example Net", "")
	d.issued("simplereenroll", "two", "--cert one.pem --key one.key")
}

// A provisioner without our template issues the CSR's own names, and no
// id-kp-cmcRA.
func TestAnOwnCertificateThatIsNotAsPlannedIsNotServed(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	c := ownStepSite(ca, "own_provisioner "+stepcatest.OwnProvisioner, "certificate from step_ca {\n\t\t\tvalidity 91d\n\t\t}")
	plain := plainSite(t, ca)
	c.site = strings.Replace(c.site, "provisioner "+stepcatest.JWKProvisioner, "provisioner "+stepcatest.PlainProvisioner, 1)
	c.files["est-ra.key"] = plain.files["est-ra.key"]
	s := prepare(t, c)
	s.bare = true
	s.run()
	s.logged(`"level":"error"`, "our own certificate can't be obtained: the site can't be reached by TLS", "planned", "issued")
	if records := s.selves(); len(records) == 0 || records[0]["conforms"] != false || records[0]["kind"] != "nonconforming" {
		t.Errorf("the records are %v", records)
	}
}

func TestASiteComesUpWhileStepCAIsDown(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	ca.Stop()
	s := prepare(t, ownStepSite(ca, "", "certificate from step_ca"))
	s.bare = true
	s.run()
	s.logged(`"level":"error"`, "our own certificate can't be obtained", "no connection to step-ca", `"again_in"`)
	if status, _, _ := s.ready(); status != 503 {
		t.Errorf("/est/ready says %d", status)
	}
	ca.Restart()
	isOwn(t, s, s.awaited("localhost", func(*x509.Certificate) bool { return true }).Subject.CommonName)
	before := s.shows("localhost")[0]
	s.stop()
	ca.Stop()
	s.bare = false
	s.run() // the certificate of before serves
	if after := s.shows("localhost")[0]; !after.Equal(before) {
		t.Error("while step-ca is down, the certificate in the storage isn't served")
	}
}

// A new upstream that can't be reached leaves the site with what it has.
func TestTheCertificateOfAnEarlierUpstreamServesMeanwhile(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	c := ownStepSite(ca, "", "certificate from step_ca")
	s := serve(t, config{site: smallest, policy: devices, files: c.files})
	before := s.shows("localhost")[0]
	ca.Stop()
	s.rewrite("policy policy.yaml", "policy policy.yaml\n\t\tupstream step_ca "+ca.URL+" {\n\t\t\troot root.pem\n\t\t\tprovisioner "+stepcatest.JWKProvisioner+"\n\t\t\tkey est-ra.key\n\t\t}")
	if errs, code := s.reload(); code != 0 {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	s.logged(`"level":"warn"`, "our own certificate can't be renewed; the one that is there goes on", "no connection to step-ca")
	if now := s.shows("localhost")[0]; !now.Equal(before) {
		t.Errorf("served is one of %s", now.Issuer)
	}
	ca.Restart()
	s.awaited("localhost", func(c *x509.Certificate) bool { return c.CheckSignatureFrom(ca.Intermediate) == nil })
}

func TestAnOwnCertificateThatIsTooShortForX5CIsFoundAtLoad(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	for certificate, says := range map[string]string{
		"certificate from step_ca": "write `certificate from step_ca { validity 91d }`",
		"certificate off":          "it is to be shown this server's own certificate, and there is none",
	} {
		c := ownStepSite(ca, "own_provisioner "+stepcatest.OwnProvisioner, certificate)
		s := prepare(t, c)
		if errs, code := s.validate(); code == 0 || !strings.Contains(errs, says) || !strings.Contains(errs, "Caddyfile:") {
			t.Errorf("%s: exit %d, want %q\n%s", certificate, code, says, errs)
		}
	}
	c := ownStepSite(ca, "own_provisioner "+stepcatest.OwnProvisioner+"\n\t\t\tcertificate ra.pem", "certificate from step_ca {\n\t\t\tvalidity 91d\n\t\t}")
	s := prepare(t, c)
	if errs, code := s.validate(); code == 0 || !strings.Contains(errs, "write one of the two") {
		t.Errorf("two certificates: exit %d\n%s", code, errs)
	}
}
