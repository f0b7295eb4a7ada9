// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// Capabilities says which parts of a Plan a CA can express.
type Capabilities struct {
	Subject     bool // any subject, with several attributes in an RDN, too
	SAN         bool // every form that a policy can set, byte for byte
	KeyUsage    bool
	ExtKeyUsage bool // any purpose
	Extensions  bool
	Serial      bool

	// SubjectTypes are the types of attributes, dotted, that a CA can be told
	// which can't be told any Subject: one of each, in an RDN of its own.
	SubjectTypes []string
	// SANForms are the forms of names that a CA can be told which can't be told
	// every SAN.
	SANForms []csr.NameForm
	// OtherName is the only form that the value of an otherName can have, such
	// as utf8, where SANForms has otherNames; "": any.
	OtherName string
	// Fixed are the types of attributes, dotted, that stand in the configuration
	// of the CA: each certificate has the same one value of each.
	Fixed []string
	// Alone says that the CA makes names from what it is told alone: those that
	// a policy takes over from the request must be told, too.
	Alone bool
	// PassedTypes and PassedForms are the types of attributes, dotted, and the
	// forms of names that a CA with Alone takes over from a request as they are,
	// though it can't be told them.
	PassedTypes []string
	PassedForms []csr.NameForm
	// Verbatim says that extensions of the request go into the certificate as
	// they are, without being told.
	Verbatim bool
	// Purposes are the extended key usages, dotted, that a CA can give which
	// can't give any.
	Purposes []string

	// PKCS10 says that the CA takes requests in PKCS #10 alone, and no CRMF.
	PKCS10 bool
	// Keygen says that the CA can make keys (ra.KeyMaker).
	Keygen bool
	// MaxValidity is the longest lifetime that the CA issues; 0 means that
	// it isn't known.
	MaxValidity time.Duration
}

// Attribute says whether a subject attribute of this type, dotted, can be told.
func (c Capabilities) Attribute(oid string) bool {
	return c.Subject || slices.Contains(c.SubjectTypes, oid)
}

// Name says whether a name of this form in the SAN can be told.
func (c Capabilities) Name(form csr.NameForm) bool {
	return c.SAN || slices.Contains(c.SANForms, form)
}

// Purpose says whether an extended key usage, dotted, can be told.
func (c Capabilities) Purpose(oid string) bool {
	return c.ExtKeyUsage || slices.Contains(c.Purposes, oid)
}

// PassesAttribute says whether a subject attribute of a request, of this type,
// dotted, gets into the certificate without being told.
func (c Capabilities) PassesAttribute(oid string) bool {
	return !c.Alone || slices.Contains(c.PassedTypes, oid)
}

// PassesName is PassesAttribute for a form of names in the SAN.
func (c Capabilities) PassesName(form csr.NameForm) bool {
	return !c.Alone || slices.Contains(c.PassedForms, form)
}

// A carrying is the question whether upstreams can express a profile.
type carrying struct {
	*binder
	upstream string
}

// carries refuses an upstream that can't express what the profile itself
// puts into a certificate. What only passes through from the request needs
// no power of the upstream, where something passes.
func (b *binder) carries(p *Profile, name string, can Capabilities) {
	c := carrying{b, name}
	for _, names := range p.everyNames() {
		c.names(p.names, names)
	}
	c.need(p.usage.keyAt, "the key usage", func(can Capabilities) bool { return can.KeyUsage || p.usage.key == 0 })
	for _, oid := range p.usage.ext {
		c.need(p.usage.extAt, "the extended key usage "+extKeyUsageName(oid), func(can Capabilities) bool { return can.Purpose(oid.String()) })
	}
	further := func(can Capabilities) bool { return can.Extensions }
	for _, entry := range p.extensions.taken() {
		c.need(entry.spot, "further extensions", func(can Capabilities) bool { return can.Extensions || can.Verbatim })
	}
	for _, set := range p.extensions.set {
		c.need(set.spot, "further extensions", further)
	}
	for _, entry := range p.attributes.taken() {
		c.attribute(p, entry)
	}
	if can.MaxValidity > 0 && p.longest > can.MaxValidity {
		b.add(p.longestAt.at, "the upstream %s issues for at most %s, and the profile's validity is up to %s",
			quote(name), shortDuration(can.MaxValidity), shortDuration(p.longest))
	}
}

