// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/upstream/cfssl/cfssltest"
)

// beforeCFSSL is the Caddyfile of an RA before CFSSL.
const beforeCFSSL = `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
		upstream cfssl URL {
			root root.pem
			auth_key_file ra.hex
			profile numbered-devices
			serial
		}
		certificate off
	}
}
`

// byCFSSL sets a part of the subject.
const byCFSSL = `version: 1
name: TEST-CFSSL
default: devices
profiles:
  devices:
    enroll:
      who:
        - http_basic: {users: [estuser], shared: true}
      linking: if_present
    subject:
      CN: {require: true, allow: ["*.site.example.net"]}
      O: {set: "Example Net"}
REWRITE    san:
      dns: {allow: ["*.site.example.net"]}
    usage: {key: [digitalSignature], ext: [USAGES]}
    validity: {default: 1d}
`

func cfsslSite(ca *cfssltest.CA, usages, rewrite string) config {
	return config{
		site:   strings.Replace(beforeCFSSL, "URL", ca.URL, 1),
		policy: strings.NewReplacer("USAGES", usages, "REWRITE", rewrite).Replace(byCFSSL),
		files:  map[string]string{"root.pem": string(ca.RootPEM()), "ra.hex": cfssltest.Key + "\n"},
	}
}

func TestADeviceEnrollsThroughCFSSL(t *testing.T) {
	t.Parallel()
	ca := cfssltest.Start(t, cfssltest.Options{})
	s := serve(t, cfsslSite(ca, "clientAuth, serverAuth", ""))
	status, text, id, leaf := s.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%s", status, text, s.record(id).Reason, ca.Log())
	}
	// In the order of CFSSL.
	if leaf.Subject.String() != "CN=plc-1.site.example.net,O=Example Net" || leaf.CheckSignatureFrom(ca.Intermediate) != nil {
		t.Errorf("the subject is %s, of %s", leaf.Subject, leaf.Issuer)
	}
	record := s.record(id)
	if record.Conforms == nil || !*record.Conforms || record.Upstream == nil || string(record.Upstream.Ref) != leaf.SerialNumber.String() {
		t.Errorf("the record has conforms %v, upstream %+v", record.Conforms, record.Upstream)
	}

	table := s.est(0, "upstream", "check", "cfssl", "--probe", "probe.site.example.net", "--address", s.admin)
	for _, want := range [][2]string{{"root", "CFSSL Test Root"}, {"issuer", "CFSSL Test Intermediate"}, {"profile numbered-devices", "for 24h"},
		{"key", "CFSSL takes it"}, {"clock", "as ours"}, {"probe", "came as planned"}, {"revoke", "is revoked again"}} {
		if !row(table, "cfssl", want[0], "good", want[1]) {
			t.Errorf("no row %v in\n%s", want, table)
		}
	}

	// Another key in the file counts at once, and the right one again.
	write(t, s.dir, "ra.hex", "ff")
	if status, _, id, _ := s.asks("plc-2.site.example.net"); status != http.StatusServiceUnavailable || !strings.Contains(string(s.record(id).Reason), "invalid token") {
		t.Errorf("%d, recorded %s", status, s.record(id).Reason)
	}
	write(t, s.dir, "ra.hex", cfssltest.Key)
	if status, text, _, _ := s.asks("plc-2.site.example.net"); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	if strings.Contains(s.log.String(), cfssltest.Key) {
		t.Error("the key is in the log")
	}
}

func TestCFSSLIsNotAskedForWhatItsProfileDoesOtherwise(t *testing.T) {
	t.Parallel()
	ca := cfssltest.Start(t, cfssltest.Options{})
	s := serve(t, cfsslSite(ca, "clientAuth", ""))
	status, text, id, _ := s.asks("plc-1.site.example.net")
	if record := s.record(id); status != http.StatusBadGateway || record.Kind != "upstream_refused" || !strings.Contains(string(record.Reason), "gives the usages digital signature, client auth, server auth") {
		t.Errorf("%d %s, recorded %s %s", status, text, record.Kind, record.Reason)
	}

	s = prepare(t, cfsslSite(ca, "clientAuth, serverAuth", "      title: {set: Router}\n"))
	if errs, code := s.validate(); code == 0 || !strings.Contains(errs, `policy.yaml:13:15: the upstream \"cfssl\" can't be told the subject's title`) {
		t.Errorf("%d %s", code, errs)
	}
}
