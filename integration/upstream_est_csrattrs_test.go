// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/csrattrs"
	"github.com/caddy-est/estra/ra/estclient"
)

// wants is what a site's /csrattrs says to a device.
func (s *site) wants() csrattrs.Wanted {
	s.t.Helper()
	client := &estclient.Client{URL: fmt.Sprintf("https://localhost:%d", s.port), Implicit: s.tlsPool()}
	wanted, err := client.Wanted(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return wanted
}

// What headquarters asks for, the RA asks its devices for, as far as its own policy
// takes it; a device that does so is granted at both.
func TestWhatTheServerAsksForIsAskedOfTheDevicesOfItsRA(t *testing.T) {
	t.Parallel()
	const demands = behalf + `
    key: {ecdsa: [P-384]}
    attributes: {require: [macAddress], allow: [friendlyName]}
    extensions: {require: [tlsFeature]}`
	const takes = `    key: {ecdsa: [P-256, P-384]}
    attributes: {allow: [macAddress]}
`
	ra, _ := chained(t, "", demands, strings.NewReplacer("REWRITE\n", takes, "VALIDITY", "31d"))
	wanted := ra.wants()
	if len(wanted.Keys) != 1 || wanted.Keys[0].Curve != "P-384" {
		t.Errorf("the keys are %+v", wanted.Keys)
	}
	var attributes []string
	for _, a := range wanted.Attributes {
		attributes = append(attributes, a.Type.String())
	}
	if got := strings.Join(attributes, " "); got != "1.3.6.1.1.1.1.22" {
		t.Errorf("the attributes are %s", got)
	}
	for _, e := range wanted.Extensions {
		if e.ID.String() == "1.3.6.1.5.5.7.1.24" {
			t.Error("it asks for an extension that its own policy refuses")
		}
	}
	const says = "extension: the CA wants tlsFeature, and the profile refuses it"
	table := ra.est(0, "upstream", "check", "est", "--address", ra.admin)
	if !row(table, "est", "csrattrs", "good", "keys ECDSA P-384, attribute macAddress, extension keyUsage, extension extKeyUsage, extension tlsFeature") || !row(table, "est", "csrattrs devices", "warning", says) {
		t.Errorf("the table is\n%s", table)
	}
	ra.logged("upstream est: what its /csrattrs says doesn't fit the profile devices, which stands: " + says)
	ra.waitFor(`caddy_est_csrattrs_conflicts{profile="devices",upstream="est"} 1`)
}

// A device that does as the RA says satisfies headquarters.
func TestARequestAsTheRAAsksForItIsGrantedByTheServer(t *testing.T) {
	t.Parallel()
	const demands = behalf + `
    key: {ecdsa: [P-384]}
    attributes: {require: [macAddress]}`
	ra, hq := chained(t, "", demands, strings.NewReplacer("REWRITE\n", "    attributes: {ignore: [macAddress]}\n", "VALIDITY", "31d"))
	const name = "plc-2.site.example.net"
	mac := csrtest.Attribute("1.3.6.1.1.1.1.22", csrtest.IA5("00:11:22:33:44:55"))
	status, _, id, _ := ra.asks(name, csrtest.SAN(csrtest.DNS(name)), mac)
	if record := ra.record(id); status != http.StatusBadGateway || !strings.Contains(string(record.Reason), "answered 403") {
		t.Errorf("a key on P-256: %d, %s", status, record.Reason)
	}
	if wanted := ra.wants(); len(wanted.Keys) != 1 || wanted.Keys[0].Curve != "P-384" || len(wanted.Attributes) != 1 {
		t.Fatalf("it wants %+v", wanted)
	}
	status, text, id, leaf := ra.asks(name, csrtest.Signer(csrtest.NewKey(t, "P-384")), csrtest.SAN(csrtest.DNS(name)), mac)
	if status != http.StatusOK || leaf.PublicKeyAlgorithm != x509.ECDSA {
		t.Fatalf("%d %s: %s\n%s", status, text, ra.record(id).Reason, hq.log)
	}
}
