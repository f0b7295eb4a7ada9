// SPDX-License-Identifier: Apache-2.0

package csrattrs

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/caddy-est/estra/policy"
)

// profileOf compiles a policy with one profile, which has these lines.
func profileOf(t *testing.T, lines string) *policy.Profile {
	t.Helper()
	file, err := policy.Parse("policy.yaml", fmt.Appendf(nil, `
version: 1
name: examples of RFC 9908
default: all
profiles:
  all:
    validity: {default: 1d}
%s`, lines))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	profile, _ := compiled.Profile("")
	return profile
}

// The examples of RFC 9908 section 5 are what policies say that ask for the
// same. Section 5.3 repeats the bytes of 5.6 and speaks of something else.
func TestPoliciesThatSayTheSameMakeTheExamplesOfRFC9908(t *testing.T) {
	const linked = `
    enroll: {who: [{http_basic: {users: [u]}}], linking: required}
    subject: {CN: {require: true, allow: ["*"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    csrattrs: {format: legacy, linking: challengePassword}
`
	for vector, lines := range map[string]string{
		"RFC 9908 section 5.1": `
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    san: {other_name: {"1.3.6.1.5.5.7.8.10": {set: "ia5:rfc8994+fd739fc23c3440112233445500000000+@acp.example.com"}}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    csrattrs: {format: legacy}
`,
		"RFC 9908 section 5.2": linked + `
    key: {ecdsa: [P-384]}
    attributes: {require: [macAddress]}
`,
		"RFC 9908 section 5.4": linked + `
    key: {rsa: [4096], signatures: [SHA256-RSA]}
`,
		"RFC 9908 section 5.5": linked + `
    key: {ecdsa: [P-384], signatures: [ECDSA-SHA384]}
    attributes: {require: [serialNumber]}
`,
		"RFC 9908 section 5.6": linked + `
    key: {ecdsa: [P-521]}
    attributes: {require: [friendlyName, "0.9.2342.19200300.100.1.5", serialNumber]}
`,
	} {
		t.Run(vector, func(t *testing.T) {
			hints := profileOf(t, lines).Hints(policy.SimpleEnroll)
			der, err := Encode(hints)
			if err != nil || !bytes.Equal(der, decode64(t, vectors[vector])) {
				t.Errorf("%x, %v\nwant %x", der, err, decode64(t, vectors[vector]))
			}
			hints.Format = policy.HintBoth
			both, err := Encode(hints)
			if err != nil {
				t.Fatal(err)
			}
			list, err := Parse(both)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := marshalList(list[:len(list)-1]); err != nil || !bytes.Equal(again, der) {
				t.Errorf("beside a template the list is another one: %x, %v", again, err)
			}
			if w, err := Read(list); err != nil || !w.FromTemplate {
				t.Errorf("the template: %+v, %v", w, err)
			}
		})
	}
}
