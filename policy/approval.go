// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strconv"

	"cel.dev/cel-go/cel"
)

// approval says which requests of an operation wait until somebody has approved
// them. The zero value lets none wait.
type approval struct {
	at     spot
	count  spot        // approvals
	manual bool        // approval: manual
	when   *expression // approve_when; nil: as manual says
	needs  int         // approvals
}

// mostApprovals is how many people can be made to approve one request.
const mostApprovals = 2

// An Approval is what a request with the Verdict Defer waits for.
type Approval struct {
	// Needs is how many people have to approve, each another one.
	Needs int
	// Pos and Path are those of the rule that says so.
	Pos  Pos
	Path string
}

// String says who has to approve, and by which rule.
func (a Approval) String() string {
	who := "one person"
	if a.Needs > 1 {
		who = fmt.Sprintf("%d people, each another one", a.Needs)
	}
	return fmt.Sprintf("%s (%s: %s)", who, a.Pos, a.Path)
}

// approvalKeys are those of an operation.
var approvalKeys = []string{"approval", "approve_when", "approvals"}

// approval reads who has to approve what. Each request waits, or those for which
// the expression is true: an operation that says `manual` never leaves it to one.
func (c *compiler) approval(n node) approval {
	word, when, count := n.get("approval"), n.get("approve_when"), n.get("approvals")
	a := approval{at: word.spot(), count: count.spot(), manual: word.value() == "manual", needs: 1}
	if when.present() {
		a.at = when.spot()
		s := c.scope
		s.plan, s.warned = true, true
		a.when = c.expression(when, s, cel.BoolType)
		if word.present() {
			c.add(when.at, "`%s` says which requests wait, and `%s: %s` says it of all of them: write one of the two", when.path, word.path, word.value())
		}
	}
	if needs, ok := count.number(); ok {
		a.needs = needs
		switch {
		case needs < 1 || needs > mostApprovals:
			c.add(count.at, "`%s` is 1 or %d, and this is %d", count.path, mostApprovals, needs)
		case !a.manual && !when.present():
			c.add(count.at, "`%s` means nothing where no request waits: write `approval: manual`, or `approve_when`", count.path)
		}
	}
	return a
}

// asks tells whether an operation says something of approval itself.
func (n node) asksApproval() bool {
	return slices.ContainsFunc(approvalKeys, func(name string) bool { return n.get(name).present() })
}

// approval says what the request waits for, once nothing refuses it; nil: for
// nothing.
func (j *judge) approval() *Approval {
	a := j.op.approval
	if a.when != nil {
		if j.input == nil {
			return nil // nobody who may ask
		}
		j.input.warned = j.warned()
		applies, err := a.when.truth(j.input)
		if err != nil {
			j.unevaluated(a.at, "", err)
			return nil
		}
		if !applies {
			j.asked(a.at, "false", a.when.source, "does not apply")
			return nil
		}
	} else if !a.manual {
		return nil
	}
	j.asked(a.at, "", "", "defers")
	j.asked(a.count, "", strconv.Itoa(a.needs), "defers")
	return &Approval{Needs: a.needs, Pos: a.at.at, Path: a.at.path}
}

// WantsApproval tells whether a request of the profile may have to wait.
func (p *Profile) WantsApproval() bool {
	return slices.ContainsFunc(p.offered(), func(o *op) bool { return o.approval.manual || o.approval.when != nil })
}

// warned are the ids of the checks that don't hold, and only warn.
func (j *judge) warned() []string {
	ids := []string{}
	for _, f := range j.findings {
		if f.Effect == Warned && f.Check != "" {
			ids = append(ids, f.Check)
		}
	}
	return ids
}

// issues reads what the profile's certificates make of their holders. That of a
// registration authority lets it ask for others, so that each wants the approval
// of a person.
func (c *compiler) issues(p *Profile, n node) {
	if !n.present() {
		return
	}
	p.issuesRA = n.value() == RoleRA
	p.issuesAt = n.spot()
}

// reviewIssues holds `issues: ra` against the rest of the profile.
func (c *compiler) reviewIssues(p *Profile) {
	if !p.issuesRA {
		return
	}
	if oid, _ := extKeyUsageOID(cmcRA); !containsOID(p.usage.ext, oid) {
		c.add(p.issuesAt.at, "`%s: ra` is for certificates of registration authorities, and `usage.ext` lacks %s", p.issuesAt.path, cmcRA)
	}
	for _, o := range p.offered() {
		if !o.approval.manual {
			c.add(o.spot.at, "the profile `%s` issues certificates of registration authorities (`issues: ra`), and `%s` has no `approval: manual`", p.name, o.spot.path)
		}
	}
}

// word says of a warning why nobody approves.
func (a approval) word() string {
	if a.when != nil {
		return "approve_when may be false"
	}
	return "approval: auto"
}
