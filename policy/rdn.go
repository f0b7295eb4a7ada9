// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// An RDN may have several attributes (RFC 5280 section 4.1.2.4), and a reader
// who takes a subject for a list of attributes doesn't see which belong
// together. So it has one, unless a rule says beside which other one an
// attribute stands.

// besideOf reads the attribute beside which another one stands.
func (c *compiler) besideOf(n node) (asn1.ObjectIdentifier, spot) {
	if !n.isText() {
		return nil, n.spot()
	}
	oid, ok := attributeOID(n.value())
	if !ok {
		c.unknownAttribute(node{at: n.at, name: n.value()})
		return nil, n.spot()
	}
	return oid, n.spot()
}

// besides holds against each other what stands beside what.
func (c *compiler) besides(rules subjectRules) {
	for _, rule := range rules.rules {
		if rule.beside == nil {
			continue
		}
		name, path := csr.TypeName(rule.beside), rule.besideAt.path
		target := rules.byOID[rule.beside.String()]
		switch {
		case target == nil:
			c.add(rule.besideAt.at, "`%s` names %s, which has no line under `subject`", path, name)
		case target == rule:
			c.add(rule.besideAt.at, "`%s` names the attribute itself", path)
		case target.beside != nil:
			c.add(rule.besideAt.at, "`%s` names %s, which stands beside another one itself: write `beside: %s`", path, name, csr.TypeName(target.beside))
		case target.max != 1:
			c.add(rule.besideAt.at, "`%s` names %s, of which there may be several: write `max: 1` there", path, name)
		}
		if rule.max > 1 {
			c.add(rule.maxAt.at, "`%s` is 1 for an attribute that stands beside another: an RDN has each attribute once", rule.maxAt.path)
		}
	}
}

func hasType(rdn csr.RDN, oid asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(rdn, func(v csr.AttributeValue) bool { return v.Type.Equal(oid) })
}

// joins tells whether the attributes of an RDN may stand in one: all but one
// of them beside that one.
func (r subjectRules) joins(rdn csr.RDN) bool {
	if len(rdn) < 2 {
		return true
	}
	var target asn1.ObjectIdentifier
	for _, value := range rdn {
		rule := r.byOID[value.Type.String()]
		switch {
		case rule == nil:
			return false
		case rule.beside != nil && hasType(rdn, rule.beside):
		case target != nil:
			return false
		default:
			target = value.Type
		}
	}
	return true
}

// standsIn tells whether an attribute with this rule may stand in an RDN.
func (r *attributeRule) standsIn(rdn csr.RDN) bool {
	return r.beside == nil || hasType(rdn, r.beside)
}

// with adds RDNs of one attribute each to a subject: at the end, or into the
// RDN of the attribute beside which a rule has them.
func (r subjectRules) with(subject, more csr.Name) csr.Name {
	subject = slices.Clone(subject)
	for _, rdn := range more {
		rule := r.byOID[rdn[0].Type.String()]
		i := -1
		if rule != nil && rule.beside != nil {
			i = slices.IndexFunc(subject, func(other csr.RDN) bool { return hasType(other, rule.beside) })
		}
		if i < 0 {
			subject = append(subject, rdn)
			continue
		}
		subject[i] = append(slices.Clone(subject[i]), rdn...).Sorted()
	}
	return subject
}
