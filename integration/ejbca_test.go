// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/x509"
	"encoding/asn1"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/upstream/ejbca/ejbcatest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// beforeEJBCA is the Caddyfile of an RA before an EJBCA.
const beforeEJBCA = `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
		upstream ejbca URL {
			root root.pem
			ca "` + ejbcatest.CAName + `"
			certificate_profile estra-devices
			end_entity_profile ` + ejbcatest.EndEntityProfile + `
			extensions
			certificate ra.pem
			key ra.key
			crl
		}
		certificate off
	}
}
`

const byEJBCA = `version: 1
name: TEST-EJBCA
default: devices
profiles:
  devices:
    enroll:
      who:
        - http_basic: {users: [estuser], shared: true}
      linking: if_present
    subject:
      CN: {require: true, allow: ["*.site.example.net"]}
      O: {set: "Example, Net"}
    san:
      dns: {allow: ["*.site.example.net"]}
      uri: {set: "urn:example:site:berlin"}
    extensions: {set: {"1.3.6.1.4.1.32473.1.2": {utf8: "depot 7"}}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
`

// ejbcaSite is a site before a fake server, which has the policy's profile.
func ejbcaSite(t *testing.T) (*ejbcatest.Fake, config) {
	f := ejbcatest.NewFake(t)
	f.AddProfile("estra-devices", x509.KeyUsageDigitalSignature, []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}})
	return f, config{
		site: strings.Replace(beforeEJBCA, "URL", f.URL, 1), policy: byEJBCA,
		files: map[string]string{
			"root.pem": armour("CERTIFICATE", f.CA.Root.Certificate.Raw), "ra.pem": armour("CERTIFICATE", f.RA.Certificate[0]),
			"ra.key": string(upstreamtest.KeyPEM(t, f.RA.PrivateKey)),
		},
	}
}

func TestADeviceEnrollsThroughAnEJBCA(t *testing.T) {
	t.Parallel()
	f, c := ejbcaSite(t)
	s := serve(t, c)
	status, text, id, leaf := s.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%v", status, text, s.record(id).Reason, f.Calls())
	}
	if leaf.Subject.String() != "CN=plc-1.site.example.net,O=Example\\, Net" || leaf.CheckSignatureFrom(f.CA.Intermediate.Certificate) != nil || len(leaf.URIs) != 1 {
		t.Errorf("the subject is %s, of %s, with %v", leaf.Subject, leaf.Issuer, leaf.URIs)
	}
	if record := s.record(id); record.Conforms == nil || !*record.Conforms || record.Upstream == nil || string(record.Upstream.Ref) != strings.ToUpper(leaf.SerialNumber.Text(16)) || !leaf.NotAfter.Equal(record.Plan.NotAfter) {
		t.Errorf("the record has conforms %v, upstream %+v", record.Conforms, record.Upstream)
	}

	// A certificate that isn't as planned is withheld, and revoked there.
	var made *x509.Certificate
	f.Change(func(f *ejbcatest.Fake) {
		f.Issue = func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement; made = c }
	})
	status, text, id, _ = s.asks("plc-2.site.example.net")
	if record := s.record(id); status != http.StatusBadGateway || record.Kind != "nonconforming" || !strings.Contains(string(record.Reason), "it has been revoked") || f.Revoked(made) == "" {
		t.Errorf("%d %s, recorded %s %s", status, text, record.Kind, record.Reason)
	}

	// The server's own words are for operators.
	f.Change(func(f *ejbcatest.Fake) {
		f.Issue, f.Instead = nil, func(w http.ResponseWriter, _ *http.Request) bool {
			http.Error(w, `{"error_code":503,"error_message":"Device was unavailable."}`, http.StatusServiceUnavailable)
			return true
		}
	})
	status, text, id, _ = s.asks("plc-3.site.example.net")
	if record := s.record(id); status != http.StatusServiceUnavailable || record.Kind != "upstream_down" || !strings.Contains(string(record.Reason), "EJBCA answered 503: Device was unavailable.") || strings.Contains(text, "EJBCA") {
		t.Errorf("%d %s, recorded %s %s", status, text, record.Kind, record.Reason)
	}
}

// A device that repeats its request gets what was approved at EJBCA meanwhile.
func TestADeviceWaitsForAnApprovalAtAnEJBCA(t *testing.T) {
	t.Parallel()
	for state, want := range map[string]int{ejbcatest.Approved: http.StatusOK, ejbcatest.Rejected: http.StatusBadGateway} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			f, c := ejbcaSite(t)
			f.Change(func(f *ejbcatest.Fake) { f.Approvals = true })
			s := serve(t, c)
			key := csrtest.Signer(newKey(t))
			for range 2 {
				status, text, id, _ := s.asks("plc-1.site.example.net", key)
				if status != http.StatusAccepted || s.record(id).Outcome != "pending" {
					t.Fatalf("%d %s, recorded %+v", status, text, s.record(id))
				}
			}
			f.Decide(state)
			status, text, id, _ := s.asks("plc-1.site.example.net", key)
			if status != want || state == ejbcatest.Rejected && !strings.Contains(string(s.record(id).Reason), "has been rejected") {
				t.Errorf("%d %s, recorded %s\n%v", status, text, s.record(id).Reason, f.Calls())
			}
			added := 0
			for _, call := range f.Calls() {
				if call == "POST v1/endentity" {
					added++
				}
			}
			if added != 1 {
				t.Errorf("%d end entities were added", added)
			}
		})
	}
}

// Our own certificate, which another upstream issues, is the RA's.
func TestOurOwnCertificateIsShownToAnEJBCA(t *testing.T) {
	t.Parallel()
	f, c := ejbcaSite(t)
	f.Change(func(f *ejbcatest.Fake) { f.AnyCertificate = true })
	c.policy += "    upstream: ejbca\n"
	c.site = strings.NewReplacer("\ttls internal\n", "", "\t\t\tcertificate ra.pem\n\t\t\tkey ra.key\n", "",
		"\t\tcertificate off\n", "\t\tupstream internal\n\t\tcertificate from internal\n").Replace(c.site)
	s := serve(t, c)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		status, _, id, _ := s.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")))
		if status == http.StatusOK {
			return
		}
		// Until there is one, it is what is missing.
		if record := s.record(id); status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			t.Fatalf("%d, recorded %s %s", status, record.Kind, record.Reason)
		}
	}
}

func TestTheCheckOfAnEJBCA(t *testing.T) {
	t.Parallel()
	_, c := ejbcaSite(t)
	s := serve(t, c)
	table := s.est(0, "upstream", "check", "ejbca", "--probe", "probe.site.example.net", "--address", s.admin)
	for _, want := range [][2]string{{"health", "it answers"}, {"crl", "until"}, {"end entities", "EJBCA 9"}, {"CA " + ejbcatest.CAName, "CN=Test Issuing CA"}, {"probe", "as planned"}, {"revoke", "is revoked again"}} {
		if !row(table, "ejbca", want[0], "good", want[1]) {
			t.Errorf("no row %v in\n%s", want, table)
		}
	}
}