func (c carrying) names(base, names nameRules) {
	for _, rule := range names.subject.rules {
		fixed := func(can Capabilities) bool { return can.fixes(rule, base.subject) }
		told := c.need(rule.decides(), rule.called(), func(can Capabilities) bool {
			return !rule.sets() && can.PassesAttribute(rule.oid.String()) || can.Attribute(rule.oid.String()) || fixed(can)
		})
		if told && rule.sets() && len(rule.beside) > 0 {
			c.need(rule.besideAt, "several attributes in one RDN of the subject", func(can Capabilities) bool { return can.Subject })
		}
		if told && len(rule.set) > 1 {
			c.need(rule.setAt, rule.called()+" more than once", func(can Capabilities) bool { return can.Subject })
		}
	}
	for _, rule := range names.san.rules {
		c.need(rule.decides(), "the "+rule.label, func(can Capabilities) bool {
			form := rule.kind.key.form
			return !rule.sets() && can.PassesName(form) || can.Name(form) && can.writes(rule)
		})
	}
}

// decides is where a rule says which values there are.
func (r *nameRule) decides() spot {
	if r.sets() {
		return r.setAt
	}
	return r.spot
}

// called is how messages call what a rule gives.
func (r *attributeRule) called() string {
	what := "the subject's " + show(r.name)
	if !r.sets() {
		return what + " of a request"
	}
	return what
}

// fixes says that the CA's configuration can have what a rule gives: one value
// that is the same for everybody, as the profile has it before a line changes it.
func (c Capabilities) fixes(rule *attributeRule, base subjectRules) bool {
	oid := rule.oid.String()
	always := base.byOID[oid]
	return slices.Contains(c.Fixed, oid) && len(rule.set) > 0 && always != nil && slices.Equal(always.set, rule.set)
}

// writes says whether the CA can write the values that a rule sets.
func (c Capabilities) writes(rule *sanRule) bool {
	if c.SAN || c.OtherName == "" || rule.kind.key.form != csr.OtherName {
		return true
	}
	switch rule.kind.key.typeID {
	case csr.OIDUserPrincipalName: // always UTF-8
		return true
	case csr.OIDPermanentIdentifier, csr.OIDHardwareModuleName:
		return false
	}
	return !slices.ContainsFunc(rule.set, func(value string) bool { return !strings.HasPrefix(value, c.OtherName+":") })
}

// attribute is one of the request that the profile moves into a name. Into which
// of the names changeSubjectName does is the device's choice, among those that
// the profile takes.
func (c carrying) attribute(p *Profile, entry listed) {
	switch {
	case entry.oid.String() == changeSubjectName:
		for _, names := range p.everyNames() {
			c.change(names, entry.spot)
		}
	case entry.into == intoSubject:
		c.need(entry.spot, "the subject's "+show(csr.TypeName(entry.oid)), func(can Capabilities) bool { return can.Attribute(entry.oid.String()) })
	case entry.into == intoDirectory:
		c.need(entry.intoAt, "further extensions", func(can Capabilities) bool { return can.Extensions })
	}
}

// change is what changeSubjectName may bring. What can't be told is said once.
func (c carrying) change(names nameRules, at spot) {
	for _, rule := range names.subject.rules {
		if !c.need(at, "the subject's "+show(rule.name), func(can Capabilities) bool { return can.Attribute(rule.oid.String()) }) {
			return
		}
	}
	for _, rule := range names.san.rules {
		if !c.need(at, "the "+rule.label, func(can Capabilities) bool { return can.Name(rule.kind.key.form) }) {
			return
		}
	}
}

// need refuses what the upstream isn't able to, and names those that are.
func (c carrying) need(at spot, what string, able func(Capabilities) bool) bool {
	if able(c.env.Upstreams[c.upstream]) {
		return true
	}
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(c.env.Upstreams)), func(name string) bool { return !able(c.env.Upstreams[name]) })
	hint := ""
	if len(others) > 0 {
		hint = "; this one can: " + showList(others)
	}
	c.add(at.at, "the upstream %s can't be told %s, which `%s` decides%s", quote(c.upstream), what, at.path, hint)
	return false
}
