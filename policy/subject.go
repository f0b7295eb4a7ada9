// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"maps"
	"slices"

	"cel.dev/cel-go/cel"

	"github.com/caddy-est/estra/policy/csr"
)

// subjectRules are the accepted subject attributes, in file order.
type subjectRules struct {
	spot  spot
	rules []*attributeRule
	byOID map[string]*attributeRule
}

type attributeRule struct {
	nameRule
	oid     asn1.ObjectIdentifier
	name    string
	literal csr.AttributeValue // with set
}

const (
	commonName       = "2.5.4.3"
	serialNumber     = "2.5.4.5"
	domainComponent  = "0.9.2342.19200300.100.1.25"
	userID           = "0.9.2342.19200300.100.1.1"
	emailInSubject   = "1.2.840.113549.1.9.1"
	subjectAttribute = "subject attribute "
)

// subjectForm says how the values of an attribute are spelled. What names a
// machine, an account or a mailbox has forms of its own.
func subjectForm(oid string) form {
	switch oid {
	case commonName, serialNumber, domainComponent, userID:
		return identifierForm
	case emailInSubject:
		return emailForm
	}
	return textForm
}

func (c *compiler) subject(n node) subjectRules {
	rules := subjectRules{spot: n.spot(), byOID: map[string]*attributeRule{}}
	for _, member := range n.members() {
		oid, ok := attributeOID(member.name)
		if !ok {
			c.unknownAttribute(member)
			continue
		}
		if other, twice := rules.byOID[oid.String()]; twice {
			c.add(member.at, "`%s` is the attribute that already stands on line %d", member.path, other.spot.at.Line)
			continue
		}
		rule := c.attribute(member, oid)
		rules.rules = append(rules.rules, rule)
		rules.byOID[oid.String()] = rule
	}
	return rules
}

func (c *compiler) attribute(n node, oid asn1.ObjectIdentifier) *attributeRule {
	r := &attributeRule{
		nameRule: c.nameRule(n, subjectAttribute+n.name, subjectForm(oid.String()), cel.StringType),
		oid:      oid, name: n.name,
	}
	if r.max == 0 && oid.String() == commonName {
		r.max = 1
	}
	if set := n.get("set"); set.present() {
		c.setAttribute(r, set)
	} else {
		c.unset(&r.nameRule)
	}
	return r
}

// setAttribute gives the rule the value of set.
func (c *compiler) setAttribute(r *attributeRule, set node) {
	c.literals(&r.nameRule, set)
	if len(r.set) == 0 {
		return
	}
	r.literal = csr.NewAttributeValue(r.oid, r.set[0])
	if _, err := (csr.Name{{r.literal}}).MarshalDER(); err != nil {
		c.add(set.at, "%s can't be the %s: %s", quote(r.set[0]), r.label, show(err.Error()))
	}
	if p, at, denied := c.guard.deniesAttribute(r.oid.String(), r.set[0]); denied {
		c.add(set.at, "%s is denied by the guardrail %s on line %d", quote(r.set[0]), quote(p.text), at.at.Line)
	}
}

// layerSubject gives the rules with the values that a further set has.
func (c *compiler) layerSubject(base subjectRules, set node) subjectRules {
	rules := subjectRules{spot: base.spot, rules: slices.Clone(base.rules), byOID: maps.Clone(base.byOID)}
	seen := map[string]int{}
	for _, member := range set.members() {
		oid, ok := attributeOID(member.name)
		if !ok {
			c.unknownAttribute(member)
			continue
		}
		if line, twice := seen[oid.String()]; twice {
			c.add(member.at, "`%s` is the attribute that already stands on line %d", member.path, line)
			continue
		}
		seen[oid.String()] = member.at.Line
		rule := &attributeRule{nameRule: setOnly(member, subjectAttribute+member.name, subjectForm(oid.String()), cel.StringType), oid: oid, name: member.name}
		if below := base.byOID[oid.String()]; below != nil {
			*rule = *below
		}
		c.setAttribute(rule, member)
		rules.rules = replaced(rules.rules, base.byOID[oid.String()], rule)
		rules.byOID[oid.String()] = rule
	}
	return rules
}

func (c *compiler) unknownAttribute(n node) {
	c.add(n.at, "%s is neither a known subject attribute, such as CN, O or serialNumber, nor an OID", quote(n.name))
}

