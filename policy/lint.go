// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
	"strings"
)

// A Lint is a kind of warning about a policy file. Its id is stable: reviews
// and scripts may refer to it.
type Lint struct {
	ID    string
	About string // one sentence
	// Start is true for what is also said when a server starts: it loosens
	// what the file seems to say, or means nothing at all. The others are for
	// who writes and reviews the file.
	Start bool
}

// The ids of all lints.
const (
	lintSharedAccount   = "shared-account"
	lintUnboundDevice   = "unbound-device"
	lintSameKey         = "same-key"
	lintAnyValue        = "any-value"
	lintNever           = "never-default"
	lintHygiene         = "hygiene-off"
	lintNoRevocation    = "no-revocation"
	lintDigestMD5       = "digest-md5"
	lintShadowedLine    = "shadowed-line"
	lintShadowedPattern = "shadowed-pattern"
	lintDeniedPattern   = "denied-pattern"
	lintNoEffect        = "no-effect"
	lintNoClientAuth    = "no-client-auth"
	lintWidePattern     = "wide-pattern"
	lintOtherNames      = "other-names"
	lintAnyAttribute    = "any-attribute"
	lintTelling         = "telling-extension"
	lintCritical        = "critical-extension"
	lintNoMoreTime      = "no-more-time"
	lintSerialAlone     = "serial-alone"
	lintClearKey        = "clear-key"
	lintUncounted       = "uncounted-renewals"
	lintProofSHA1       = "proof-sha1"
	lintOtherProfile    = "other-profile"
)

// lints are all lints, in the order of the documentation.
var lints = []Lint{
	{lintSharedAccount, "A shared HTTP account is enough for a certificate, and nobody approves it.", true},
	{lintUnboundDevice, "A line of `who` stands for one device, and binds none of its names.", true},
	{lintSameKey, "A renewal may keep its key, so that who has stolen it can renew for ever.", true},
	{lintAnyValue, "A name must be there, and may have any value.", true},
	{lintNever, "The list of what is never issued lacks an entry that it has by default.", true},
	{lintHygiene, "A test of keys for known weaknesses is off.", true},
	{lintNoRevocation, "Client certificates count under an anchor, and nobody can revoke them.", true},
	{lintDigestMD5, "Accounts of HTTP Digest may answer with MD5.", true},
	{lintShadowedLine, "A line of `who` never decides: an earlier one holds wherever it does.", true},
	{lintShadowedPattern, "A pattern takes nothing that another pattern of its list doesn't take.", true},
	{lintDeniedPattern, "A pattern takes only what a guardrail denies.", true},
	{lintNoEffect, "A rule decides nothing, whatever the request.", true},
	{lintNoClientAuth, "A reenroll wants a client certificate, and those of the profile lack clientAuth.", false},
	{lintWidePattern, "A pattern with ** takes values of any depth.", false},
	{lintOtherNames, "Who may ask at all may ask for other names than those that it has.", true},
	{lintAnyAttribute, "A certificate has whatever value of an attribute the request has.", true},
	{lintTelling, "An extension is copied that Windows reads as more than it seems.", true},
	{lintCritical, "A critical extension makes this server refuse the certificate at a reenroll.", true},
	{lintNoMoreTime, "A renewal gives no more time than the certificate has that it replaces.", true},
	{lintSerialAlone, "A serial number is wanted without the issuer that makes it one certificate's.", false},
	{lintClearKey, "A private key goes out in clear, inside TLS, to who doesn't ask for encryption.", true},
	{lintUncounted, "A profile renews for ever what another profile renews so many times.", true},
	{lintProofSHA1, "An identity proof in a CMC message may be made with SHA-1.", true},
	{lintOtherProfile, "A line wants a certificate of a profile that the file doesn't have.", false},
}

// Lints gives every kind of warning, for documents that list them.
func Lints() []Lint { return slices.Clone(lints) }

func startLint(id string) bool {
	return slices.ContainsFunc(lints, func(l Lint) bool { return l.ID == id && l.Start })
}

// Lint gives everything that deserves a look in a policy that is right, in
// file order: what Warnings has, and advice. Each finding is Warned, and has
// the id of its Lint. After Bind it has what the Caddyfile answers, too.
func (p *Policy) Lint() []Finding { return slices.Clone(p.lint) }

