// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddy-est/estra/policy/csr"
)

const toldPolicy = `version: 1
name: TEST
default: any
profiles:
  any:
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    subject:
      CN: {allow: ["**"]}
      SUBJECT
    san:
      dns: {allow: ["**"]}
      SAN
    attributes: {allow: [ATTRIBUTE]}
    usage: {key: [digitalSignature], ext: [clientAuth, USAGE]}
    validity: {default: 1d}
    upstream: ca
`

// An upstream that carries parts of a plan is refused what it doesn't.
func TestAPolicyMayDecideWhatItsUpstreamCanBeTold(t *testing.T) {
	some := Capabilities{
		SubjectTypes: []string{"2.5.4.3", "2.5.4.10"}, SANForms: []csr.NameForm{csr.DNS, csr.IP}, KeyUsage: true,
		Purposes: []string{"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"},
	}
	all := Capabilities{Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true, Extensions: true}
	for name, c := range map[string]struct {
		place, with string // in toldPolicy
		want        string // of the error; "" for none
	}{
		"a subject attribute that it knows":     {"SUBJECT", `O: {set: "Example"}`, ""},
		"one that it doesn't":                   {"SUBJECT", `OU: {set: "Depot"}`, `the upstream "ca" can't be told the subject's OU, which`},
		"one that passes through":               {"SUBJECT", `OU: {allow: ["**"]}`, ""},
		"two attributes in one RDN":             {"SUBJECT", `O: {set: "Example", beside: CN}`, "can't be told several attributes in one RDN of the subject"},
		"a name that it knows":                  {"SAN", `ip: {set: "192.0.2.7"}`, ""},
		"a name that it doesn't":                {"SAN", `uri: {set: "https://a.example"}`, `can't be told the URI in the SAN, which`},
		"a purpose that it knows":               {"USAGE", "serverAuth", ""},
		"a purpose that it doesn't":             {"USAGE", "codeSigning", "can't be told the extended key usage codeSigning, which `profiles.any.usage.ext` decides; this one can: \"other\""},
		"an attribute that goes into a subject": {"ATTRIBUTE", "{name: O, into: subject}", ""},
		"names that the device changes":         {"ATTRIBUTE", "changeSubjectName", ""},
	} {
		text := strings.NewReplacer(c.place, c.with).Replace(toldPolicy)
		text = strings.NewReplacer("      SUBJECT\n", "", "      SAN\n", "", "ATTRIBUTE", "", ", USAGE", "").Replace(text)
		if c.place == "ATTRIBUTE" {
			text = strings.Replace(text, "    san:\n", "      O: {allow: [\"**\"]}\n    san:\n", 1)
		}
		file, err := Parse("policy.yaml", []byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p, err := Compile(file, fstest.MapFS{})
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		err = p.Bind(Environment{Users: []string{"u"}, Upstreams: map[string]Capabilities{"ca": some, "other": all}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}