// subject plans the subject from the request's, attribute by attribute.
func (j *judge) subject() {
	asked := map[string][]string{} // by OID
	var planned csr.Name
	for _, rdn := range j.req.CSR.Names.Subject {
		var kept csr.RDN
		for _, attribute := range rdn {
			oid := attribute.Type.String()
			if value, ok := j.attribute(attribute, asked[oid]); ok {
				kept = append(kept, value)
			}
			asked[oid] = append(asked[oid], attribute.Value)
		}
		if len(kept) > 0 {
			planned = append(planned, kept)
		}
	}
	for _, rule := range j.names.subject.rules {
		values := asked[rule.oid.String()]
		j.counts(&rule.nameRule, values)
		if rule.sets() && len(values) == 0 {
			planned = append(planned, csr.RDN{rule.literal})
			j.add(rule.setAt, Rewritten, ByPolicy, "(absent)", show(rule.set[0]),
				"the request has no %s; the certificate has %s", rule.label, quote(rule.set[0]))
		}
	}
	if p, at, denied := j.profile.guard.denies(sanKey{form: csr.DirectoryName}, planned.String()); denied {
		j.refuse(at, ByPolicy, show(planned.String()), "not "+show(p.text), "the subject %s is denied by the guardrail %s",
			quote(planned.String()), quote(p.text))
	}
	j.plan.Names.Subject = planned
}

// attribute plans one value of the request. before are the request's earlier
// values of the same attribute.
func (j *judge) attribute(value csr.AttributeValue, before []string) (csr.AttributeValue, bool) {
	oid := value.Type.String()
	rule := j.names.subject.byOID[oid]
	name := csr.TypeName(value.Type)
	switch {
	case rule == nil:
		j.refuse(j.names.subject.spot, ByPolicy, show(name)+"="+show(value.Value), "", "the profile takes no subject attribute %s, and the request has %s",
			show(name), describeValue(value))
		return value, false
	case !value.Text:
		j.refuse(rule.spot, ByPolicy, "(not text)", "text", "the %s is not text that its type allows", rule.label)
		return value, false
	}
	if _, err := spellText(value.Value); err != nil {
		j.refuse(rule.spot, ByPolicy, show(value.Value), "printable text", "the %s %s is not accepted: %v", rule.label, quote(value.Value), err)
		return value, false
	}
	if p, at, denied := j.profile.guard.deniesAttribute(oid, value.Value); denied && !rule.sets() {
		j.refuse(at, ByPolicy, show(value.Value), "not "+show(p.text), "the %s %s is denied by the guardrail %s",
			rule.label, quote(value.Value), quote(p.text))
		return value, false
	}
	if at, err := rule.accepts(value.Value); err != nil && (rule.bounded || !rule.sets()) {
		j.refuse(at, ByPolicy, show(value.Value), rule.wants(), "the %s %s is not accepted: %v", rule.label, quote(value.Value), err)
		return value, false
	} else if err == nil {
		j.asked(at, value.Value, "", "holds")
	}
	if rule.sets() {
		return j.setAttribute(rule, value, len(before) == 0)
	}
	return value, true
}

// setAttribute puts the policy's value in the place of the first one, and
// takes the others away.
func (j *judge) setAttribute(rule *attributeRule, value csr.AttributeValue, first bool) (csr.AttributeValue, bool) {
	want := rule.set[0]
	if !first {
		j.add(rule.setAt, Rewritten, ByPolicy, show(value.Value), show(want),
			"the request has the %s more than once; the certificate has only %s", rule.label, quote(want))
		return value, false
	}
	if value.Value == want {
		j.asked(rule.setAt, value.Value, want, "holds")
		return value, true
	}
	j.add(rule.setAt, Rewritten, ByPolicy, show(value.Value), show(want),
		"the %s %s is replaced by %s", rule.label, quote(value.Value), quote(want))
	return rule.literal, true
}

func describeValue(value csr.AttributeValue) string {
	if !value.Text {
		return "one that is not text"
	}
	return quote(value.Value)
}

// takesSubject tells whether every attribute would be in a certificate of
// the profile, as `matches: names` asks.
func (r subjectRules) takes(subject csr.Name) bool {
	for _, rdn := range subject {
		for _, value := range rdn {
			rule := r.byOID[value.Type.String()]
			if rule == nil || !value.Text || !rule.takes(value.Value) {
				return false
			}
		}
	}
	return true
}

// takes tells whether a certificate of the profile could have the value.
func (r *nameRule) takes(value string) bool {
	if len(r.set) > 0 {
		return slices.Contains(r.set, value)
	}
	_, err := r.accepts(value)
	return err == nil
}