// Warnings gives what is to be shown at start, in file order: each finding is
// Warned.
func (p *Policy) Warnings() []Finding {
	return slices.DeleteFunc(p.Lint(), func(f Finding) bool { return !startLint(f.Lint) })
}

func warning(id string, s spot, format string, args ...any) Finding {
	f := finding(s, Warned, "", "", format, args...)
	f.Lint = id
	return f
}

func (c *compiler) warn(id string, s spot, format string, args ...any) {
	c.policy.lint = append(c.policy.lint, warning(id, s, format, args...))
}

// review looks for rules of a compiled profile that mean less than they seem
// to.
func (c *compiler) review(p *Profile) {
	for _, rule := range p.names.subject.rules {
		c.reviewNames(&rule.nameRule, func(value string) (pattern, spot, bool) {
			return c.guard.deniesAttribute(rule.oid.String(), value)
		})
	}
	for _, rule := range p.names.san.rules {
		c.reviewNames(&rule.nameRule, func(value string) (pattern, spot, bool) { return c.guard.deniesName(rule.kind.key, value) })
	}
	for _, o := range p.offered() {
		if o.borrowed {
			continue // said of `enroll`
		}
		for _, line := range o.who {
			c.loose(p, o, line)
		}
		c.reviewWho(o)
		c.reviewBounds(o)
	}
	c.reviewClientAuth(p)
}

func (c *compiler) reviewGuardrails() {
	for _, key := range slices.SortedFunc(maps.Keys(c.guard.deny), sanKey.compare) {
		rule := c.guard.deny[key]
		c.shadowed(rule.patterns, rule.form, rule.spot.path, false)
	}
}

// reviewBounds looks at the names for which RAs may ask.
func (c *compiler) reviewBounds(o *op) {
	for _, line := range o.who {
		if cn := line.bounds.cn; cn != nil && line.bounds.san[sanKinds["dns"].key] != cn {
			c.reviewPatterns(cn, func(value string) (pattern, spot, bool) { return c.guard.deniesAttribute(commonName, value) })
		}
		for _, key := range slices.SortedFunc(maps.Keys(line.bounds.san), sanKey.compare) {
			c.reviewPatterns(line.bounds.san[key], func(value string) (pattern, spot, bool) { return c.guard.deniesName(key, value) })
		}
	}
}

func (c *compiler) reviewNames(r *nameRule, denied func(string) (pattern, spot, bool)) {
	c.reviewPatterns(r, denied)
	if r.wildcard && r.bounded && !slices.ContainsFunc(slices.Concat(r.allow, r.required), func(p pattern) bool { return p.star }) {
		c.warn(lintNoEffect, r.wildcardAt, "`%s` has no effect: no pattern here begins with the label `*`", r.wildcardAt.path)
	}
	if limit := c.guard.names; r.max > limit && r.maxAt.at.Line > 0 {
		c.warn(lintNoEffect, r.maxAt, "`%s` is %d and has no effect: a request has at most %d names (`guardrails.limits.names`)", r.maxAt.path, r.max, limit)
	}
}

func (c *compiler) reviewPatterns(r *nameRule, denied func(string) (pattern, spot, bool)) {
	c.shadowed(r.allow, r.form, r.allowAt.path, r.wildcard)
	c.shadowed(r.required, r.form, r.requireAt.path, r.wildcard)
	for _, p := range slices.Concat(r.allow, r.required) {
		at := spot{p.at, r.allowAt.path}
		if slices.ContainsFunc(r.required, func(q pattern) bool { return q.at == p.at }) {
			at.path = r.requireAt.path
		}
		if deny, where, all := deniedWholly(p, r.form, denied); all {
			c.warn(lintDeniedPattern, at, "nothing is left of the pattern %s: the guardrail %s on line %d denies all that it takes",
				quote(p.text), quote(deny.text), where.at.Line)
		} else if strings.Contains(p.text, "**") {
			c.warn(lintWidePattern, at, "`**` in the pattern %s crosses %s, so that it takes values of any depth: write `*` where one level is enough",
				quote(p.text), crossed(r.form))
		}
	}
}

// crossed says what ** goes across, and * doesn't.
func crossed(f form) string {
	if f.name == uriForm.name {
		return "slashes"
	}
	return "dots"
}

// mostCompared bounds lists of which each entry is compared with all others.
const mostCompared = 200

