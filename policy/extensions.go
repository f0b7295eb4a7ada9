// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"

	"github.com/caddy-est/estra/policy/csr"
)

// extensionRules are the rules for extensions that have none of their own.
type extensionRules struct {
	listRule
	set []extensionSet
}

// An extensionSet is an extension that every certificate of the profile has.
type extensionSet struct {
	spot spot
	csr.Extension
	form string      // the key that its value stands under
	by   *expression // gives the value; nil: Value has it
}

func (r extensionRules) sets(oid asn1.ObjectIdentifier) (extensionSet, bool) {
	i := slices.IndexFunc(r.set, func(s extensionSet) bool { return s.ID.Equal(oid) })
	if i < 0 {
		return extensionSet{}, false
	}
	return r.set[i], true
}

func (c *compiler) extensions(n node, p *Profile) extensionRules {
	rules := extensionRules{listRule: c.list(n, extensionOID, knownExtensions())}
	for _, entry := range slices.Concat(rules.require, rules.allow, rules.ignore) {
		_, how := rules.treat(entry.oid)
		c.settled(entry.spot, entry.name, entry.oid, how == ignored)
	}
	for _, entry := range rules.taken() {
		if effect, ok := telling[entry.oid.String()]; ok {
			c.warn(lintTelling, entry.spot, "the extension %s is copied from the request: %s", entry.name, effect)
		}
	}
	for _, member := range n.get("set").members() {
		c.setExtension(&rules, member)
	}
	for _, set := range rules.set {
		if set.Critical && p.Offers(SimpleReenroll) && set.ID.String() != csr.OIDCertificatePolicies {
			c.warn(lintCritical, set.spot, "the extension is critical, and this server doesn't know what it means: it refuses the certificate at a reenroll (RFC 5280 section 4.2)")
		}
	}
	c.directoryTwice(rules, p.attributes)
	return rules
}

// settled refuses extensions that other lines decide, or that no certificate
// of a device has.
func (c *compiler) settled(at spot, name string, oid asn1.ObjectIdentifier, isIgnored bool) {
	switch oid.String() {
	case csr.OIDSubjectAltName:
		c.add(at.at, "the SAN has rules of its own, under `san`")
	case csr.OIDKeyUsage, csr.OIDExtKeyUsage:
		c.add(at.at, "key usage and extended key usage are never copied: they stand under `usage`")
	case csr.OIDBasicConstraints, csr.OIDSubjectKeyIdentifier:
		c.add(at.at, "the extension %s follows from the certificate: no request decides it", name)
	case authorityKeyIdentifier:
		if !isIgnored {
			c.add(at.at, "the extension %s follows from the certificate: no request decides it", name)
		}
	case nameConstraints, policyMappings, policyConstraints, inhibitAnyPolicy:
		if !isIgnored {
			c.add(at.at, "the extension %s is for certificates of CAs, and no profile issues one", name)
		}
	}
}

// directoryTwice: an extension stands once in a certificate (RFC 5280 section
// 4.2), so it is made of attributes or comes whole.
func (c *compiler) directoryTwice(rules extensionRules, attributes listRule) {
	i := slices.IndexFunc(attributes.taken(), func(l listed) bool { return l.into == intoDirectory })
	if i < 0 {
		return
	}
	at := attributes.taken()[i].intoAt.at
	if entry, how := rules.treat(mustOID(csr.OIDDirectoryAttributes)); how == allowed {
		c.add(entry.spot.at, "the extension subjectDirectoryAttributes is made of attributes (line %d): it can't be copied as well", at.Line)
	}
	if set, ok := rules.sets(mustOID(csr.OIDDirectoryAttributes)); ok {
		c.add(set.spot.at, "the extension subjectDirectoryAttributes is made of attributes (line %d): it can't be set as well", at.Line)
	}
}

// setExtension reads one extension under `set`.
func (c *compiler) setExtension(rules *extensionRules, n node) {
	oid, ok := extensionOID(n.name)
	if !ok {
		c.add(n.at, "%s is neither a name known here nor an OID%s", quote(n.name), didYouMean(n.name, knownExtensions()))
		return
	}
	if other, twice := rules.sets(oid); twice {
		c.add(n.at, "`%s` is the extension that already stands on line %d", n.path, other.spot.at.Line)
		return
	}
	c.settled(n.spot(), n.name, oid, false)
	if entry, how := rules.treat(oid); how != unlisted {
		c.add(n.at, "the extension %s is set whatever is asked: %s on line %d says nothing more", n.name, quote(entry.name), entry.spot.at.Line)
	}
	set := extensionSet{spot: n.spot(), Extension: csr.Extension{ID: oid, Critical: n.get("critical").on()}}
	if set.Critical && oid.String() == csr.OIDDirectoryAttributes {
		c.add(n.get("critical").at, "subjectDirectoryAttributes can't be critical (RFC 5280 section 4.2.1.8)")
	}
	if c.extensionValue(n, &set) {
		rules.set = append(rules.set, set)
	}
}

