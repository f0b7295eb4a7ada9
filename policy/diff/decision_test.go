// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"encoding/asn1"
	"slices"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

func TestDecisionsDifferInTheVerdictAndInEachPartOfThePlan(t *testing.T) {
	name := func(text string) csr.GeneralName {
		g, err := csr.NewName(csr.DNS, text)
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	cn := func(text string) csr.Name {
		return csr.Name{{csr.NewAttributeValue(asn1.ObjectIdentifier{2, 5, 4, 3}, text)}}
	}
	allowed := func(change func(*policy.Plan)) policy.Decision {
		p := policy.Plan{
			Names:    csr.Names{Subject: cn("a"), SAN: []csr.GeneralName{name("a.example"), name("b.example")}, HasSAN: true},
			KeyUsage: 1, ExtKeyUsage: []asn1.ObjectIdentifier{{1, 2}, {1, 3}}, Validity: time.Hour, Upstream: "ca",
		}
		if change != nil {
			change(&p)
		}
		return policy.Decision{Verdict: policy.Allow, Plan: p}
	}
	denied := policy.Decision{Findings: []policy.Finding{{Path: "x", Effect: policy.Refused}, {Path: "y", Effect: policy.Warned}, {Path: "x", Effect: policy.Required}}}
	deferred := func(needs int, change func(*policy.Plan)) policy.Decision {
		d := allowed(change)
		d.Verdict, d.Approval = policy.Defer, &policy.Approval{Needs: needs, Path: "w"}
		return d
	}
	for title, c := range map[string]struct {
		before, after policy.Decision
		parts         []string
		reasons       []string
		same          bool
	}{
		"equal plans":                    {allowed(nil), allowed(nil), nil, nil, true},
		"two refusals":                   {denied, policy.Decision{}, nil, nil, true},
		"now refused":                    {allowed(nil), denied, nil, []string{"x"}, false},
		"now allowed":                    {denied, allowed(nil), nil, []string{"x"}, false},
		"now approved by people":         {allowed(nil), deferred(1, nil), nil, []string{"w"}, false},
		"now approved by nobody":         {deferred(1, nil), allowed(func(p *policy.Plan) { p.Validity = 2 * time.Hour }), []string{"validity"}, []string{"w"}, false},
		"approved, where it was refused": {denied, deferred(2, nil), nil, []string{"x"}, false},
		"approved by more people":        {deferred(1, nil), deferred(2, nil), []string{"approvals"}, nil, false},
		"another subject to approve":     {deferred(1, nil), deferred(1, func(p *policy.Plan) { p.Names.Subject = cn("b") }), []string{"subject"}, nil, false},
		"the same to approve":            {deferred(1, nil), deferred(1, nil), nil, nil, true},
		"another subject":                {allowed(nil), allowed(func(p *policy.Plan) { p.Names.Subject = cn("b") }), []string{"subject"}, nil, false},
		"names in another order":         {allowed(nil), allowed(func(p *policy.Plan) { slices.Reverse(p.Names.SAN) }), nil, nil, true},
		"a name more":                    {allowed(nil), allowed(func(p *policy.Plan) { p.Names.SAN = append(p.Names.SAN, name("c.example")) }), []string{"san"}, nil, false},
		"a critical SAN":                 {allowed(nil), allowed(func(p *policy.Plan) { p.SANCritical = true }), []string{"san"}, nil, false},
		"another usage":                  {allowed(nil), allowed(func(p *policy.Plan) { p.KeyUsage, p.ExtKeyUsage = 4, p.ExtKeyUsage[:1] }), []string{"key_usage", "ext_key_usage"}, nil, false},
		"an extension":                   {allowed(nil), allowed(func(p *policy.Plan) { p.Extensions = []csr.Extension{{ID: asn1.ObjectIdentifier{1, 2}}} }), []string{"extensions"}, nil, false},
		"a longer life":                  {allowed(nil), allowed(func(p *policy.Plan) { p.Validity = 2 * time.Hour }), []string{"validity"}, nil, false},
		"another CA":                     {allowed(nil), allowed(func(p *policy.Plan) { p.Upstream = "other" }), []string{"upstream"}, nil, false},
		"the only CA, without a name":    {allowed(nil), allowed(func(p *policy.Plan) { p.Upstream = "" }), nil, nil, true},
	} {
		t.Run(title, func(t *testing.T) {
			d, differs := Decisions(c.before, c.after)
			var names []string
			for _, p := range d.Plan {
				names = append(names, p.Name)
			}
			if differs == c.same || !slices.Equal(names, c.parts) || !slices.Equal(d.Reasons, c.reasons) {
				t.Errorf("differs: %v, parts %v, reasons %v", differs, names, d.Reasons)
			}
		})
	}
}
