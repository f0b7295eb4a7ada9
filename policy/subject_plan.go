// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// A subjectPlan is a subject in the making.
type subjectPlan struct {
	asked  map[string][]string // the request's values by OID
	placed map[string]int      // how many values of set have the place of one of them
	name   csr.Name
}

// subject plans the subject from the request's, attribute by attribute.
func (j *judge) subject() {
	s := subjectPlan{asked: map[string][]string{}, placed: map[string]int{}}
	for _, rdn := range j.req.CSR.Names.Subject {
		if !j.names.subject.joins(rdn) {
			got := show(csr.Name{rdn}.String())
			j.refuse(j.names.subject.spot, ByPolicy, got, "one attribute in each RDN", "the request has several attributes in one RDN, and no line says `beside` of them: %s", got)
		}
		var kept csr.RDN
		for _, attribute := range rdn {
			if value, ok := j.attribute(&s, rdn, attribute); ok {
				kept = append(kept, value)
			}
			oid := attribute.Type.String()
			s.asked[oid] = append(s.asked[oid], attribute.Value)
		}
		if len(kept) > 0 {
			s.name = append(s.name, kept)
		}
	}
	for _, rule := range j.names.subject.rules {
		j.counts(&rule.nameRule, s.asked[rule.oid.String()])
	}
	j.setMissing(&s)
	j.deniedSubject(s.name)
	j.plan.Names.Subject = s.name
}

// deniedSubject: a subject is a directory name, too.
func (j *judge) deniedSubject(name csr.Name) {
	key := sanKey{form: csr.DirectoryName}
	if _, there := j.profile.guard.deny[key]; !there {
		return
	}
	text := name.String()
	if p, at, denied := j.profile.guard.denies(key, text); denied {
		j.refuse(at, ByPolicy, show(text), "not "+show(p.text), "the subject %s is denied by the guardrail %s", quote(text), quote(p.text))
	}
}

// attribute plans one value of the request.
func (j *judge) attribute(s *subjectPlan, rdn csr.RDN, value csr.AttributeValue) (csr.AttributeValue, bool) {
	oid := value.Type.String()
	rule := j.names.subject.byOID[oid]
	name := csr.TypeName(value.Type)
	s.placed[oid]++
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
		return j.setAttribute(s, rule, rdn, value)
	}
	if !rule.standsIn(rdn) {
		j.refuse(rule.besideAt, ByPolicy, show(csr.Name{rdn}.String()), "", "the %s %s does not stand in the RDN of the %s",
			rule.label, quote(value.Value), csr.TypeName(rule.beside))
		return value, false
	}
	return value, true
}

// setAttribute puts the policy's values in the places of the request's, one
// by one, and takes away what the request has more.
func (j *judge) setAttribute(s *subjectPlan, rule *attributeRule, rdn csr.RDN, value csr.AttributeValue) (csr.AttributeValue, bool) {
	oid := rule.oid.String()
	n := len(s.asked[oid])
	if n >= len(rule.literals) {
		j.add(rule.setAt, Rewritten, ByPolicy, show(value.Value), showList(rule.set),
			"the request has the %s more than once; the certificate has only %s", rule.label, showList(rule.set))
		return value, false
	}
	if !rule.standsIn(rdn) {
		s.placed[oid]--
		return value, false // setMissing has its place
	}
	want := rule.set[n]
	if value.Value == want {
		j.asked(rule.setAt, value.Value, want, "holds")
		return value, true
	}
	j.add(rule.setAt, Rewritten, ByPolicy, show(value.Value), show(want),
		"the %s %s is replaced by %s", rule.label, quote(value.Value), quote(want))
	return rule.literals[n], true
}

// setMissing adds the values of set that have no place yet: each as an RDN of
// its own at the end, or in the RDN of the attribute beside which it stands.
func (j *judge) setMissing(s *subjectPlan) {
	for _, beside := range []bool{false, true} {
		for _, rule := range j.names.subject.rules {
			if !rule.sets() || beside != (rule.beside != nil) {
				continue
			}
			oid := rule.oid.String()
			for _, literal := range rule.literals[min(s.placed[oid], len(rule.literals)):] {
				j.setOne(s, rule, literal)
			}
		}
	}
}

func (j *judge) setOne(s *subjectPlan, rule *attributeRule, literal csr.AttributeValue) {
	if rule.beside == nil {
		s.name = append(s.name, csr.RDN{literal})
	} else {
		i := slices.IndexFunc(s.name, func(rdn csr.RDN) bool { return hasType(rdn, rule.beside) })
		if i < 0 {
			j.refuse(rule.besideAt, ByPolicy, "", csr.TypeName(rule.beside), "the certificate would have no %s, beside which the %s stands",
				csr.TypeName(rule.beside), rule.label)
			return
		}
		s.name[i] = append(slices.Clone(s.name[i]), literal)
	}
	switch asked := s.asked[rule.oid.String()]; {
	case len(asked) == 0:
		j.add(rule.setAt, Rewritten, ByPolicy, "(absent)", show(literal.Value),
			"the request has no %s; the certificate has %s", rule.label, quote(literal.Value))
	case rule.beside != nil:
		j.add(rule.setAt, Rewritten, ByPolicy, showList(asked), show(literal.Value),
			"the %s does not stand in the RDN of the %s; the certificate has %s there", rule.label, csr.TypeName(rule.beside), quote(literal.Value))
	default:
		j.add(rule.setAt, Rewritten, ByPolicy, showList(asked), show(literal.Value),
			"the request has too few values of the %s; the certificate has %s as well", rule.label, quote(literal.Value))
	}
}

func describeValue(value csr.AttributeValue) string {
	if !value.Text {
		return "one that is not text"
	}
	return quote(value.Value)
}

// takes tells whether every attribute would be in a certificate of the
// profile, as `matches: names` asks.
func (r subjectRules) takes(subject csr.Name) bool {
	for _, rdn := range subject {
		if !r.joins(rdn) {
			return false
		}
		for _, value := range rdn {
			rule := r.byOID[value.Type.String()]
			if rule == nil || !value.Text || !rule.takes(value.Value) || !rule.standsIn(rdn) {
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
