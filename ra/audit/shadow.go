// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/diff"
)

// Shadow is what the shadow policy decides otherwise than the one in force.
// It has no part in the answer.
type Shadow struct {
	// Policy is the shadow policy's file.
	Policy Policy `json:"policy"`
	// Verdict is what it would have said: allow, deny, defer or fault.
	Verdict string `json:"verdict"`
	// Reasons are the paths of the rules that refuse, in the policy that does;
	// "gate" where the authentication gate is open in one policy alone. At most
	// MaxList.
	Reasons []Text `json:"reasons,omitempty"`
	// Plan are the parts of the certificate that would differ.
	Plan []ShadowPart `json:"plan,omitempty"`
}

// ShadowPart is one part of a plan: subject, san, key_usage, ext_key_usage,
// extensions, validity or upstream.
type ShadowPart struct {
	Part string `json:"part"`
	Live Text   `json:"live"`
	New  Text   `json:"shadow"`
}

// OfDifference tells how a shadow policy differs.
func OfDifference(p *policy.Policy, d diff.Difference) *Shadow {
	s := &Shadow{Policy: Policy{Name: Text(p.Name()), SHA256: p.SHA256()}, Verdict: d.New.String()}
	for _, reason := range d.Reasons[:min(len(d.Reasons), MaxList)] {
		s.Reasons = append(s.Reasons, Text(reason))
	}
	for _, part := range d.Plan {
		s.Plan = append(s.Plan, ShadowPart{part.Name, Text(part.Old), Text(part.New)})
	}
	return s
}
