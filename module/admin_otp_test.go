// SPDX-License-Identifier: Apache-2.0

package module

import (
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/store"
)

const otpProfiles = `
version: 1
name: otp
default: plain
profiles:
  plain:
    enroll: {who: [{one_time_password: {}}], linking: if_present}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
  cmc:
    labels: [cmc]
    fullcmc: {enroll: {who: [{one_time_password: {}}], linking: required}}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
  old:
    labels: [old]
    fullcmc: {enroll: {who: [{one_time_password: {v1: true}}], linking: required}}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
  none:
    labels: [none]
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestPasswordsThatWouldBeGoodForNothingAreNotMade(t *testing.T) {
	file, err := policy.Parse("policy.yaml", []byte(otpProfiles))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &App{handlers: []*Handler{{policy: compiled}}}
	for name, test := range map[string]struct {
		template store.Template
		want     string // "": it is made
	}{
		"for HTTP Basic":                          {store.Template{}, ""},
		"for CMC":                                 {store.Template{Label: "cmc", Proof: true}, ""},
		"for CMC, made for Basic alone":           {store.Template{Label: "cmc"}, "make it with --cmc"},
		"for CMC, of the first version":           {store.Template{Label: "old", Proof: true, ProofV1: true}, ""},
		"for CMC where it may be the first":       {store.Template{Label: "old", Proof: true}, ""},
		"of the first version, which isn't taken": {store.Template{Label: "cmc", Proof: true, ProofV1: true}, "without --cmc-v1"},
		"of the first version, for Basic":         {store.Template{Proof: true, ProofV1: true}, "without --cmc-v1"},
		"where none is taken":                     {store.Template{Label: "none"}, "good for nothing"},
		"at a label that there isn't":             {store.Template{Label: "x"}, `no policy has the label "x"`},
	} {
		err := a.takesPasswords(test.template)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}
