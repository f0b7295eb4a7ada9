// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// attributes reads the rules for PKCS #10 attributes. names are those of the
// profile: what goes into the subject obeys the rules that stand there.
func (c *compiler) attributes(n node, names nameRules) listRule {
	rule := c.list(n, attributeOID, knownAttributes())
	for _, entry := range rule.taken() {
		c.takenAttribute(entry, names)
	}
	for _, entry := range slices.Concat(rule.require, rule.allow, rule.ignore) {
		switch entry.oid.String() {
		case csr.OIDExtensionRequest:
			c.add(entry.spot.at, "the attribute extensionRequest is always read: what may be in it stands under `extensions` and `san`")
		case csr.OIDChallengePassword, estIdentityLinking:
			c.add(entry.spot.at, "the attribute %s is always read: whether it must be there, `linking` says", entry.name)
		}
	}
	if entry, how := rule.treat(mustOID(changeSubjectName)); how == ignored {
		// The certificate would have other names than the device asks for.
		c.add(entry.spot.at, "the attribute changeSubjectName can't be ignored: it says which names the request is for (RFC 6402 section 2.8)")
	}
	if entry, how := rule.treat(mustOID(revocationChallenge)); how != unlisted {
		// Who sends it counts on it to have the certificate revoked.
		c.add(entry.spot.at, "the attribute revocationChallenge is always refused: this version keeps nothing that a revocation could be asked with (RFC 7894 section 3.2)")
	}
	for _, oid := range bookkeeping {
		if _, how := rule.treat(mustOID(oid)); how == unlisted {
			rule.ignore = append(rule.ignore, listed{spot: rule.spot, oid: mustOID(oid), name: attributeName(mustOID(oid))})
		}
	}
	return rule
}

// takenAttribute looks at an entry under require or allow.
func (c *compiler) takenAttribute(entry listed, names nameRules) {
	oid := entry.oid.String()
	switch {
	case oid == revocationChallenge: // refused above, wherever it stands
	case oid == otpChallenge:
		c.add(entry.spot.at, "the attribute otpChallenge is taken where a line of `who` has `one_time_password: {via: otp_challenge}`: here it can only be ignored")
	case notEnforced[oid] != "":
		c.add(entry.spot.at, "the attribute %s is not enforced by this version: it can only be ignored", attributeName(entry.oid))
	case oid == changeSubjectName && entry.into != nowhere:
		c.add(entry.intoAt.at, "the names in changeSubjectName take the place of the request's own: they go nowhere else")
	case oid == changeSubjectName:
		c.warn(lintOtherNames, entry.spot, "who may ask at all may ask for other names than those that it has (changeSubjectName): "+
			"any that the profile takes")
	case entry.into == intoSubject && names.subject.byOID[oid] == nil:
		c.add(entry.intoAt.at, "`into: subject` wants a rule for %s under `subject`, and there is none", entry.name)
	case entry.into == intoDirectory && !entry.bounded:
		c.warn(lintAnyAttribute, entry.intoAt, "the certificate has whatever value of %s the request has: `allow` beside `into` would bound it", entry.name)
	}
}

// destination reads where the values of an attribute go.
func (c *compiler) destination(item node, entry *listed) {
	if item.isText() {
		return
	}
	into, allow := item.get("into"), item.get("allow")
	entry.intoAt, entry.allowAt, entry.bounded = into.spot(), allow.spot(), allow.present()
	switch into.value() {
	case "subject":
		entry.into = intoSubject
	case "subjectDirectoryAttributes":
		entry.into = intoDirectory
		entry.allow = c.patterns(allow, subjectForm(entry.oid.String()))
		if allow.isList() && len(allow.items()) == 0 {
			c.add(allow.at, "`%s` is an empty list, which takes nothing", allow.path)
		}
		return
	}
	if allow.present() {
		c.add(allow.at, "`%s` is for subjectDirectoryAttributes: the values of a subject have their rules under `subject`", allow.path)
	}
}

// attributes holds the request's PKCS #10 attributes against the profile, and
// plans what goes into the subjectDirectoryAttributes. What goes into the
// subject has been planned with it already.
func (j *judge) attributes() {
	rule := j.profile.attributes
	present := map[string]bool{}
	var directory []csr.Attribute
	for _, attribute := range j.req.CSR.Attributes {
		oid := attribute.Type.String()
		entry, how := rule.treat(attribute.Type)
		again := present[oid]
		present[oid] = true
		j.listedAttribute(attribute, entry, how, again)
		if how == allowed && !again && entry.into == intoDirectory {
			if made, ok := j.directoryAttribute(attribute, entry); ok {
				directory = append(directory, made)
			}
		}
	}
	for _, entry := range rule.require {
		if !present[entry.oid.String()] {
			j.add(entry.spot, Required, ByPolicy, "", show(entry.name), "the request has no attribute %s, and it must be there", show(entry.name))
		}
	}
	j.directory = directory
}

