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
	oid      asn1.ObjectIdentifier
	name     string
	literals []csr.AttributeValue // with set
	// beside is the attribute in whose RDN this one stands; without one it
	// has an RDN of its own.
	beside   asn1.ObjectIdentifier
	besideAt spot
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
	c.besides(rules)
	return rules
}

func (c *compiler) attribute(n node, oid asn1.ObjectIdentifier) *attributeRule {
	r := &attributeRule{
		nameRule: c.nameRule(n, subjectAttribute+n.name, subjectForm(oid.String()), cel.StringType, celTexts),
		oid:      oid, name: n.name,
	}
	if r.max == 0 && (oid.String() == commonName || n.get("beside").present()) {
		r.max = 1
	}
	r.beside, r.besideAt = c.besideOf(n.get("beside"))
	if set := n.get("set"); set.present() {
		c.setAttribute(r, set)
	} else if n.isMap() {
		c.unset(&r.nameRule)
	}
	return r
}

// setAttribute gives the rule the values of set.
func (c *compiler) setAttribute(r *attributeRule, set node) {
	c.literals(&r.nameRule, set)
	r.literals = nil
	for _, value := range r.set {
		literal, err := r.write(value)
		if err != nil {
			c.add(set.at, "%s can't be the %s: %s", quote(value), r.label, show(err.Error()))
		}
		if p, at, denied := c.guard.deniesAttribute(r.oid.String(), value); denied {
			c.add(set.at, "%s is denied by the guardrail %s on line %d", quote(value), quote(p.text), at.at.Line)
		}
		r.literals = append(r.literals, literal)
	}
}

// write makes a value of ours. It is an error where the type of the attribute
// doesn't have the letters.
func (r *attributeRule) write(value string) (csr.AttributeValue, error) {
	literal := csr.NewAttributeValue(r.oid, value)
	_, err := (csr.Name{{literal}}).MarshalDER()
	return literal, err
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
		rule := &attributeRule{nameRule: setOnly(member, subjectAttribute+member.name, subjectForm(oid.String()), cel.StringType, celTexts), oid: oid, name: member.name}
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
	c.add(n.at, "%s is neither a known subject attribute, such as CN, O or serialNumber, nor an OID%s", quote(n.name), didYouMean(n.name, subjectNames()))
}
