// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// usage is what every certificate of a profile may be used for.
type usage struct {
	keyAt spot
	key   x509.KeyUsage
	extAt spot
	ext   []asn1.ObjectIdentifier
}

// never is what may be neither asked for nor issued.
type never struct {
	spot spot
	ca   bool
	key  x509.KeyUsage
	ext  []asn1.ObjectIdentifier
}

// usage reads key usage and extended key usage, which are ours alone. Each of
// the accepted keys must have a use left.
func (c *compiler) usage(n node, keys keyRule) usage {
	key, ext := n.get("key"), n.get("ext")
	u := usage{keyAt: key.spot(), extAt: ext.spot()}
	for _, item := range key.texts() {
		bit, ok := keyUsageBit(item.value())
		switch {
		case !ok:
			c.add(item.at, "%s is no key usage of RFC 5280%s", quote(item.value()), otherUsage(item.value(), "ext", extKeyUsageNames(), knownKeyUsages()))
		case c.guard.never.key&bit != 0:
			c.add(item.at, "the key usage %s is named by `guardrails.never`", item.value())
		case u.key&bit != 0:
			c.add(item.at, "the key usage %s stands twice", item.value())
		}
		u.key |= bit
	}
	for _, item := range ext.texts() {
		oid, ok := extKeyUsageOID(item.value())
		switch {
		case !ok:
			c.add(item.at, "%s is neither a known extended key usage nor an OID%s", quote(item.value()), otherUsage(item.value(), "key", knownKeyUsages(), extKeyUsageNames()))
			continue
		case extKeyUsageName(oid) == cmcRA && !c.profiled.issuesRA:
			c.add(item.at, "a certificate for %s makes its holder a registration authority: a profile of such says `issues: ra`, and `approval: manual` in each of its operations", cmcRA)
		case containsOID(c.guard.never.ext, oid) && extKeyUsageName(oid) != cmcRA:
			c.add(item.at, "the extended key usage %s is named by `guardrails.never`", item.value())
		case containsOID(u.ext, oid):
			c.add(item.at, "the extended key usage %s stands twice", item.value())
		}
		u.ext = append(u.ext, oid)
	}
	c.uses(u, keys)
	return u
}

// otherUsage says where a name belongs that the other list knows, or which
// one of this list was meant.
func otherUsage(name, other string, there, here []string) string {
	if slices.Contains(there, name) {
		return "; it belongs under `" + other + "`"
	}
	return didYouMean(name, here)
}

// uses refuses a profile that accepts keys for which none of its key usages
// is left: /csrattrs would ask for them, and each request would be refused.
func (c *compiler) uses(u usage, keys keyRule) {
	var useless keyRule
	for _, choice := range keys.choices {
		if u.key != 0 && u.keyOf(choice.algorithm) == 0 {
			useless.choices = append(useless.choices, choice)
		}
	}
	if len(useless.choices) > 0 {
		c.add(u.keyAt.at, "a key that isn't RSA has no such use as %s, and the profile accepts %s: "+
			"write RSA alone under `key`, or another usage here", keyUsageText(u.key), useless)
	}
}

// keyOf gives the key usages that a key of the algorithm can have: no
// encipherment where it isn't RSA (RFC 8813 section 3, RFC 8410 section 5).
func (u usage) keyOf(algorithm csr.KeyAlgorithm) x509.KeyUsage {
	if algorithm == csr.RSA {
		return u.key
	}
	return u.key &^ (x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment)
}

var defaultNever = []string{"CA:TRUE", "keyCertSign", "cRLSign", "cmcRA", "cmcCA", "OCSPSigning", "anyExtendedKeyUsage"}

func (c *compiler) never(n node) never {
	rule := never{spot: n.spot()}
	for _, item := range n.texts() {
		if !rule.read(item.value()) {
			c.add(item.at, "%s is neither CA:TRUE, nor a key usage, nor an extended key usage%s", quote(item.value()),
				didYouMean(item.value(), slices.Concat(defaultNever, knownKeyUsages(), extKeyUsageNames())))
		}
	}
	for _, name := range defaultNever {
		if !n.present() {
			rule.read(name)
		} else if !slices.Contains(n.words(), name) {
			c.warn(lintNever, rule.spot, "`guardrails.never` leaves out %s, which is in the default list", name)
		}
	}
	return rule
}

func (n *never) read(name string) bool {
	if name == "CA:TRUE" {
		n.ca = true
		return true
	}
	if bit, ok := keyUsageBit(name); ok {
		n.key |= bit
		return true
	}
	oid, ok := extKeyUsageOID(name)
	if ok {
		n.ext = append(n.ext, oid)
	}
	return ok
}

// usage plans key usage and EKU, and records where the request wanted more.
// What `never` names refuses, and so does a request that would get nothing of
// what it asks for: RFC 5272 section 3.1, "Servers MUST NOT alter an extension
// so as to invalidate the original intent of a client-requested extension".
func (j *judge) usage() {
	u := j.profile.usage
	j.plan.KeyUsage = u.key
	j.plan.ExtKeyUsage = slices.Clone(u.ext)
	if j.profile.issuesRA {
		j.asked(j.profile.issuesAt, "", RoleRA, "holds")
	}
	if j.explain {
		j.asked(u.keyAt, "", keyUsageText(u.key), "sets")
		j.asked(u.extAt, "", extKeyUsageText(u.ext), "sets")
	}
	if left := u.keyOf(j.req.CSR.Key.Algorithm); left != u.key {
		extra := u.key &^ left
		j.plan.KeyUsage = left
		if left == 0 {
			// A certificate without the extension may be used for anything.
			j.refuse(u.keyAt, BadKey, describeKey(j.req.CSR.Key), "an RSA key",
				"no key usage is left for this key: a key that isn't RSA has no such use as %s", keyUsageText(extra))
		}
	}
	j.requestedKeyUsage()
	j.requestedExtKeyUsage()
	j.requestedCA()
}