// valueKinds are the ways to write the value of an extension.
var valueKinds = []string{"der", "utf8", "ia5", "oid", "policies"}

// extensionValue reads the value, which stands in exactly one form.
func (c *compiler) extensionValue(n node, set *extensionSet) bool {
	var written []node
	for _, member := range n.members() {
		if slices.Contains(valueKinds, member.name) {
			written = append(written, member)
		}
	}
	if len(written) != 1 {
		c.add(n.at, "`%s` has its value in exactly one of %s", n.path, listWords(valueKinds))
		return false
	}
	one := written[0]
	set.form = one.name
	if set.form == "policies" && set.ID.String() != csr.OIDCertificatePolicies {
		c.add(one.at, "`policies` is the value of certificatePolicies, and of no other extension")
		return false
	}
	if source := one.get("cel"); source.present() {
		set.by = c.expression(source, c.scope, valueType(set.form))
		return set.by != nil
	}
	if set.form == "policies" {
		var ok bool
		set.Value, ok = c.policies(one)
		return ok
	}
	if !one.isText() {
		return false // a checker's
	}
	value, err := extensionForms[one.name](one.value())
	if err == nil {
		err = knownForm(set.ID, value)
	}
	if err != nil {
		c.add(one.at, "%s can't be the value of %s: %s", quote(one.value()), n.name, show(err.Error()))
		return false
	}
	set.Value = value
	return true
}

// valueType is what an expression gives for a form.
func valueType(form string) *cel.Type {
	switch form {
	case "der":
		return cel.BytesType
	case "policies":
		return celTexts
	default:
		return cel.StringType
	}
}

// policies reads the policies of certificatePolicies.
func (c *compiler) policies(n node) ([]byte, bool) {
	var oids []asn1.ObjectIdentifier
	for _, item := range n.texts() {
		oid, ok := parseOID(item.value())
		switch {
		case !ok:
			c.add(item.at, "%s is no OID, such as 1.3.6.1.4.1.32473.1", quote(item.value()))
		case containsOID(oids, oid):
			c.add(item.at, "the policy %s stands twice", item.value())
		default:
			oids = append(oids, oid)
		}
	}
	if n.isList() && len(n.items()) == 0 {
		c.add(n.at, "`%s` is an empty list, and a certificate has at least one policy", n.path)
	}
	value, err := csr.MarshalPolicies(oids)
	return value, err == nil
}

// extensions plans the extensions that the profile takes from the request and
// those that it sets. SAN, usage and basicConstraints have been looked at
// already; the key identifier is the CA's.
func (j *judge) extensions() {
	rules := j.profile.extensions
	made := j.setExtensions()
	present := map[string]bool{}
	for _, extension := range j.req.CSR.Extensions {
		oid := extension.ID.String()
		again := present[oid]
		present[oid] = true
		if again {
			name := show(extensionName(extension.ID))
			j.refuse(rules.spot, BadExtension, name, "", "the extension %s stands twice in the request", name)
			continue
		}
		if !slices.Contains(ownRules, oid) {
			j.extension(extension, made)
		}
	}
	for _, entry := range rules.require {
		if !present[entry.oid.String()] {
			j.add(entry.spot, Required, BadExtension, "", show(entry.name), "the request has no extension %s, and it must be there", show(entry.name))
		}
	}
	for _, set := range made {
		j.plan.Extensions = append(j.plan.Extensions, set.Extension)
	}
	j.planDirectory()
}

// ownRules are the extensions that other rules are for.
var ownRules = []string{csr.OIDSubjectAltName, csr.OIDKeyUsage, csr.OIDExtKeyUsage, csr.OIDBasicConstraints}

// extension holds one requested extension against the profile. made are those
// that the profile sets, with their values for this request.
func (j *judge) extension(extension csr.Extension, made []extensionSet) {
	rules := j.profile.extensions
	name := show(extensionName(extension.ID))
	entry, how := rules.treat(extension.ID)
	_, isSet := rules.sets(extension.ID)
	switch {
	case extension.ID.String() == csr.OIDSubjectKeyIdentifier:
		j.add(rules.spot, Dropped, ByPolicy, name, "", "the extension %s is left out: the CA computes it", name)
	case isSet:
		if i := slices.IndexFunc(made, func(s extensionSet) bool { return s.ID.Equal(extension.ID) }); i >= 0 {
			j.replacedExtension(made[i], extension)
		}
	case how == allowed:
		j.copiedExtension(entry, extension)
	case how == ignored:
		j.add(entry.spot, Dropped, ByPolicy, name, "", "the extension %s is ignored", name)
	default:
		j.refuse(rules.spot, BadExtension, name, wantsOf(rules.listRule), "the request has the extension %s, which the profile doesn't take", name)
	}
}

