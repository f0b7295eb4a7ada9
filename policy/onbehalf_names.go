// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// nameBounds are the names for which an RA may ask: `names` of a line of
// on_behalf. A form without patterns is refused.
type nameBounds struct {
	spot    spot
	written bool
	cn      *nameRule
	san     map[sanKey]*nameRule
}

// bounds reads `names`: a list is of DNS names, which bounds CN too.
func (c *compiler) bounds(n node) nameBounds {
	b := nameBounds{spot: n.spot(), written: n.present(), san: map[sanKey]*nameRule{}}
	if n.isList() {
		b.cn = c.bound(n, sanKinds["dns"].form)
		b.san[sanKinds["dns"].key] = b.cn
		return b
	}
	for _, member := range c.sanMembers(n) {
		b.san[member.kind.key] = c.bound(member.node, member.kind.form)
	}
	b.cn = b.san[sanKinds["dns"].key]
	if cn := n.get("cn"); cn.present() {
		b.cn = c.bound(cn, identifierForm)
	}
	if n.present() && len(b.san) == 0 && b.cn == nil {
		c.add(n.at, "`%s` is empty: the RA could ask for no name", n.path)
	}
	return b
}

func (c *compiler) bound(list node, f form) *nameRule {
	if list.isList() && len(list.items()) == 0 {
		c.add(list.at, "`%s` is an empty list, which takes nothing", list.path)
	}
	// Whether a wildcard name may be had at all, the profile's rule says.
	return &nameRule{spot: list.spot(), allowAt: list.spot(), label: f.name, form: f, bounded: true, wildcard: true, allow: c.patterns(list, f)}
}

// of gives the bound of a subject attribute: false where it is no name of a
// device, and the profile alone decides about it.
func (b nameBounds) of(oid string) (*nameRule, bool) {
	switch oid {
	case commonName:
		return b.cn, true
	case emailInSubject:
		return b.san[sanKinds["email"].key], true
	}
	return nil, false
}

// A boundName is a name of a request or of its plan, as `names` bounds it.
type boundName struct {
	rule  *nameRule // nil: the form isn't listed
	what  string
	value string
	text  bool
}

// names are those that the bounds are held against, each once.
func (b nameBounds) names(of ...csr.Names) []boundName {
	var all []boundName
	add := func(n boundName) {
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	for _, names := range of {
		for _, rdn := range names.Subject {
			for _, v := range rdn {
				if rule, bounded := b.of(v.Type.String()); bounded {
					add(boundName{rule, subjectAttribute + csr.TypeName(v.Type), v.Value, v.Text})
				}
			}
		}
		for _, name := range names.SAN {
			key := keyOf(name)
			what := key.kindName()
			if what == "" {
				what = "name of another form"
			}
			add(boundName{b.san[key], what + " in the SAN", name.Value, true})
		}
	}
	return all
}

// bounds holds the names that an RA asks for against its line, and those that
// the certificate would have.
func (j *judge) bounds() {
	if j.line == nil {
		return
	}
	b := j.line.bounds
	for _, n := range b.names(j.req.CSR.Names, j.plan.Names) {
		switch {
		case n.rule == nil:
			j.refuse(b.spot, ByPolicy, show(n.value), "", "the RA may ask for no %s, and the request is for %s", n.what, quote(n.value))
		case !n.text:
			j.refuse(n.rule.spot, ByPolicy, "(not text)", n.rule.wants(), "the %s is not text, and the RA may ask for %s", n.what, n.rule.wants())
		default:
			if at, err := n.rule.accepts(n.value); err != nil {
				j.refuse(at, ByPolicy, show(n.value), n.rule.wants(), "the RA may not ask for the %s %s: %v", n.what, quote(n.value), err)
			} else {
				j.asked(at, n.value, "", "holds")
			}
		}
	}
	j.notItself()
}

// notItself: on behalf of others an RA asks for no certificate of its own, nor
// for one with its own key. It renews its own as any client does.
func (j *judge) notItself() {
	at := j.line.spot
	own, err := csr.NamesOf(j.req.Who.Cert)
	if err != nil {
		j.refuse(at, ByPolicy, "", "", "the names of the RA's certificate can't be read: %s", show(err.Error()))
		return
	}
	for _, names := range []csr.Names{j.own, j.req.CSR.Names, j.plan.Names} {
		if shared, are := sharedName(own, names); are {
			j.refuse(at, ByPolicy, shared, "a name of another", "the request is for a name of the RA itself, %s: on behalf of others it asks for theirs alone", shared)
			break
		}
	}
	if bytes.Equal(j.req.CSR.RawSPKI, j.req.Who.Cert.RawSubjectPublicKeyInfo) || sameKey(j.req.CSR, j.req.Who.Cert) {
		j.refuse(at, KeyReuse, "the RA's key", "another key", "the request has the key of the RA itself")
	}
}

// sharedName gives the first name that two have in common: the whole subject, a
// host in CN or dNSName, or any other entry of the SAN.
func sharedName(own, names csr.Names) (string, bool) {
	if len(own.Subject) > 0 && own.Subject.Equal(names.Subject) {
		return show(own.Subject.String()), true
	}
	mine := hostsOf(own)
	for _, host := range hostsOf(names) {
		if slices.Contains(mine, host) {
			return quote(host), true
		}
	}
	for _, name := range names.SAN {
		if slices.ContainsFunc(own.SAN, name.Equal) {
			return show(name.String()), true
		}
	}
	return "", false
}

// hostsOf are CNs and dNSNames in lower case: either is read as the other.
func hostsOf(names csr.Names) []string {
	var hosts []string
	for _, rdn := range names.Subject {
		for _, v := range rdn {
			if is(v.Type, commonName) && v.Text {
				hosts = append(hosts, asciiLower(v.Value))
			}
		}
	}
	for _, name := range names.SAN {
		if name.Form == csr.DNS && name.Value != "" {
			hosts = append(hosts, asciiLower(name.Value))
		}
	}
	return hosts
}
