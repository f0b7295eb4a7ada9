// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// hintNames says which names are expected: RFC 9908 section 3.4 wants each
// expected RDN in a template, and no other. What may be there and need not is
// left out.
func (p *Profile) hintNames(h *Hints, name Op) {
	names := p.namesFor(name)
	byAttribute := false
	for _, rule := range names.subject.rules {
		if !rule.sets() && p.bringsSubject(rule.oid) {
			byAttribute = true // asked for already
			continue
		}
		if rule.beside != nil {
			continue
		}
		for _, value := range rule.expected() {
			h.Subject = append(h.Subject, RDNHint{{Type: rule.oid, Value: value}})
		}
	}
	for _, rule := range names.subject.rules {
		for _, value := range rule.expected() {
			if rule.beside != nil && (rule.sets() || !p.bringsSubject(rule.oid)) {
				h.joinRDN(rule.beside, AttributeHint{Type: rule.oid, Value: value})
			}
		}
	}
	for _, rule := range names.san.rules {
		h.SAN = append(h.SAN, rule.expectedNames()...)
	}
	if len(h.Subject) == 0 && len(h.SAN) == 0 && !byAttribute && !names.sets() {
		// A request without a name is refused, so one has to be asked for.
		h.firstName(names)
	}
	h.SANCritical = len(h.Subject) == 0 && !byAttribute
	h.completeSAN()
}

// bringsSubject tells whether a required attribute brings a value into the
// subject.
func (p *Profile) bringsSubject(oid asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(p.attributes.require, func(l listed) bool { return l.into == intoSubject && l.oid.Equal(oid) })
}

// joinRDN puts an attribute beside another one, which is expected with it.
func (h *Hints) joinRDN(beside asn1.ObjectIdentifier, a AttributeHint) {
	for i, rdn := range h.Subject {
		if slices.ContainsFunc(rdn, func(other AttributeHint) bool { return other.Type.Equal(beside) }) {
			h.Subject[i] = append(rdn, a)
			return
		}
	}
	h.Subject = append(h.Subject, RDNHint{{Type: beside}, a})
}

// namesFor gives the rules that hold for everybody who asks for the operation,
// or for the one that is offered.
func (p *Profile) namesFor(name Op) nameRules {
	of := p.operations[name]
	if all := p.offered(); of == nil && len(all) > 0 {
		of = all[0]
	}
	switch {
	case of == nil:
		return p.names
	case len(of.who) == 1:
		return of.who[0].names
	}
	return of.names
}

// sets tells whether every certificate has a name, whatever was asked for.
func (n nameRules) sets() bool {
	return slices.ContainsFunc(n.subject.rules, func(r *attributeRule) bool { return r.sets() }) ||
		slices.ContainsFunc(n.san.rules, func(r *sanRule) bool { return r.sets() })
}

func (h *Hints) firstName(names nameRules) {
	switch {
	case len(names.subject.rules) > 0:
		i := slices.IndexFunc(names.subject.rules, func(r *attributeRule) bool { return r.beside == nil })
		rule := names.subject.rules[max(i, 0)]
		h.Subject = []RDNHint{{{Type: rule.oid, Value: rule.only()}}}
	case len(names.san.rules) > 0:
		h.SAN = []NameHint{names.san.rules[0].hint("")}
	}
}

// completeSAN puts the SAN among the extensions that are told in full, where
// nothing of it is left to the client.
func (h *Hints) completeSAN() {
	var names []csr.GeneralName
	for _, hint := range h.SAN {
		if hint.Raw == nil {
			return
		}
		names = append(names, csr.GeneralName{Form: hint.Form, Raw: hint.Raw})
	}
	if value, err := csr.MarshalSAN(names); err == nil {
		h.Extensions = append(h.Extensions, csr.Extension{ID: mustOID(csr.OIDSubjectAltName), Critical: h.SANCritical, Value: value})
	}
}

// expected gives the values that a request must have, or that the certificate
// will have: "" is one that the client chooses. What an expression sets isn't
// known before there is a request, so it is asked for only where the request
// must have a value of its own.
func (r *nameRule) expected() []string {
	switch {
	case len(r.set) > 0:
		return r.set
	case len(r.required) > 0:
		var values []string
		for _, p := range r.required {
			values = append(values, r.literal(p))
		}
		return values
	case r.require:
		return []string{r.only()}
	}
	return nil
}

// only gives the one value that the rule takes, or "" where there are more.
func (r *nameRule) only() string {
	if all := slices.Concat(r.allow, r.required); len(all) == 1 {
		return r.literal(all[0])
	}
	return ""
}

// literal gives the one value that the pattern takes, as certificates have it,
// or "".
func (r *nameRule) literal(p pattern) string {
	value := p.text
	switch {
	case p.prefix.IsValid() && p.prefix.IsSingleIP():
		value = p.prefix.Addr().String()
	case p.prefix.IsValid(), strings.Contains(p.text, "*"):
		return ""
	}
	if r.form.name == dnsForm.name {
		value = inALabels(value)
	}
	if _, err := r.accepts(value); err != nil {
		return ""
	}
	return value
}

// inALabels gives a name as certificates have it: a pattern may have
// international labels, and no value has.
func inALabels(name string) string {
	labels := strings.Split(name, ".")
	for i, label := range labels {
		if a, err := toALabel(label); err == nil {
			labels[i] = a
		}
	}
	return strings.Join(labels, ".")
}

func (r *sanRule) expectedNames() []NameHint {
	var hints []NameHint
	if len(r.set) > 0 {
		for _, name := range r.literals {
			hints = append(hints, NameHint{Form: name.Form, TypeID: name.TypeID, Raw: name.Raw})
		}
		return hints
	}
	for _, value := range r.expected() {
		hints = append(hints, r.hint(value))
	}
	return hints
}

// hint gives the hint for a value, or for one of the client's.
func (r *sanRule) hint(value string) NameHint {
	hint := NameHint{Form: r.kind.key.form}
	if typeID := r.kind.key.typeID; typeID != "" {
		hint.TypeID = mustOID(typeID)
	}
	if name, err := r.kind.key.name(value); err == nil && value != "" {
		hint.Raw = name.Raw
	}
	return hint
}

// hintsSubject tells whether the template has an attribute in its subject.
func (p *Profile) hintsSubject(oid string) bool {
	var h Hints
	p.hintNames(&h, SimpleEnroll)
	return slices.ContainsFunc(h.Subject, func(rdn RDNHint) bool {
		return slices.ContainsFunc(rdn, func(a AttributeHint) bool { return is(a.Type, oid) })
	})
}

func is(oid asn1.ObjectIdentifier, dotted string) bool { return oid.String() == dotted }
