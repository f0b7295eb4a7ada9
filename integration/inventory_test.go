// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// twoProfiles issue for the same names, so that no name tells them apart.
const twoProfiles = `version: 1
name: TEST-TWO
default: devices
profiles:
  devices:
    labels: [devices]
    enroll: {who: [{http_basic: {users: [estuser], shared: true}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours, profile: devices}}], linking: if_present, window: 100%}
    subject: {CN: {require: true, allow: ["*.example.net"]}, O: {set: "Example Net"}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
  gateways:
    labels: [gateways]
    enroll: {who: [{http_basic: {users: [estuser], shared: true}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours, profile: gateways}}], linking: if_present, window: 100%}
    subject: {CN: {require: true, allow: ["*.example.net"]}, O: {set: "Example Net"}}
    usage: {key: [digitalSignature], ext: [clientAuth, serverAuth]}
    validity: {default: 30d}
`

// TestThreat_ACertificateIsRenewedUnderItsOwnProfileAlone: of two profiles with the same
// names a device of the one doesn't get a certificate of the other.
func TestThreat_ACertificateIsRenewedUnderItsOwnProfileAlone(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: twoProfiles})
	d := newDevice(t, s)
	for _, name := range []string{"one", "two", "three"} {
		d.csr(name, "/O=Example Net/CN=a.example.net", "")
	}
	d.enrol("devices/simpleenroll", "one", basicOption)
	if status, answer := d.post("gateways/simplereenroll", "two", "--cert one.pem --key one.key"); status != "403" {
		t.Errorf("under the other profile: %s %s", status, answer)
	}
	records := s.audits()
	last := records[len(records)-1]
	if said := fmt.Sprint(last["decision"]); !strings.Contains(said, `was issued under the profile "devices", and this line wants one of "gateways"`) {
		t.Errorf("the record says %s", said)
	}
	d.enrol("devices/simplereenroll", "two", "--cert one.pem --key one.key")
	d.enrol("devices/simplereenroll", "three", "--cert two.pem --key two.key") // a renewed one too
	records = s.audits()
	if in, _ := records[len(records)-1]["input"].(map[string]any); in["issued_under"] != "devices" {
		t.Errorf("the record has %v", in["issued_under"])
	}
}
