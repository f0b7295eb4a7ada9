// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy"
)

func TestRefusalTakesKindAndTextsFromTheFindings(t *testing.T) {
	refused := func(classes ...policy.Class) []policy.Finding {
		var findings []policy.Finding
		for _, class := range classes {
			findings = append(findings, policy.Finding{Effect: policy.Refused, Class: class, Message: "why"})
		}
		return findings
	}
	shown := policy.Finding{Effect: policy.Refused, Message: "take the serial number", Disclose: true}
	warned := policy.Finding{Effect: policy.Warned, Class: policy.BadIdentity, Message: "only a warning", Disclose: true}
	for name, test := range map[string]struct {
		decision policy.Decision
		kind     Kind
		public   string
	}{
		"the zero decision":                 {kind: Refused, public: "refused by policy"},
		"an ordinary refusal":               {policy.Decision{Findings: refused(policy.ByPolicy)}, Refused, "refused by policy"},
		"a required value":                  {policy.Decision{Findings: []policy.Finding{{Effect: policy.Required, Class: policy.LinkMissing}}}, LinkRequired, rows[LinkRequired].public},
		"an identity is the first to count": {policy.Decision{Findings: refused(policy.ByPolicy, policy.BadKey, policy.BadIdentity)}, Forbidden, rows[Forbidden].public},
		"wrong linking":                     {policy.Decision{Findings: refused(policy.BadKey, policy.LinkFailed)}, LinkFailed, rows[LinkFailed].public},
		"a renewal":                         {policy.Decision{Findings: refused(policy.KeyReuse, policy.BadRenewal)}, BadRenewal, rows[BadRenewal].public},
		"the old key":                       {policy.Decision{Findings: refused(policy.BadKey, policy.KeyReuse)}, KeyReuse, rows[KeyReuse].public},
		"a key before a name":               {policy.Decision{Findings: refused(policy.ByPolicy, policy.BadKey)}, BadKey, rows[BadKey].public},
		"an extension before a name":        {policy.Decision{Findings: refused(policy.ByPolicy, policy.BadExtension)}, BadExtension, rows[BadExtension].public},
		"a warning doesn't count":           {policy.Decision{Findings: append(refused(policy.ByPolicy), warned)}, Refused, "refused by policy"},
		"a text for the client":             {policy.Decision{Findings: append(refused(policy.ByPolicy), shown)}, Refused, "refused by policy: take the serial number"},
		"a text that is about something else": {policy.Decision{Findings: append(refused(policy.KeyReuse), shown)}, KeyReuse,
			rows[KeyReuse].public + "; besides: take the serial number"},
		"a fault of the policy": {policy.Decision{Verdict: policy.Fault, Findings: []policy.Finding{shown}}, Fault, rows[Fault].public},
		"a deferral":            {policy.Decision{Verdict: policy.Defer}, Pending, rows[Pending].public},
		"an unknown verdict":    {policy.Decision{Verdict: 99}, Fault, rows[Fault].public},
	} {
		t.Run(name, func(t *testing.T) {
			e := refusal(test.decision)
			if e.Kind != test.kind || e.Public != test.public || e.Reason == "" {
				t.Errorf("got %s, %q, reason %q", e.Kind, e.Public, e.Reason)
			}
			if len(e.Findings) != len(test.decision.Findings) {
				t.Errorf("%d findings", len(e.Findings))
			}
			if strings.Contains(e.Reason, "only a warning") {
				t.Errorf("the reason names what doesn't refuse: %s", e.Reason)
			}
		})
	}
}

func TestEveryClassHasAKind(t *testing.T) {
	for class := policy.ByPolicy; class <= policy.BadIdentity; class++ {
		if refusalKinds[class] == Fault {
			t.Errorf("class %d has no kind of its own", class)
		}
	}
}
