// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"

	"cel.dev/cel-go/cel"

	"github.com/caddy-est/estra/policy/csr"
)

// sanRules are the accepted forms of SAN, in file order.
type sanRules struct {
	spot   spot
	rules  []*sanRule
	byForm map[csr.NameForm]*sanRule
}

type sanRule struct {
	nameRule
	tag      csr.NameForm
	literals []csr.GeneralName // with set
}

func (c *compiler) san(n node) sanRules {
	rules := sanRules{spot: n.spot(), byForm: map[csr.NameForm]*sanRule{}}
	for _, member := range n.members() {
		known, ok := sanForms[member.name]
		if !ok || rules.byForm[known.tag] != nil {
			continue // a checker's
		}
		rule := &sanRule{nameRule: c.nameRule(member, known.form.name+" in the SAN", known.form, cel.StringType, celTexts), tag: known.tag}
		if set := member.get("set"); set.present() {
			c.setNames(rule, set)
		} else {
			c.unset(&rule.nameRule)
		}
		rules.rules = append(rules.rules, rule)
		rules.byForm[known.tag] = rule
	}
	return rules
}

// setNames gives the rule the values of set.
func (c *compiler) setNames(rule *sanRule, set node) {
	c.literals(&rule.nameRule, set)
	rule.literals = nil
	for _, value := range rule.set {
		name, err := csr.NewName(rule.tag, value)
		if err != nil {
			c.add(set.at, "%s can't be a %s: %s", quote(value), rule.form.name, show(err.Error()))
			continue
		}
		if p, at, denied := c.guard.denies(rule.tag, value); denied {
			c.add(set.at, "%s is denied by the guardrail %s on line %d", quote(value), quote(p.text), at.at.Line)
		}
		rule.literals = append(rule.literals, name)
	}
}

// layerSAN gives the rules with the values that a further set has.
func (c *compiler) layerSAN(base sanRules, set node) sanRules {
	rules := sanRules{spot: base.spot, rules: slices.Clone(base.rules), byForm: maps.Clone(base.byForm)}
	for _, member := range set.members() {
		known, ok := sanForms[member.name]
		if !ok {
			continue // a checker's
		}
		rule := &sanRule{nameRule: setOnly(member, known.form.name+" in the SAN", known.form, cel.StringType, celTexts), tag: known.tag}
		below := base.byForm[known.tag]
		if below != nil {
			*rule = *below
		}
		c.setNames(rule, member)
		rules.rules = replaced(rules.rules, below, rule)
		rules.byForm[known.tag] = rule
	}
	return rules
}

// san plans the SAN from the request's, entry by entry.
func (j *judge) san() {
	asked := map[csr.NameForm][]string{}
	var planned []csr.GeneralName
	for _, name := range j.req.CSR.Names.SAN {
		rule := j.names.san.byForm[name.Form]
		if rule == nil {
			j.unknownForm(name)
			continue
		}
		first := len(asked[name.Form]) == 0
		asked[name.Form] = append(asked[name.Form], name.Value)
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
		values := asked[rule.tag]
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
	word := formName(name.Form)
	if word == "" {
		j.refuse(j.names.san.spot, ByPolicy, got, "", "the request has a SAN entry of a form that no policy of this version can accept: %s", got)
		return
	}
	j.refuse(j.names.san.spot, ByPolicy, got, "", "the profile takes no %s in the SAN, and the request has %s", word, got)
}

func formName(tag csr.NameForm) string {
	for _, known := range sanForms {
		if known.tag == tag {
			return known.form.name
		}
	}
	return ""
}

// generalName tells whether an entry may be asked for.
func (j *judge) generalName(rule *sanRule, name csr.GeneralName) bool {
	if p, at, denied := j.profile.guard.denies(name.Form, name.Value); denied && !rule.sets() {
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
	same := func(other csr.GeneralName) bool { return other.Form == name.Form && other.Value == name.Value }
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
		if name.Form == r.tag {
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
		rule := r.byForm[name.Form]
		if rule == nil || !rule.takes(name.Value) {
			return false
		}
	}
	return true
}
