// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"

	"cel.dev/cel-go/cel"
)

// A check is a rule in CEL. It can only refuse.
type check struct {
	spot     spot
	id       string
	when     *expression // nil: always
	rule     *expression
	message  string
	warns    bool // enforce: warn
	disclose bool
}

// mostChecks bounds the checks of one list.
const mostChecks = 100

// checks reads a list of checks.
func (c *compiler) checks(list node) []check {
	s := c.scope
	s.plan = true
	var checks []check
	if len(list.items()) > mostChecks {
		c.add(list.at, "`%s` has %d checks, and at most %d can stand in a list", list.path, len(list.items()), mostChecks)
		return nil
	}
	for _, item := range list.items() {
		id := item.get("id").value()
		at := item.spot()
		at.path += "." + id
		k := check{
			spot: at, id: id, message: item.get("message").value(),
			warns: item.get("enforce").value() == "warn", disclose: item.get("disclose").on(),
		}
		c.checkID(item.get("id"))
		if _, err := spellText(k.message); err != nil && item.get("message").isText() {
			c.add(item.get("message").at, "`%s` can't be used: %v", item.get("message").path, err)
		}
		if when := item.get("when"); when.present() {
			k.when = c.expression(when, s, cel.BoolType)
		}
		k.rule = c.expression(item.get("rule"), s, cel.BoolType)
		checks = append(checks, k)
	}
	if list.isList() && len(list.items()) == 0 {
		c.add(list.at, "`%s` is an empty list", list.path)
	}
	return checks
}

// checkID: an id names one check of a profile.
func (c *compiler) checkID(n node) {
	id := n.value()
	switch {
	case id == "":
		c.filled(n)
	case strings.ContainsFunc(id, func(r rune) bool { return !isLDH(r) && r != '_' }) || len(id) > 64:
		c.add(n.at, "the id %s can't be used: it has at most 64 letters, digits, hyphens and underscores", quote(id))
	case c.ids[id].Line != 0:
		c.add(n.at, "the id %s is already that of the check on line %d", quote(id), c.ids[id].Line)
	default:
		c.ids[id] = n.at
	}
}

// checks evaluates the rules of the profile, of the operation and of the line
// that decides, on the certificate as it is planned.
func (j *judge) checks() {
	if j.input == nil {
		return // nobody asks, so there is no `who` for a rule; or there is no rule
	}
	j.input.plan = &celPlan{&j.plan}
	for _, checks := range [][]check{j.profile.checks, j.op.checks, j.line.checks} {
		for i := range checks {
			j.check(&checks[i])
		}
	}
}

func (j *judge) check(k *check) {
	if k.when != nil {
		applies, err := k.when.truth(j.input)
		if err != nil {
			j.unevaluated(spot{k.when.at.at, k.spot.path}, k.id, err)
			return
		}
		if !applies {
			j.asked(k.spot, "", "", "does not apply")
			return
		}
	}
	holds, err := k.rule.truth(j.input)
	switch {
	case err != nil:
		j.unevaluated(spot{k.rule.at.at, k.spot.path}, k.id, err)
	case holds:
		j.asked(k.spot, "", k.rule.source, "holds")
	default:
		f := finding(k.spot, Refused, "false", show(strings.Join(strings.Fields(k.rule.source), " ")), "%s", k.message)
		if k.warns {
			f.Effect = Warned
		}
		f.Check, f.Disclose = k.id, k.disclose && !k.warns
		j.found(f)
	}
}