func (j *judge) requestedKeyUsage() {
	asked, present, err := j.req.CSR.RequestedKeyUsage()
	u, fence := j.profile.usage, j.profile.guard.never
	if err != nil {
		j.refuse(u.keyAt, BadExtension, "", keyUsageText(u.key), "the requested keyUsage can't be read: %s", show(err.Error()))
		return
	}
	if !present {
		return
	}
	if forbidden := asked & fence.key; forbidden != 0 {
		j.refuse(fence.spot, BadExtension, keyUsageText(asked), "not "+keyUsageText(forbidden),
			"the request asks for the key usage %s, which no certificate may have", keyUsageText(forbidden))
	}
	granted := j.plan.KeyUsage
	wanted := asked &^ fence.key
	switch {
	case wanted != 0 && granted != 0 && wanted&granted == 0:
		j.refuse(u.keyAt, BadExtension, keyUsageText(wanted), keyUsageText(granted),
			"the request asks for the key usage %s, and the certificate would have only %s (RFC 5272 section 3.1)", keyUsageText(wanted), keyUsageText(granted))
	case wanted&^u.key != 0:
		j.add(u.keyAt, Rewritten, ByPolicy, keyUsageText(asked), keyUsageText(granted),
			"the request asks for the key usage %s; the certificate has %s", keyUsageText(asked), keyUsageText(granted))
	case granted != 0 && wanted&^granted != 0:
		extra := wanted &^ granted
		j.add(u.keyAt, Dropped, ByPolicy, keyUsageText(extra), keyUsageText(granted),
			"the key usage %s is left out: a key that isn't RSA has no such use", keyUsageText(extra))
	}
}

func (j *judge) requestedExtKeyUsage() {
	asked, present, err := j.req.CSR.RequestedExtKeyUsage()
	u, fence := j.profile.usage, j.profile.guard.never
	if err != nil {
		j.refuse(u.extAt, BadExtension, "", extKeyUsageText(u.ext), "the requested extKeyUsage can't be read: %s", show(err.Error()))
		return
	}
	if !present {
		return
	}
	var wanted []asn1.ObjectIdentifier
	for _, oid := range asked {
		if containsOID(fence.ext, oid) && (!j.profile.issuesRA || extKeyUsageName(oid) != cmcRA) {
			j.refuse(fence.spot, BadExtension, extKeyUsageText(asked), "not "+extKeyUsageName(oid),
				"the request asks for the extended key usage %s, which no certificate may have", extKeyUsageName(oid))
			continue
		}
		wanted = append(wanted, oid)
	}
	ours := func(oid asn1.ObjectIdentifier) bool { return containsOID(u.ext, oid) }
	switch {
	case len(wanted) == 0:
	case len(u.ext) > 0 && !slices.ContainsFunc(wanted, ours) && !containsOID(wanted, anyUse) && !containsOID(u.ext, anyUse):
		j.refuse(u.extAt, BadExtension, extKeyUsageText(wanted), extKeyUsageText(u.ext),
			"the request asks for the extended key usage %s, and the certificate would have only %s (RFC 5272 section 3.1)", extKeyUsageText(wanted), extKeyUsageText(u.ext))
	case slices.ContainsFunc(wanted, func(oid asn1.ObjectIdentifier) bool { return !ours(oid) }):
		j.add(u.extAt, Rewritten, ByPolicy, extKeyUsageText(asked), extKeyUsageText(u.ext),
			"the request asks for the extended key usage %s; the certificate has %s", extKeyUsageText(asked), extKeyUsageText(u.ext))
	}
}

// requestedCA refuses a request to be a CA. No profile issues such, so
// where `never` leaves CA:TRUE out, it is refused all the same.
func (j *judge) requestedCA() {
	isCA, present, err := j.req.CSR.RequestedBasicConstraints()
	fence := j.profile.guard.never
	switch {
	case err != nil:
		j.refuse(fence.spot, BadExtension, "", "CA:FALSE", "the requested basicConstraints can't be read: %s", show(err.Error()))
	case present && isCA:
		j.refuse(fence.spot, BadExtension, "CA:TRUE", "CA:FALSE", "the request asks for the certificate of a CA, and no profile issues one")
	}
}

// anyUse is anyExtendedKeyUsage (RFC 5280 section 4.2.1.12), which has
// something in common with every other one.
var anyUse = asn1.ObjectIdentifier{2, 5, 29, 37, 0}

func extKeyUsageNamesOf(oids []asn1.ObjectIdentifier) []string {
	names := make([]string, 0, len(oids))
	for _, oid := range oids {
		names = append(names, extKeyUsageName(oid))
	}
	return names
}

func extKeyUsageText(oids []asn1.ObjectIdentifier) string {
	names := extKeyUsageNamesOf(oids)
	if len(names) == 0 {
		return "nothing"
	}
	return show(strings.Join(names, ", "))
}

func containsOID(oids []asn1.ObjectIdentifier, oid asn1.ObjectIdentifier) bool {
	return slices.ContainsFunc(oids, oid.Equal)
}