func (j *judge) listedAttribute(attribute csr.Attribute, entry listed, how treatment, again bool) {
	oid, name := attribute.Type.String(), attributeName(attribute.Type)
	rule := j.profile.attributes
	switch {
	case oid == otpChallenge && j.op.takesChallenge(): // see judge.challenge
	case j.op.readsKeygen(oid): // see judge.keygen
	case how == ignored:
		j.add(entry.spot, Dropped, ByPolicy, show(name), "", "the attribute %s is ignored", show(name))
	case again:
		j.refuse(rule.spot, ByPolicy, show(name), "", "the attribute %s stands twice in the request", show(name))
	case how == allowed:
		j.asked(entry.spot, entry.name, "", "holds")
		j.valued(attribute, entry)
	case oid == csr.OIDChallengePassword, oid == estIdentityLinking, oid == changeSubjectName:
	case oid == popLinkWitnessV2 && j.op.name.ByCMC(): // what it says is the request's linking
	case j.profile.hinted(oid):
		j.add(rule.spot, Dropped, ByPolicy, show(name), "", "the attribute %s, an OID that /csrattrs says, is ignored", show(name))
	case notEnforced[oid] != "":
		j.refuse(rule.spot, ByPolicy, name, "", "the request has the attribute %s, which this version can't honour (%s)", name, notEnforced[oid])
	default:
		j.refuse(rule.spot, ByPolicy, show(name), wantsOf(rule), "the request has the attribute %s, which the profile doesn't take", show(name))
	}
}

// valued says that an attribute has no value for the certificate: some clients
// copy what /csrattrs asks for into the request, and leave it empty.
func (j *judge) valued(attribute csr.Attribute, entry listed) {
	if entry.into == nowhere || len(attribute.Values) > 0 {
		return
	}
	name := show(entry.name)
	if slices.ContainsFunc(j.profile.attributes.require, func(l listed) bool { return l.oid.Equal(entry.oid) }) {
		j.add(entry.spot, Required, ByPolicy, "(no value)", name, "the attribute %s of the request has no value, and must have one", name)
		return
	}
	j.add(entry.spot, Dropped, ByPolicy, name, "", "the attribute %s of the request has no value", name)
}

// directoryAttribute gives what of an attribute goes into the
// subjectDirectoryAttributes: all of it, or nothing.
func (j *judge) directoryAttribute(attribute csr.Attribute, entry listed) (csr.Attribute, bool) {
	made := csr.Attribute{Type: slices.Clone(attribute.Type)}
	for _, element := range attribute.Values {
		value, err := csr.ValueOf(attribute.Type, element)
		if err != nil || !value.Text {
			j.refuse(entry.intoAt, ByPolicy, "(not text)", "text", "the attribute %s is not text that its type allows", show(entry.name))
			return made, false
		}
		if !j.directoryValue(entry, value.Value) {
			return made, false
		}
		made.Values = append(made.Values, slices.Clone(element))
	}
	return made, len(made.Values) > 0
}

func (j *judge) directoryValue(entry listed, value string) bool {
	spell := spellText
	if entry.bounded {
		spell = subjectForm(entry.oid.String()).spell
	}
	spelled, err := spell(value)
	if err != nil {
		j.refuse(entry.intoAt, ByPolicy, show(value), "printable text", "the attribute %s %s is not accepted: %v", show(entry.name), quote(value), err)
		return false
	}
	if p, at, denied := j.profile.guard.deniesAttribute(entry.oid.String(), value); denied {
		j.refuse(at, ByPolicy, show(value), "not "+show(p.text), "the attribute %s %s is denied by the guardrail %s", show(entry.name), quote(value), quote(p.text))
		return false
	}
	if _, ok := matchAny(entry.allow, func(p pattern) bool { return p.match(spelled) }); entry.bounded && !ok {
		wants := showList(patternTexts(entry.allow))
		j.refuse(entry.allowAt, ByPolicy, show(value), wants, "the attribute %s %s is not one of those allowed: %s", show(entry.name), quote(value), wants)
		return false
	}
	return true
}

// NeedsValue tells whether a decision of the profile depends on the values of
// an attribute, and not on its presence alone. Of the challenges of RFC 2985
// and RFC 7894 none is needed: they are compared before anything is decided.
func (p *Profile) NeedsValue(attribute asn1.ObjectIdentifier) bool {
	if attribute.String() == changeSubjectName {
		return true
	}
	if p.reads[attribute.String()] || p.Offers(ServerKeygen) && slices.Contains(keygenAttributes, attribute.String()) {
		return true
	}
	entry, how := p.attributes.treat(attribute)
	return how == allowed && entry.into != nowhere
}
