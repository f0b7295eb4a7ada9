// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"fmt"
	"strings"

	"github.com/caddy-est/estra/policy"
)

// refusalKinds gives the kind for each class of finding.
var refusalKinds = map[policy.Class]Kind{
	policy.BadIdentity:  Forbidden,
	policy.LinkMissing:  LinkRequired,
	policy.LinkFailed:   LinkFailed,
	policy.BadRenewal:   BadRenewal,
	policy.KeyReuse:     KeyReuse,
	policy.BadKey:       BadKey,
	policy.BadExtension: BadExtension,
	policy.ByPolicy:     Refused,
}

// Refusal is what a client is told of a decision that isn't Allow.
func Refusal(d policy.Decision) *Error { return refusal(d) }

// refusal is the error of a decision that isn't Allow.
func refusal(d policy.Decision) *Error {
	switch d.Verdict {
	case policy.Deny:
	case policy.Fault:
		return faulty("the policy failed: "+findingTexts(d.Findings), d)
	case policy.Defer:
		return Fail(Pending, "the policy defers: it waits for approval", nil)
	default:
		return faulty(fmt.Sprintf("the policy answered %s", d.Verdict), d)
	}
	var refusing []policy.Finding
	for _, f := range d.Findings {
		if f.Effect == policy.Refused || f.Effect == policy.Required {
			refusing = append(refusing, f)
		}
	}
	kind := Refused
	first, ok := d.Refusal()
	if ok {
		kind = refusalKinds[first.Class]
	}
	e := Fail(kind, findingTexts(refusing), nil)
	e.Findings = d.Findings
	// What is disclosed explains the kind only where it is of the same class.
	var same, other []string
	for _, f := range refusing {
		switch {
		case !f.Disclose || f.Message == "":
		case f.Class == first.Class:
			same = append(same, f.Message)
		default:
			other = append(other, f.Message)
		}
	}
	if len(same) > 0 {
		e.Public += ": " + strings.Join(same, "; ")
	}
	if len(other) > 0 {
		e.Public += "; besides: " + strings.Join(other, "; ")
	}
	return e
}

func faulty(reason string, d policy.Decision) *Error {
	e := Fail(Fault, reason, nil)
	e.Findings = d.Findings
	return e
}

func findingTexts(findings []policy.Finding) string {
	if len(findings) == 0 {
		return "no finding says why"
	}
	texts := make([]string, len(findings))
	for i, f := range findings {
		texts[i] = f.String()
	}
	return strings.Join(texts, "; ")
}
