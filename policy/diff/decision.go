// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// A Difference is what two policies decide otherwise of one request.
type Difference struct {
	Old, New policy.Verdict
	// Plan has the parts of the certificate that differ, where both allow:
	// subject, san, key_usage, ext_key_usage, extensions, validity, upstream,
	// made_key.
	Plan []Part
	// Reasons are the paths of the rules that refuse, in the policy that does.
	Reasons []string
}

// A Part is one part of a plan.
type Part struct{ Name, Old, New string }

// Decisions compares what two policies decided of one request. It is false
// when they agree: the same verdict and, where both allow, the same plan. Why
// both refuse doesn't matter.
func Decisions(before, after policy.Decision) (Difference, bool) {
	d := Difference{Old: before.Verdict, New: after.Verdict}
	if before.Verdict != after.Verdict {
		refusing := after
		if after.Verdict == policy.Allow {
			refusing = before
		}
		d.Reasons = Reasons(refusing)
		return d, true
	}
	if before.Verdict != policy.Allow {
		return d, false
	}
	d.Plan = append(parts(before.Plan, after.Plan), keygenParts(before.Keygen, after.Keygen)...)
	return d, len(d.Plan) > 0
}

// keygenParts: the key that is made, and how it goes out.
func keygenParts(before, after *policy.Keygen) []Part {
	if before == nil || after == nil || before.String() == after.String() {
		return nil
	}
	return []Part{{"made_key", before.String(), after.String()}}
}

// Reasons gives the paths of the rules that refuse, each once, in the order of
// the findings.
func Reasons(d policy.Decision) []string {
	var paths []string
	for _, f := range d.Findings {
		if (f.Effect == policy.Refused || f.Effect == policy.Required) && !slices.Contains(paths, f.Path) {
			paths = append(paths, f.Path)
		}
	}
	return paths
}

func parts(before, after policy.Plan) []Part {
	var list []Part
	add := func(name string, same bool, from, to string) {
		if !same {
			list = append(list, Part{name, from, to})
		}
	}
	// A subject that is equal in another encoding is another certificate.
	add("subject", before.Names.EqualDER(csr.Names{Subject: after.Names.Subject, SAN: before.Names.SAN, HasSAN: before.Names.HasSAN}),
		before.Names.Subject.String(), after.Names.Subject.String())
	add("san", sameSAN(before, after), sanText(before), sanText(after))
	add("key_usage", before.KeyUsage == after.KeyUsage,
		strings.Join(policy.KeyUsageNames(before.KeyUsage), ", "), strings.Join(policy.KeyUsageNames(after.KeyUsage), ", "))
	ext := func(p policy.Plan) string {
		texts := make([]string, len(p.ExtKeyUsage))
		for i, oid := range p.ExtKeyUsage {
			texts[i] = oid.String()
		}
		slices.Sort(texts)
		return strings.Join(texts, ", ")
	}
	add("ext_key_usage", ext(before) == ext(after), ext(before), ext(after))
	extensions := func(p policy.Plan) string {
		texts := make([]string, len(p.Extensions))
		for i, e := range p.Extensions {
			texts[i] = fmt.Sprintf("%s critical=%t %x", e.ID, e.Critical, e.Value)
		}
		slices.Sort(texts)
		return strings.Join(texts, ", ")
	}
	add("extensions", extensions(before) == extensions(after), extensions(before), extensions(after))
	add("validity", before.Validity == after.Validity, policy.DurationText(before.Validity), policy.DurationText(after.Validity))
	add("upstream", before.Upstream == after.Upstream || before.Upstream == "" || after.Upstream == "", before.Upstream, after.Upstream)
	return list
}

func sameSAN(before, after policy.Plan) bool {
	return before.SANCritical == after.SANCritical && sanText(before) == sanText(after)
}

// sanText sorts: the order of names means nothing.
func sanText(p policy.Plan) string {
	texts := make([]string, len(p.Names.SAN))
	for i, name := range p.Names.SAN {
		texts[i] = name.String()
	}
	slices.Sort(texts)
	return strings.Join(texts, ", ")
}
