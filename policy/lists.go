// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// A listRule says which attributes or extensions a request may have.
type listRule struct {
	spot    spot
	require []listed
	allow   []listed
	ignore  []listed
}

// A listed is one entry of such a list.
type listed struct {
	spot spot
	oid  asn1.ObjectIdentifier
	name string
}

// A treatment is what a listRule does with an OID.
type treatment uint8

const (
	unlisted treatment = iota
	allowed
	ignored
)

func (r listRule) treat(oid asn1.ObjectIdentifier) (listed, treatment) {
	is := func(l listed) bool { return l.oid.Equal(oid) }
	for _, list := range [][]listed{r.require, r.allow} {
		if i := slices.IndexFunc(list, is); i >= 0 {
			return list[i], allowed
		}
	}
	if i := slices.IndexFunc(r.ignore, is); i >= 0 {
		return r.ignore[i], ignored
	}
	return listed{}, unlisted
}

func (c *compiler) list(n node, oidOf func(string) (asn1.ObjectIdentifier, bool)) listRule {
	rule := listRule{spot: n.spot()}
	seen := map[string]int{}
	read := func(list node) []listed {
		var entries []listed
		for _, item := range list.texts() {
			oid, ok := oidOf(item.value())
			if !ok {
				c.add(item.at, "%s is neither a name known here nor an OID", quote(item.value()))
				continue
			}
			if line, twice := seen[oid.String()]; twice {
				c.add(item.at, "%s already stands on line %d", quote(item.value()), line)
			}
			seen[oid.String()] = item.at.Line
			entries = append(entries, listed{spot{item.at, item.path}, oid, item.value()})
		}
		return entries
	}
	rule.require, rule.allow, rule.ignore = read(n.get("require")), read(n.get("allow")), read(n.get("ignore"))
	return rule
}

func (c *compiler) attributes(n node) listRule {
	rule := c.list(n, attributeOID)
	for _, entry := range slices.Concat(rule.require, rule.allow) {
		if _, is := notEnforced[entry.oid.String()]; is {
			c.add(entry.spot.at, "the attribute %s is not enforced by this version: it can only be ignored", attributeName(entry.oid))
		}
	}
	for _, entry := range slices.Concat(rule.require, rule.allow, rule.ignore) {
		switch entry.oid.String() {
		case csr.OIDExtensionRequest:
			c.add(entry.spot.at, "the attribute extensionRequest is always read: what may be in it stands under `extensions` and `san`")
		case csr.OIDChallengePassword, estIdentityLinking:
			c.add(entry.spot.at, "the attribute %s is always read: whether it must be there, `linking` says", entry.name)
		}
	}
	for _, oid := range bookkeeping {
		if _, how := rule.treat(mustOID(oid)); how == unlisted {
			rule.ignore = append(rule.ignore, listed{rule.spot, mustOID(oid), attributeName(mustOID(oid))})
		}
	}
	return rule
}

func (c *compiler) extensions(n node) listRule {
	rule := c.list(n, extensionOID)
	for _, entry := range slices.Concat(rule.require, rule.allow, rule.ignore) {
		switch entry.oid.String() {
		case csr.OIDSubjectAltName:
			c.add(entry.spot.at, "the SAN has rules of its own, under `san`")
		case csr.OIDKeyUsage, csr.OIDExtKeyUsage:
			c.add(entry.spot.at, "key usage and extended key usage are never copied: they stand under `usage`")
		case csr.OIDBasicConstraints, csr.OIDSubjectKeyIdentifier, authorityKeyIdentifier:
			if _, how := rule.treat(entry.oid); how == allowed || entry.oid.String() != authorityKeyIdentifier {
				c.add(entry.spot.at, "the extension %s follows from the certificate: no request decides it", entry.name)
			}
		}
	}
	return rule
}

// attributes holds the request's PKCS #10 attributes against the profile. No
// attribute gets into a certificate, so one that is allowed leaves no trace.
func (j *judge) attributes() {
	rule := j.profile.attributes
	present := map[string]bool{}
	for _, attribute := range j.req.CSR.Attributes {
		oid := attribute.Type.String()
		name := attributeName(attribute.Type)
		entry, how := rule.treat(attribute.Type)
		again := present[oid]
		present[oid] = true
		switch {
		case how == ignored:
			j.add(entry.spot, Dropped, ByPolicy, show(name), "", "the attribute %s is ignored", show(name))
		case again:
			j.refuse(rule.spot, ByPolicy, show(name), "", "the attribute %s stands twice in the request", show(name))
		case how == allowed, oid == csr.OIDChallengePassword, oid == estIdentityLinking, j.profile.hinted(oid):
		case notEnforced[oid] != "":
			j.refuse(rule.spot, ByPolicy, name, "", "the request has the attribute %s, which this version can't honour (%s)", name, notEnforced[oid])
		default:
			j.refuse(rule.spot, ByPolicy, show(name), wantsOf(rule), "the request has the attribute %s, which the profile doesn't take", show(name))
		}
	}
	for _, entry := range rule.require {
		if !present[entry.oid.String()] {
			j.add(entry.spot, Required, ByPolicy, "", show(entry.name), "the request has no attribute %s, and it must be there", show(entry.name))
		}
	}
}

// extensions plans the extensions that the profile takes from the request.
// SAN, usage and basicConstraints have been looked at already; the key
// identifier is the CA's.
func (j *judge) extensions() {
	rule := j.profile.extensions
	present := map[string]bool{}
	for _, extension := range j.req.CSR.Extensions {
		oid := extension.ID.String()
		name := extensionName(extension.ID)
		entry, how := rule.treat(extension.ID)
		again := present[oid]
		present[oid] = true
		switch {
		case again:
			j.refuse(rule.spot, BadExtension, show(name), "", "the extension %s stands twice in the request", show(name))
		case slices.Contains([]string{csr.OIDSubjectAltName, csr.OIDKeyUsage, csr.OIDExtKeyUsage, csr.OIDBasicConstraints, csr.OIDSubjectKeyIdentifier}, oid):
		case how == allowed:
			j.plan.Extensions = append(j.plan.Extensions, csr.Extension{
				ID: slices.Clone(extension.ID), Critical: extension.Critical, Value: slices.Clone(extension.Value),
			})
		case how == ignored:
			j.add(entry.spot, Dropped, ByPolicy, show(name), "", "the extension %s is ignored", show(name))
		default:
			j.refuse(rule.spot, BadExtension, show(name), wantsOf(rule), "the request has the extension %s, which the profile doesn't take", show(name))
		}
	}
	for _, entry := range rule.require {
		if !present[entry.oid.String()] {
			j.add(entry.spot, Required, BadExtension, "", show(entry.name), "the request has no extension %s, and it must be there", show(entry.name))
		}
	}
}

func wantsOf(r listRule) string {
	var names []string
	for _, entry := range slices.Concat(r.require, r.allow) {
		names = append(names, entry.name)
	}
	return showList(names)
}
