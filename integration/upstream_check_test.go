// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// row tells whether a table of checks has a row.
func row(table, upstream, what, result, detail string) bool {
	pattern := `(?m)^` + regexp.QuoteMeta(upstream) + ` +` + regexp.QuoteMeta(what) + ` +` + result + ` +.*` + regexp.QuoteMeta(detail)
	return regexp.MustCompile(pattern).MatchString(table)
}

func TestACheckOfAStepCASaysHowItStands(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{CRL: true})
	s := serve(t, jwkSite(ca, "crl"))
	table := s.est(0, "upstream", "check", "step_ca", "--probe", "probe.example.net", "--address", s.admin)
	for _, want := range [][3]string{
		{"root", "good", ca.Root.Subject.CommonName},
		{"issuer", "good", ca.Intermediate.Subject.CommonName},
		{"health", "good", "it answers"},
		{"crl", "good", "until "},
		{"provisioner " + stepcatest.JWKProvisioner, "good", "JWK"},
		{"template " + stepcatest.JWKProvisioner, "good", "caddy est step-ca template"},
		{"address " + strings.TrimPrefix(ca.URL, "https://"), "good", "it answers, in "},
		{"clock", "good", "as ours"},
		{"probe", "good", "came as planned"},
		{"revoke", "good", "is revoked again"},
	} {
		if !row(table, "step_ca", want[0], want[1], want[2]) {
			t.Errorf("no row %v in\n%s", want, table)
		}
	}
	probed := false
	for _, r := range s.records() {
		probed = probed || r.Op == "probe" && r.Profile == "estra-probe" && r.Outcome == "issued" && r.RevokesSerial == r.Serial && r.Serial != ""
	}
	if !probed {
		t.Error("the probe has no record")
	}
	if out := s.est(2, "upstream", "check", "other", "--address", s.admin); !strings.Contains(out, `no upstream is named "other"; there is: step_ca`) {
		t.Error(out)
	}
	if out := s.est(2, "upstream", "check", "--probe", "probe.example.net", "--profile", "x", "--address", s.admin); !strings.Contains(out, `no profile "x"`) {
		t.Error(out)
	}
	ca.Stop()
	if out := s.est(2, "upstream", "check", "--address", s.admin); !row(out, "step_ca", "chain", "bad", "no connection to step-ca") {
		t.Error(out)
	}
}

func TestACheckFindsAProvisionerWithoutTheTemplate(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	s := serve(t, plainSite(t, ca))
	table := s.est(2, "upstream", "check", "--address", s.admin)
	if !row(table, "step_ca", "template "+stepcatest.PlainProvisioner, "bad", "it has none") {
		t.Error(table)
	}
	c := jwkSite(ca, "")
	c.site = strings.Replace(c.site, "provisioner "+stepcatest.JWKProvisioner, "provisioner misspelt", 1)
	s = serve(t, c)
	table = s.est(2, "upstream", "check", "--address", s.admin)
	if !row(table, "step_ca", "provisioner misspelt", "bad", "has none of this name") {
		t.Error(table)
	}
}

// The probe shows what no list does: the role issues less than the policy plans.
func TestAProbeFindsWhatTheCAWouldRefuse(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{MaxDuration: 10 * 60 * 1e9})
	s := serve(t, jwkSite(ca, ""))
	table := s.est(2, "upstream", "check", "--probe", "probe.example.net", "--address", s.admin)
	if !row(table, "step_ca", "probe", "bad", "step-ca answered 403") {
		t.Error(table)
	}
}

func TestACheckOfAnESTServerSaysWhetherItTakesOurs(t *testing.T) {
	t.Parallel()
	ra, _ := chained(t, "", behalf, strings.NewReplacer("REWRITE\n", "", "VALIDITY", "31d"))
	table := ra.est(0, "upstream", "check", "--probe", "probe.site.example.net", "--address", ra.admin)
	for _, want := range [][3]string{
		{"RA certificate", "good", "CN=ra.example.net"}, {"/simpleenroll", "good", "takes our RA certificate"}, {"clock", "good", "as ours"},
		{"probe", "skipped", "can't revoke"},
	} {
		if !row(table, "est", want[0], want[1], want[2]) {
			t.Errorf("no row %v in\n%s", want, table)
		}
	}
	refusing, _ := chained(t, "", strings.Replace(behalf, "CN: ra.example.net", "CN: another.example.net", 1), strings.NewReplacer("REWRITE\n", "", "VALIDITY", "31d"))
	table = refusing.est(2, "upstream", "check", "--address", refusing.admin)
	if !row(table, "est", "/simpleenroll", "bad", "no line of its policy") {
		t.Error(table)
	}
}
