// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"slices"
	"testing"
	"testing/fstest"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

func TestAnOutlineHasWhatEveryCertificateHas(t *testing.T) {
	file, err := Parse("policy.yaml", []byte(`version: 1
name: TEST
default: any
profiles:
  any:
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    subject:
      CN: {allow: ["*.example.net"]}
      O: {set: "Example Ltd"}
      OU: {set: [A, B]}
      serialNumber: {set: {cel: "'SN-' + '7'"}}
    san:
      dns: {allow: ["*.example.net"], wildcard: true}
      upn: {allow: ["**@**"]}
      permanent_identifier: {set: "/SN-8"}
    usage: {key: [digitalSignature, keyEncipherment], ext: [clientAuth]}
    validity: {default: 30d, max: 90d}
`))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(file, fstest.MapFS{})
	if err != nil {
		t.Fatal(err)
	}
	o := p.Profiles()[0].Outline()
	if o.Subject.String() != "O=Example Ltd" {
		t.Errorf("the subject is %s", o.Subject)
	}
	if want := []string{"2.5.4.3", "2.5.4.10", "2.5.4.11", "2.5.4.5"}; !slices.Equal(o.Types, want) {
		t.Errorf("the types are %v", o.Types)
	}
	if want := []csr.NameForm{csr.DNS, csr.OtherName}; !slices.Equal(o.Forms, want) || !o.Wildcards {
		t.Errorf("the forms are %v, wildcards %v", o.Forms, o.Wildcards)
	}
	if o.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment || len(o.ExtKeyUsage) != 1 || o.Longest != 90*24*time.Hour {
		t.Errorf("%b %v %s", o.KeyUsage, o.ExtKeyUsage, o.Longest)
	}
}
