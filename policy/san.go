// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"

	"cel.dev/cel-go/cel"

	"github.com/caddy-est/estra/policy/csr"
)

// sanRules are the accepted kinds of SAN entries, in file order.
type sanRules struct {
	spot   spot
	rules  []*sanRule
	byKind map[sanKey]*sanRule
}

type sanRule struct {
	nameRule
	kind     sanKind
	literals []csr.GeneralName // with set
}

func (k sanKind) label() string { return k.form.name + " in the SAN" }

func (c *compiler) san(n node) sanRules {
	rules := sanRules{spot: n.spot(), byKind: map[sanKey]*sanRule{}}
	for _, member := range c.sanMembers(n) {
		if rules.byKind[member.kind.key] != nil {
			continue // a checker's
		}
		rule := &sanRule{nameRule: c.nameRule(member.node, member.kind.label(), member.kind.form, cel.StringType, celTexts), kind: member.kind}
		if set := member.get("set"); set.present() {
			c.setNames(rule, set)
		} else if member.isMap() {
			c.unset(&rule.nameRule)
		}
		rules.rules = append(rules.rules, rule)
		rules.byKind[member.kind.key] = rule
	}
	return rules
}

// setNames gives the rule the values of set.
func (c *compiler) setNames(rule *sanRule, set node) {
	c.literals(&rule.nameRule, set)
	rule.literals = nil
	for _, value := range rule.set {
		name, err := rule.kind.key.name(value)
		if err != nil {
			c.add(set.at, "%s can't be the %s: %s", quote(value), rule.label, show(err.Error()))
			continue
		}
		if p, at, denied := c.guard.deniesName(rule.kind.key, value); denied {
			c.add(set.at, "%s is denied by the guardrail %s on line %d", quote(value), quote(p.text), at.at.Line)
		}
		rule.literals = append(rule.literals, name)
	}
}

// layerSAN gives the rules with the values that a further set has.
func (c *compiler) layerSAN(base sanRules, set node) sanRules {
	rules := sanRules{spot: base.spot, rules: slices.Clone(base.rules), byKind: maps.Clone(base.byKind)}
	for _, member := range c.sanMembers(set) {
		rule := &sanRule{nameRule: setOnly(member.node, member.kind.label(), member.kind.form, cel.StringType, celTexts), kind: member.kind}
		below := base.byKind[member.kind.key]
		if below != nil {
			*rule = *below
		}
		c.setNames(rule, member.node)
		rules.rules = replaced(rules.rules, below, rule)
		rules.byKind[member.kind.key] = rule
	}
	return rules
}

// san plans the SAN from the request's, entry by entry.
func (j *judge) san() {
	asked := map[sanKey][]string{}
	var planned []csr.GeneralName
	for _, name := range j.req.CSR.Names.SAN {
		key := keyOf(name)
		rule := j.names.san.byKind[key]
		if rule == nil {
			j.unknownForm(name)
			continue
		}
		first := len(asked[key]) == 0
		asked[key] = append(asked[key], name.Value)
		if !j.generalName(rule, name) {
			continue
		}
		switch {
		case !rule.sets():
			planned = j.once(rule, planned, name)
		case rule.asWanted(j.req.CSR.Names.SAN):
			planned = append(planned, name)
		case first:
			planned = append(planned, rule.literals...)
		}
	}
	for _, rule := range j.names.san.rules {
		values := asked[rule.kind.key]
		j.counts(&rule.nameRule, values)
		if !rule.sets() || rule.asWanted(j.req.CSR.Names.SAN) {
			continue
		}
		got := "(absent)"
		if len(values) == 0 {
			planned = append(planned, rule.literals...)
		} else {
			got = showList(values)
		}
		j.add(rule.setAt, Rewritten, ByPolicy, got, showList(rule.set),
			"the request has the %s %s; the certificate has %s", rule.label, got, showList(rule.set))
	}
	j.plan.Names.SAN = planned
	j.plan.Names.HasSAN = len(planned) > 0
}

func (j *judge) unknownForm(name csr.GeneralName) {
	got := show(name.String())
	word := keyOf(name).kindName()
	if word == "" {
		j.refuse(j.names.san.spot, ByPolicy, got, "", "the request has a SAN entry of a form that no policy can accept: %s", got)
		return
	}
	j.refuse(j.names.san.spot, ByPolicy, got, "", "the profile takes no %s in the SAN, and the request has %s", word, got)
}

// generalName tells whether an entry may be asked for.
func (j *judge) generalName(rule *sanRule, name csr.GeneralName) bool {
	if name.Value == "" {
		j.refuse(rule.spot, ByPolicy, show(name.String()), "", "the %s %s is not accepted: it is not written as its type demands", rule.label, quote(name.String()))
		return false
	}
	if p, at, denied := j.profile.guard.deniesName(rule.kind.key, name.Value); denied && !rule.sets() {
		j.refuse(at, ByPolicy, show(name.Value), "not "+show(p.text), "the %s %s is denied by the guardrail %s",
			rule.label, quote(name.Value), quote(p.text))
		return false
	}
	at, err := rule.accepts(name.Value)
	if err != nil && (rule.bounded || !rule.sets()) {
		j.refuse(at, ByPolicy, show(name.Value), rule.wants(), "the %s %s is not accepted: %v", rule.label, quote(name.Value), err)
		return false
	}
	if err == nil {
		j.asked(at, name.Value, "", "holds")
	}
	return true
}

// once leaves out an entry that the plan already has.
func (j *judge) once(rule *sanRule, planned []csr.GeneralName, name csr.GeneralName) []csr.GeneralName {
	same := func(other csr.GeneralName) bool { return keyOf(other) == rule.kind.key && other.Value == name.Value }
	if slices.ContainsFunc(planned, same) {
		j.add(rule.spot, Dropped, ByPolicy, show(name.Value), "", "the %s %s stands twice in the request", rule.label, quote(name.Value))
		return planned
	}
	return append(planned, name)
}

// asWanted tells whether the request already has just the values of set.
func (r *sanRule) asWanted(san []csr.GeneralName) bool {
	var got, want []string
	for _, name := range san {
		if keyOf(name) == r.kind.key {
			got = append(got, name.Value)
		}
	}
	for _, name := range r.literals {
		want = append(want, name.Value)
	}
	slices.Sort(got)
	slices.Sort(want)
	return slices.Equal(got, want)
}

// takes tells whether every entry would be in a certificate of the profile,
// as `matches: names` asks.
func (r sanRules) takes(san []csr.GeneralName) bool {
	for _, name := range san {
		rule := r.byKind[keyOf(name)]
		if rule == nil || !rule.takes(name.Value) {
			return false
		}
	}
	return true
}
