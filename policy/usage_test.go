// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
)

// What a client is told follows from the class of a finding, which the cases
// under testdata/decide don't show.
func TestARefusedUsageSaysWhetherItIsTheKeyOrTheExtension(t *testing.T) {
	rsaOnly := strings.Replace(smallest, "usage: {key: [digitalSignature]", "key: {rsa: [2048]}\n    usage: {key: [keyEncipherment]", 1)
	for name, test := range map[string]struct {
		policy, request string
		path            string
		class           Class
	}{
		"no key usage is left":            {rsaOnly, "key P-256", "profiles.all.usage.key", BadKey},
		"a key usage is reversed":         {smallest, "ku keyAgreement", "profiles.all.usage.key", BadExtension},
		"an extended key usage is turned": {smallest, "eku serverAuth", "profiles.all.usage.ext", BadExtension},
	} {
		t.Run(name, func(t *testing.T) {
			profile, _ := mustCompile(t, "p.yaml", []byte(test.policy)).Profile("")
			request := parseRequest(t, "account http_basic anna\nsubject CN=a.example.net\n"+test.request)
			decision := profile.Decide(request)
			var got []Class
			for _, f := range decision.Findings {
				if f.Effect == Refused && f.Path == test.path {
					got = append(got, f.Class)
				}
			}
			if decision.Verdict != Deny || len(got) != 1 || got[0] != test.class {
				t.Errorf("%v, classes %v, want %v: %v", decision.Verdict, got, test.class, decision.Findings)
			}
		})
	}
}

// A certificate without the extension, or with anyExtendedKeyUsage, can be used
// for what was asked, so nothing is reversed.
func TestAUsageThatRestrictsNothingReversesNothing(t *testing.T) {
	text := strings.Replace(smallest, "usage: {key: [digitalSignature], ext: [clientAuth]}", "usage: {key: [], ext: [anyExtendedKeyUsage]}", 1)
	text = strings.Replace(text, "profiles:", "guardrails: {never: [CA:TRUE]}\nprofiles:", 1)
	profile, _ := mustCompile(t, "p.yaml", []byte(text)).Profile("")
	for _, asked := range []string{"ku keyAgreement", "eku serverAuth"} {
		decision := profile.Decide(parseRequest(t, "account http_basic anna\nsubject CN=a.example.net\n"+asked))
		if decision.Verdict != Allow || len(decision.Findings) != 1 || decision.Findings[0].Effect != Rewritten {
			t.Errorf("%s: %v: %v", asked, decision.Verdict, decision.Findings)
		}
	}
}
