// SPDX-License-Identifier: Apache-2.0

package diff

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
)

// A Difference is what two policies decide otherwise of one request.
type Difference struct {
	Old, New policy.Verdict
	// Plan has the parts of the certificate that differ, where both grant it:
	// subject, san, key_usage, ext_key_usage, extensions, validity, upstream,
	// made_key; and how many have to approve it, approvals.
	Plan []Part
	// Reasons are the paths of the rules that refuse, in the policy that does;
	// where one only defers, of the rule that says so.
	Reasons []string
}

// A Part is one part of a plan.
type Part struct{ Name, Old, New string }

// Decisions compares what two policies decided of one request. It is false
// when they agree: the same verdict and, where both grant, the same plan. Why
// both refuse doesn't matter.
func Decisions(before, after policy.Decision) (Difference, bool) {
	d := Difference{Old: before.Verdict, New: after.Verdict}
	if before.Verdict != after.Verdict {
		stricter := after
		if after.Verdict == policy.Allow || after.Verdict == policy.Defer && before.Verdict != policy.Allow {
			stricter = before
		}
		d.Reasons = Reasons(stricter)
	}
	if before.Grants() && after.Grants() {
		d.Plan = append(Plans(before, after), approvalParts(before.Approval, after.Approval)...)
	}
	return d, d.Old != d.New || len(d.Plan) > 0
}

// Plans gives the parts in which two certificates that are wanted differ.
func Plans(before, after policy.Decision) []Part {
	return append(parts(before.Plan, after.Plan), keygenParts(before.Keygen, after.Keygen)...)
}

// Wider tells whether the second policy grants what the first doesn't, or
// without anybody's approval what wants one.
func (d Difference) Wider() bool {
	return d.New == policy.Allow && d.Old != policy.Allow || d.New == policy.Defer && !d.Old.Grants()
}

// approvalParts: how many have to approve, where both want that.
func approvalParts(before, after *policy.Approval) []Part {
	if before == nil || after == nil || before.Needs == after.Needs {
		return nil
	}
	return []Part{{"approvals", strconv.Itoa(before.Needs), strconv.Itoa(after.Needs)}}
}

// keygenParts: the key that is made, and how it goes out.
func keygenParts(before, after *policy.Keygen) []Part {
	if before == nil || after == nil || before.String() == after.String() {
		return nil
	}
	return []Part{{"made_key", before.String(), after.String()}}
}

// Reasons gives the paths of the rules that refuse, or defer, each once, in the
// order of the findings.
func Reasons(d policy.Decision) []string {
	var paths []string
	if d.Verdict == policy.Defer && d.Approval != nil {
		paths = append(paths, d.Approval.Path)
	}
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
