// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// An op is an operation that a profile offers.
type op struct {
	spot   spot
	name   Op
	names  nameRules // the profile's, with the operation's set
	who    []whoLine
	checks []check
	whoAt  spot
	linkAt spot
	linked bool // linking: required
	byRA   bool // on_behalf: RAs ask, for others
	// keygen is set in `serverkeygen` alone.
	keygen   *keygen
	borrowed bool // who asks is said by `enroll`
	scope    scope
	renewal  renewal
	approval approval
	expired  time.Duration // after notAfter; reenroll only
}

// operations reads those that a profile offers.
func (c *compiler) operations(p *Profile, n node) {
	for _, key := range operationKeys {
		o := c.operation(p, key, n.get(key.name))
		switch {
		case o == nil:
		case key.byRA:
			p.onBehalf = o
		default:
			p.operations[key.op] = o
		}
	}
	c.serverKeygen(p, n.get("serverkeygen"))
	c.fullCMC(p, n.get("fullcmc"))
	if len(p.offered()) == 0 && !p.Offers(FullCMC) {
		c.add(n.at, "the profile `%s` offers nothing: it has none of `enroll`, `reenroll`, `on_behalf`, `fullcmc` and an enabled `serverkeygen`", p.name)
	}
}

// An operationKey is the key of an operation in the policy file.
type operationKey struct {
	name string
	op   Op
	byRA bool
}

var operationKeys = []operationKey{
	{"enroll", SimpleEnroll, false}, {"reenroll", SimpleReenroll, false}, {"on_behalf", SimpleEnroll, true},
}

func (c *compiler) operation(p *Profile, key operationKey, n node) *op {
	if !n.present() {
		return nil
	}
	c.scope = operationScope(key.op, n)
	c.byCMC = key.op.ByCMC()
	defer func() { c.byCMC = false }()
	o := &op{
		spot: n.spot(), name: key.op, byRA: key.byRA, names: c.layer(p.names, n.get("set")), whoAt: n.get("who").spot(),
		linked: n.get("linking").value() == "required", linkAt: n.get("linking").spot(), scope: c.scope,
	}
	o.checks = c.checks(n.get("checks"))
	o.approval = c.approval(n)
	o.who = c.who(n.get("who"), o.names)
	if key.op.Renews() {
		c.renewal(o, n)
	}
	for _, line := range o.who {
		c.registrars(o, line)
	}
	return o
}

// loose warns of who lines that prove less than they seem to.
func (c *compiler) loose(p *Profile, o *op, line whoLine) {
	bound := c.binds(p, o, line)
	for _, proof := range line.proofs {
		switch {
		case proof.shared && o.approval.manual:
		case proof.shared && !slices.ContainsFunc(line.proofs, isOnce):
			names := "any name of the profile"
			if bound {
				names = "any name that the rules about `who` leave to it"
			}
			c.warn(lintSharedAccount, proof.spot, "the shared account %s is enough for a certificate with %s, "+
				"and nobody approves it (%s)", showList(userNames(proof.users)), names, o.approval.word())
		case proof.isCert() && !o.name.Renews() && !o.byRA && !bound:
			c.warn(lintUnboundDevice, proof.spot, "this line stands for one device and binds none of its names: "+
				"a device under the anchor %s may ask for the name of another", quote(proof.anchor))
		case proof.isSRP() && !o.name.Renews() && !o.byRA && !bound:
			c.warn(lintUnboundDevice, proof.spot, "this line stands for one device and binds none of its names: "+
				"a user of the realm %s may ask for the name of another", quote(proof.realm))
		}
	}
}

// binds tells whether something ties names to who asks: a check or a value of
// the line, of the operation or of the profile that reads `who`.
func (c *compiler) binds(p *Profile, o *op, line whoLine) bool {
	reads := func(e *expression) bool { return e != nil && strings.Contains(e.source, "who.") }
	for _, k := range slices.Concat(p.checks, o.checks, line.checks) {
		if !k.warns && reads(k.rule) {
			return true
		}
	}
	for _, rule := range line.names.subject.rules {
		if reads(rule.setBy) {
			return true
		}
	}
	return slices.ContainsFunc(line.names.san.rules, func(r *sanRule) bool { return reads(r.setBy) })
}

func userNames(users []listedUser) []string {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = u.name
	}
	return names
}

func (p *Profile) notOffered(name Op) Finding {
	if o := p.registrarsOf(name); o != nil {
		f := finding(o.whoAt, Refused, "", "", "the profile `%s` takes requests from registration authorities alone, on behalf of others", p.name)
		f.Class = BadIdentity
		return f
	}
	return finding(p.spot, Refused, show(string(name)), "", "the profile `%s` doesn't offer %s", p.name, quote(string(name)))
}

// DurationText gives a duration in the unit that a policy would have, such as
// 90d.
func DurationText(d time.Duration) string { return shortDuration(d) }

// shortDuration gives a duration in the unit that the policy would have.
func shortDuration(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= day && d%day == 0:
		return fmt.Sprintf("%dd", d/day)
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
