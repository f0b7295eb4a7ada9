// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/audit"
)

// TestADeviceGoesFromAPasswordToARenewedCertificate takes the steps of libest's
// estclient, one after the other: the CA's certificates and a linked enrolment by SRP,
// with no certificate trusted, and then a renewal by TLS with what came of that. It is
// a program of ours on OpenSSL, not libest itself.
func TestADeviceGoesFromAPasswordToARenewedCertificate(t *testing.T) {
	t.Parallel()
	program := compiledWith(t, "openssl", "bootstrap.c")
	rules := strings.Replace(linked, "http_basic: {users: [estuser], shared: true}", "srp: {realm: devices}", 1)
	rules = strings.ReplaceAll(rules, "linking: if_present", "linking: required")
	rules = strings.Replace(rules, "      window: 100%\n", "      window: 100%\n      same_key: allow # of which libest makes its next request\n", 1)
	s := serveSRP(t, config{site: smallest, policy: rules})
	dir := t.TempDir()
	device := func(args ...string) string {
		t.Helper()
		out, code := command(t, "", program, append([]string{fmt.Sprint(s.port), "localhost", dir}, args...)...)
		if code != 0 {
			t.Fatalf("%v: exit %d\n%s", args, code, out)
		}
		return out
	}
	bySRP := func(operations ...string) string {
		return device(append([]string{"srp", sensor, sensorPassword}, operations...)...)
	}
	unpack := func(from, to string) {
		sh(t, dir, fmt.Sprintf("openssl base64 -d -in %s | openssl pkcs7 -inform DER -print_certs -out %s", from, to))
	}

	last := func(op policy.Op) (found audit.Record) {
		for _, r := range s.records() {
			if r.Op == op && r.Outcome == "issued" {
				found = r
			}
		}
		return found
	}

	const without = "TLSv1.2 SRP-AES-256-CBC-SHA without a certificate\n"
	if out := bySRP("cacerts", "enroll"); out != without+without { // the session that is offered again isn't taken
		t.Errorf("by SRP: %s", out)
	}
	unpack("enroll", "cert.pem")
	first := last(policy.SimpleEnroll)
	if first.Who == nil || first.Who.Method.String() != "srp" || first.Who.ID.String() != "devices/"+sensor || first.TLS == nil || first.TLS.Linked != "matched" {
		t.Errorf("the record of the enrolment has %+v, %+v", first.Who, first.TLS)
	}

	unpack("cacerts", "anchors.pem") // what came by SRP is trusted from now on
	if out := device("cert", "reenroll"); !strings.HasPrefix(out, "TLSv1.2 ECDHE-") || strings.Contains(out, "without") {
		t.Errorf("by certificate: %s", out)
	}
	unpack("reenroll", "renewed.pem")
	sh(t, dir, "openssl verify -purpose sslclient -CAfile anchors.pem renewed.pem; ! cmp -s cert.pem renewed.pem")
	next := last(policy.SimpleReenroll)
	if next.Who == nil || next.Who.Method.String() != "client_cert" || next.TLS == nil || next.TLS.Linked != "matched" || next.TLS.Version != "1.2" {
		t.Errorf("the record of the renewal has %+v, %+v", next.Who, next.TLS)
	}

	// With a trust anchor libest offers the suites with a certificate too.
	if out := bySRP("cacerts", "enroll"); out != without+without {
		t.Errorf("by SRP, with an anchor: %s", out)
	}
	if out, code := command(t, "", program, fmt.Sprint(s.port), "localhost", dir, "srp", sensor, "wrong", "cacerts"); code == 0 || !strings.Contains(out, "no handshake") {
		t.Errorf("a wrong password: exit %d\n%s", code, out)
	}
	if out, code := command(t, "", program, fmt.Sprint(s.port), "another.example.net", filepath.Dir(dir), "srp", sensor, sensorPassword, "cacerts"); code == 0 {
		t.Errorf("a host without EST: %s", out)
	}
}