// shadowed warns of patterns that another one of the list makes superfluous.
// Of two that take the same, it is the later one.
func (c *compiler) shadowed(patterns []pattern, f form, path string, wildcard bool) {
	if len(patterns) > mostCompared {
		return
	}
	for i, p := range patterns {
		for k, other := range patterns {
			if k == i || !covers(other, p, f, wildcard) || k > i && covers(p, other, f, wildcard) {
				continue
			}
			c.warn(lintShadowedPattern, spot{p.at, path}, "the pattern %s takes nothing that %s on line %d doesn't take",
				quote(p.text), quote(other.text), other.at.Line)
			break
		}
	}
}

// reviewWho: the first line that holds decides.
func (c *compiler) reviewWho(o *op) {
	if len(o.who) > mostCompared {
		return
	}
	for i, line := range o.who {
		k := slices.IndexFunc(o.who[:i], func(earlier whoLine) bool { return earlier.holdsWith(line) })
		if k < 0 {
			continue
		}
		c.warn(lintShadowedLine, line.spot, "this line never decides: whoever it lets in, the line on line %d has let in before", o.who[k].spot.at.Line)
	}
}

// holdsWith tells whether a line holds wherever another one does.
func (l whoLine) holdsWith(other whoLine) bool {
	return !slices.ContainsFunc(l.proofs, func(p proof) bool {
		return !slices.ContainsFunc(other.proofs, p.givenWith)
	})
}

// givenWith tells whether a proof is given wherever another one is.
func (p proof) givenWith(other proof) bool {
	if !p.isCert() && len(p.subjects)+len(other.subjects) > 0 {
		among := func(s pattern) bool {
			return slices.ContainsFunc(p.subjects, func(t pattern) bool { return s.text == t.text })
		}
		outside := slices.ContainsFunc(other.subjects, func(s pattern) bool { return !among(s) })
		return p.method == other.method && p.realm == other.realm && (p.anyUser || !other.anyUser && !outside)
	}
	if !p.isCert() {
		within := func(u listedUser) bool {
			return slices.ContainsFunc(p.users, func(v listedUser) bool { return u.name == v.name })
		}
		outside := slices.ContainsFunc(other.users, func(u listedUser) bool { return !within(u) })
		return p.method == other.method && p.realm == other.realm && p.via == other.via && (p.v1 || !other.v1) && (p.anyUser || !other.anyUser && !outside)
	}
	return p.anchor == other.anchor && (p.registry == "" || p.registry == other.registry) && (p.profile == "" || p.profile == other.profile) && within(p.subject, other.subject) && p.limits.heldWith(other.limits) &&
		(p.spki == nil || slices.Equal(p.spki, other.spki)) && (p.pin == nil || slices.Equal(p.pin, other.pin)) && (!p.matches || other.matches)
}

// reviewInventory: the profile may be one that was here, or is another site's. More
// often it is a slip, and then nobody gets through the line.
func (c *compiler) reviewInventory() {
	var names []string
	for _, p := range c.policy.profiles {
		names = append(names, p.name)
	}
	for _, p := range c.policy.profiles {
		for _, o := range p.offered() {
			for _, line := range o.who {
				for _, q := range line.proofs {
					if q.profile != "" && !o.borrowed && !slices.Contains(names, q.profile) {
						c.warn(lintOtherProfile, q.profileAt, "this file has no profile %s, so that the line is for certificates of another site, or of a profile that was here%s",
							quote(q.profile), didYouMean(q.profile, names))
					}
				}
			}
		}
	}
}

// reviewClientAuth: an anchor takes only certificates for clientAuth (RFC
// 5280 section 4.2.1.12), so that others could never renew themselves.
func (c *compiler) reviewClientAuth(p *Profile) {
	clientAuth, _ := extKeyUsageOID("clientAuth")
	anyUsage, _ := extKeyUsageOID("anyExtendedKeyUsage")
	if p.operations[SimpleReenroll] == nil || len(p.UsesAnchors(SimpleReenroll)) == 0 || len(p.usage.ext) == 0 ||
		containsOID(p.usage.ext, clientAuth) || containsOID(p.usage.ext, anyUsage) {
		return
	}
	c.warn(lintNoClientAuth, p.usage.extAt, "the certificates of the profile lack clientAuth, and `reenroll` wants one as a client certificate: "+
		"none could be renewed, unless the anchor has `any_eku`")
}
