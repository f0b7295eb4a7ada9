// SPDX-License-Identifier: Apache-2.0

package policy

import "slices"

// nameRules are the accepted names of a certificate.
type nameRules struct {
	subject subjectRules
	san     sanRules
}

// layer gives the rules with what a `set` of an operation or of a who line
// puts in the place of the profile's. A name without a rule of the profile
// may be asked for with any value, as with a rule that has set alone.
func (c *compiler) layer(base nameRules, set node) nameRules {
	if !set.present() {
		return base
	}
	if len(set.get("subject").members()) == 0 && len(set.get("san").members()) == 0 {
		c.add(set.at, "`%s` sets nothing", set.path)
	}
	return nameRules{c.layerSubject(base.subject, set.get("subject")), c.layerSAN(base.san, set.get("san"))}
}

// everyNames gives the rules of the profile, of each operation and of each
// line: they share what they don't set.
func (p *Profile) everyNames() []nameRules {
	every := []nameRules{p.names}
	for _, name := range []Op{SimpleEnroll, SimpleReenroll} {
		if o := p.operations[name]; o != nil {
			every = append(every, o.names)
			for _, line := range o.who {
				every = append(every, line.names)
			}
		}
	}
	return every
}

// setOnly is the rule of a name that stands under set alone.
func setOnly(n node, label string, f form) nameRule {
	at := n.spot()
	return nameRule{spot: at, label: label, form: f, allowAt: at, requireAt: at, maxAt: at, wildcardAt: at}
}

// replaced puts a rule in the place of another; of none, at the end.
func replaced[R comparable](rules []R, old, rule R) []R {
	if i := slices.Index(rules, old); i >= 0 {
		rules[i] = rule
		return rules
	}
	return append(rules, rule)
}