// setExtensions gives the extensions that the profile sets, with the values
// that they have for this request. One that has none is refused, and left out.
func (j *judge) setExtensions() []extensionSet {
	var made []extensionSet
	for _, set := range j.profile.extensions.set {
		set.ID = slices.Clone(set.ID)
		if set.by == nil {
			set.Value = slices.Clone(set.Value)
		} else if !j.evaluateExtension(&set) {
			continue
		}
		if j.explain {
			j.asked(set.spot, "", extensionText(set.Extension), "sets")
		}
		made = append(made, set)
	}
	return made
}

// evaluateExtension gives the extension the value of its expression, held
// against what a literal is held against when the file is loaded.
func (j *judge) evaluateExtension(set *extensionSet) bool {
	if j.input == nil {
		return false // nobody asks: there is no `who`
	}
	name := show(extensionName(set.ID))
	value, got, err := set.evaluate(j.input)
	switch {
	case err != nil:
		j.unevaluated(set.by.at, "", err)
		return false
	case got == "":
		j.refuse(set.spot, ByPolicy, "(nothing)", "a value", "the expression gives no value for the extension %s", name)
		return false
	}
	encoded, err := value()
	if err == nil {
		err = knownForm(set.ID, encoded)
	}
	if err != nil {
		j.refuse(set.spot, ByPolicy, show(got), "", "the expression gives %s, which can't be the value of %s: %s", quote(got), name, show(err.Error()))
		return false
	}
	set.Value = encoded
	return true
}

// copiedExtension plans an extension as the request has it. A value that
// isn't DER would break whoever reads the certificate.
func (j *judge) copiedExtension(entry listed, extension csr.Extension) {
	if err := knownForm(extension.ID, extension.Value); err != nil {
		name := show(extensionName(extension.ID))
		j.refuse(entry.spot, BadExtension, name, "", "the extension %s of the request can't be read: %s", name, show(err.Error()))
		return
	}
	j.asked(entry.spot, entry.name, "", "holds")
	j.plan.Extensions = append(j.plan.Extensions, csr.Extension{
		ID: slices.Clone(extension.ID), Critical: extension.Critical, Value: slices.Clone(extension.Value),
	})
}

// replacedExtension says where the certificate has another value than was
// asked for.
func (j *judge) replacedExtension(set extensionSet, asked csr.Extension) {
	if asked.Critical == set.Critical && bytes.Equal(asked.Value, set.Value) {
		return
	}
	got, want := extensionText(asked), extensionText(set.Extension)
	j.add(set.spot, Rewritten, ByPolicy, got, want, "the request asks for the extension %s; the certificate has %s", got, want)
}

// planDirectory plans the subjectDirectoryAttributes that attributes have
// been put into. It is never critical (RFC 5280 section 4.2.1.8).
func (j *judge) planDirectory() {
	if len(j.directory) == 0 {
		return
	}
	value, err := csr.MarshalDirectoryAttributes(j.directory)
	if err != nil {
		j.refuse(j.profile.attributes.spot, ByPolicy, "", "", "the attributes can't be encoded: %s", show(err.Error()))
		return
	}
	j.plan.Extensions = append(j.plan.Extensions, csr.Extension{ID: mustOID(csr.OIDDirectoryAttributes), Value: value})
}

// extensionText tells an extension to people: its name, its value where that
// is of a kind that can be read, and whether it is critical.
func extensionText(e csr.Extension) string {
	text, notes := show(extensionName(e.ID)), []string(nil)
	if value := valueText(e); value != "" {
		text += " " + value
	} else {
		notes = append(notes, fmt.Sprintf("%d bytes", len(e.Value)))
	}
	if e.Critical {
		notes = append(notes, "critical")
	}
	if len(notes) > 0 {
		text += " (" + strings.Join(notes, ", ") + ")"
	}
	return text
}

// valueText gives a value that can be read, or nothing.
func valueText(e csr.Extension) string {
	switch e.ID.String() {
	case csr.OIDCertificatePolicies:
		if oids, err := csr.ParsePolicies(e.Value); err == nil {
			return oidTexts(oids)
		}
	case csr.OIDDirectoryAttributes:
		if attributes, err := csr.ParseDirectoryAttributes(e.Value); err == nil {
			return directoryText(attributes)
		}
	}
	return readableText(e.Value)
}

func oidTexts(oids []asn1.ObjectIdentifier) string {
	texts := make([]string, len(oids))
	for i, oid := range oids {
		texts[i] = oid.String()
	}
	return show(strings.Join(texts, ", "))
}

func directoryText(attributes []csr.Attribute) string {
	var texts []string
	for _, a := range attributes {
		for _, element := range a.Values {
			if v, err := csr.ValueOf(a.Type, element); err == nil {
				texts = append(texts, v.String())
			}
		}
	}
	return show(strings.Join(texts, ", "))
}
