// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"
)

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
	for _, o := range p.offered() {
		every = append(every, o.names)
		for _, line := range o.who {
			every = append(every, line.names)
		}
	}
	return every
}

// profileScope: what a profile says holds for each line of its operations.
func profileScope(n node) scope {
	s := scope{cert: true, prior: true}
	add := func(n node, keys []operationKey) {
		for _, key := range keys {
			if o := n.get(key.name); o.present() {
				of := operationScope(key.op, o)
				s.cert, s.prior = s.cert && of.cert, s.prior && of.prior
			}
		}
	}
	add(n, operationKeys)
	add(n.get("fullcmc"), cmcKeys)
	if o := n.get("serverkeygen"); o.get("enabled").on() {
		s.cert, s.prior = s.cert && operationScope(ServerKeygen, o).cert, false
	}
	return s
}

func operationScope(op Op, n node) scope {
	s := scope{cert: true, prior: op.Renews()}
	for _, line := range n.get("who").items() {
		s.cert = s.cert && lineDemandsCert(line)
	}
	return s
}

func lineDemandsCert(line node) bool {
	return line.get("client_cert").present() ||
		slices.ContainsFunc(line.get("all").items(), func(n node) bool { return n.get("client_cert").present() })
}

// evaluated gives the rules with the values that the expressions of `set`
// have for this request. It is false when one gives none: then nothing is to
// be said of the names.
func (j *judge) evaluated() bool {
	ok := true
	for _, rule := range j.names.subject.rules {
		if rule.setBy != nil {
			ok = j.evaluateAttribute(rule) && ok
		}
	}
	for _, rule := range j.names.san.rules {
		if rule.setBy != nil {
			ok = j.evaluateNames(rule) && ok
		}
	}
	return ok
}

func (j *judge) evaluateAttribute(below *attributeRule) bool {
	rule := *below
	if !j.evaluate(&rule.nameRule) {
		return false
	}
	rule.literals = nil
	for _, value := range rule.set {
		literal, err := rule.write(value)
		if err != nil {
			j.refuse(rule.setAt, ByPolicy, show(value), "", "the expression gives %s, which can't be the %s: %s", quote(value), rule.label, show(err.Error()))
			return false
		}
		if p, at, denied := j.profile.guard.deniesAttribute(rule.oid.String(), value); denied {
			j.refuse(at, ByPolicy, show(value), "not "+show(p.text), "the expression gives the %s %s, which the guardrail %s denies", rule.label, quote(value), quote(p.text))
			return false
		}
		rule.literals = append(rule.literals, literal)
	}
	rules := j.names.subject
	j.names.subject = subjectRules{spot: rules.spot, rules: replaced(slices.Clone(rules.rules), below, &rule), byOID: maps.Clone(rules.byOID)}
	j.names.subject.byOID[rule.oid.String()] = &rule
	return true
}

func (j *judge) evaluateNames(below *sanRule) bool {
	rule := *below
	if !j.evaluate(&rule.nameRule) {
		return false
	}
	rule.literals = nil
	for _, value := range rule.set {
		name, err := rule.kind.key.name(value)
		if err != nil {
			j.refuse(rule.setAt, ByPolicy, show(value), "", "the expression gives %s, which can't be the %s: %s", quote(value), rule.label, show(err.Error()))
			return false
		}
		if p, at, denied := j.profile.guard.deniesName(rule.kind.key, value); denied {
			j.refuse(at, ByPolicy, show(value), "not "+show(p.text), "the expression gives the %s %s, which the guardrail %s denies", rule.label, quote(value), quote(p.text))
			return false
		}
		rule.literals = append(rule.literals, name)
	}
	rules := j.names.san
	j.names.san = sanRules{spot: rules.spot, rules: replaced(slices.Clone(rules.rules), below, &rule), byKind: maps.Clone(rules.byKind)}
	j.names.san.byKind[rule.kind.key] = &rule
	return true
}

// evaluate gives the rule the values of its expression, held against what a
// literal is held against when the file is loaded.
func (j *judge) evaluate(rule *nameRule) bool {
	if j.input == nil {
		return false // nobody asks: there is no `who`
	}
	values, err := rule.setBy.texts(j.input)
	if err != nil {
		j.unevaluated(rule.setBy.at, "", err)
		return false
	}
	if len(values) == 0 || slices.Contains(values, "") {
		j.refuse(rule.setAt, ByPolicy, "(nothing)", "a value", "the expression gives no value for the %s", rule.label)
		return false
	}
	for _, value := range values {
		err := rule.problem(value)
		if err != nil {
			j.refuse(rule.setAt, ByPolicy, show(value), "", "the expression gives %s, which can't be the %s: %v", quote(value), rule.label, err)
			return false
		}
	}
	if rule.max > 0 && len(values) > rule.max {
		j.refuse(rule.setAt, ByPolicy, fmt.Sprint(len(values)), fmt.Sprintf("at most %d", rule.max), "the expression gives %d values for the %s, and `max` is %d", len(values), rule.label, rule.max)
		return false
	}
	rule.set, rule.setBy = values, nil
	j.asked(rule.setAt, "", showList(values), "sets")
	return true
}

// problem tells why a value can't be set.
func (r *nameRule) problem(value string) error {
	if _, err := r.form.spell(value); err != nil {
		return err
	}
	_, err := r.accepts(value)
	return err
}

// setOnly is the rule of a name that stands under set alone.
func setOnly(n node, label string, f form, gives ...*cel.Type) nameRule {
	at := n.spot()
	return nameRule{spot: at, label: label, form: f, celTypes: gives, allowAt: at, requireAt: at, maxAt: at, wildcardAt: at}
}

// replaced puts a rule in the place of another; of none, at the end.
func replaced[R comparable](rules []R, old, rule R) []R {
	if i := slices.Index(rules, old); i >= 0 {
		rules[i] = rule
		return rules
	}
	return append(rules, rule)
}
