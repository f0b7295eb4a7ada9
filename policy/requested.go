// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// requested finds the names that the request is for: its own, or those of
// changeSubjectName, and the attributes that go into the subject. All else is
// decided about these. j.own keeps what the request has by itself, which a
// renewal is compared with.
func (j *judge) requested() {
	j.own = j.req.CSR.Names
	if own, others := j.req.CSR.Original(); others {
		j.add(j.op.spot, Warned, ByPolicy, describeNames(j.own), describeNames(own),
			"the registration authority asks for the names %s in the place of the request's own, %s", describeNames(j.own), describeNames(own))
	}
	names, changed := j.changedNames()
	more := j.subjectValues(names.Subject)
	if !changed && len(more) == 0 {
		return
	}
	names.Subject = j.names.subject.with(names.Subject, more)
	request := *j.req.CSR // the caller's stays as it is
	request.Names = names
	j.req.CSR = &request
}

// changedNames gives the names that changeSubjectName asks for (RFC 6402
// section 2.8). Not to look at it would issue for names that nobody asks for.
func (j *judge) changedNames() (csr.Names, bool) {
	asked, present, err := j.req.CSR.ChangeSubjectName()
	if !present {
		return j.own, false
	}
	rule := j.profile.attributes
	entry, how := rule.treat(mustOID(changeSubjectName))
	switch {
	case how != allowed:
		j.refuse(rule.spot, ByPolicy, "changeSubjectName", wantsOf(rule),
			"the request asks for other names than its own (changeSubjectName, RFC 6402 section 2.8), which the profile doesn't allow")
		return j.own, false
	case err != nil:
		j.refuse(entry.spot, ByPolicy, "changeSubjectName", "", "the names that the request asks for can't be read: %s", show(err.Error()))
		return j.own, false
	case j.by.Proven():
		j.refuse(entry.spot, ByPolicy, "changeSubjectName", "",
			"a registration authority asks for the request's own names alone: nothing proves whose they are that others would replace (RFC 6402 section 2.8)")
		return j.own, false
	case !j.req.Op.Renews() && !j.provesOwn(entry):
		return j.own, false
	}
	j.add(entry.spot, Warned, ByPolicy, describeNames(asked), describeNames(j.own),
		"the request asks for the names %s in the place of its own, %s", describeNames(asked), describeNames(j.own))
	return asked, true
}

// provesOwn: RFC 7030 section 4.2.1 has changeSubjectName for clients that
// authenticate with a certificate of another CA, and RFC 6402 section 2.8 wants
// the request's own names to be those of that certificate. On a renewal
// same_names sees to it.
func (j *judge) provesOwn(entry listed) bool {
	cert := j.req.Who.Cert
	if cert == nil {
		j.refuse(entry.spot, ByPolicy, "no client certificate", "a client certificate",
			"the request asks for other names than its own, which takes a client certificate with its own names (RFC 7030 section 4.2.1)")
		return false
	}
	names, err := csr.NamesOf(cert)
	if err != nil {
		j.refuse(entry.spot, ByPolicy, "", "", "the names of the client certificate can't be read: %s", show(err.Error()))
		return false
	}
	if !j.own.Equal(names) {
		j.refuse(entry.spot, ByPolicy, describeNames(j.own), describeNames(names),
			"the request asks for other names than its own, and its own, %s, are not those of the client certificate, %s (RFC 6402 section 2.8)",
			describeNames(j.own), describeNames(names))
		return false
	}
	return true
}

// subjectValues gives the RDNs that attributes with `into: subject` add. A
// value that the subject has already adds nothing.
func (j *judge) subjectValues(subject csr.Name) csr.Name {
	var more csr.Name
	for _, attribute := range j.req.CSR.Attributes {
		entry, how := j.profile.attributes.treat(attribute.Type)
		if how != allowed || entry.into != intoSubject {
			continue
		}
		for _, element := range attribute.Values {
			value, err := csr.ValueOf(attribute.Type, element)
			if err != nil {
				j.refuse(entry.intoAt, ByPolicy, "(not DER)", "text", "the attribute %s can't be read: %s", show(entry.name), show(err.Error()))
				continue
			}
			if inName(subject, value) || inName(more, value) {
				continue
			}
			if j.req.Op.Renews() {
				// RFC 7030 section 4.2.2: a renewal keeps its names, save by
				// changeSubjectName.
				j.refuse(entry.intoAt, BadRenewal, describeValue(value), "a value of the subject",
					"the attribute %s would bring %s into the subject, and a renewal keeps its names (RFC 7030 section 4.2.2)", show(entry.name), describeValue(value))
				continue
			}
			more = append(more, csr.RDN{value})
		}
	}
	return more
}

func inName(name csr.Name, value csr.AttributeValue) bool {
	same := func(v csr.AttributeValue) bool {
		if !v.Type.Equal(value.Type) || v.Text != value.Text {
			return false
		}
		return v.Text && v.Value == value.Value || !v.Text && bytes.Equal(v.Raw, value.Raw)
	}
	return slices.ContainsFunc(name, func(rdn csr.RDN) bool { return slices.ContainsFunc(rdn, same) })
}
