// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"
)

// A whoLine is one line of `who`: proofs that are all needed. The first line
// that holds decides: what it sets and checks is what counts.
type whoLine struct {
	spot   spot
	proofs []proof
	names  nameRules  // the operation's, with the line's set
	bounds nameBounds // of an RA's line
	checks []check
}

// A proof is one way to show who asks.
type proof struct {
	spot spot
	// anchor is set in a client_cert, method in all others: "http_basic",
	// "digest", "one_time_password", "srp" or the name of a provider.
	anchor   string
	registry string // of a client_cert; empty: none
	profile  string // of a client_cert: the inventory has it under this one; empty: not asked
	via      string // of a one_time_password: ViaBasic, ViaChallenge or ViaProof
	v1       bool   // of ViaProof: ViaProofV1 as well
	subject  []subjectValue
	spki     []byte
	pin      []byte // of the whole certificate
	matches  bool
	limits   certLimits
	role     bool // role: ra
	roleAt   Pos
	method   string
	anyUser  bool
	users    []listedUser
	subjects []pattern // of a token; of an srp, its users
	realm    string    // of an srp
	shared   bool
	anchorAt spot

	registryAt spot
	profileAt  spot
}

type listedUser struct {
	at   Pos
	name string
}

type subjectValue struct {
	oid         asn1.ObjectIdentifier
	name, value string
}

// The proofs by an account of our own, by the words of Account.Method.
const (
	httpBasic  = "http_basic"
	httpDigest = "digest"
	// bearer is the key of a token's proof. Its Account.Method is
	// BearerMethod of its name.
	bearer = "bearer"
)

// BearerMethod is the Account.Method of a token that the `bearer` of this name
// has verified.
func BearerMethod(name string) string { return bearer + ":" + name }

// proofKinds are the proofs that a line may have.
var proofKinds = []string{"client_cert", httpBasic, httpDigest, oneTimePassword, "provider", bearer, SRPMethod}

func (c *compiler) who(list node, names nameRules) []whoLine {
	var lines []whoLine
	for _, item := range list.items() {
		outer := c.scope
		c.scope.cert = lineDemandsCert(item)
		line := whoLine{spot: item.spot(), names: c.layer(names, item.get("set")), bounds: c.bounds(item.get("names")), checks: c.checks(item.get("checks"))}
		c.scope = outer
		for _, n := range c.proofNodes(item) {
			line.proofs = append(line.proofs, c.proof(n))
		}
		if len(line.proofs) > 0 {
			c.foreseen(line)
			c.apart(line)
			lines = append(lines, line)
		}
	}
	if list.isList() && len(list.items()) == 0 {
		c.add(list.at, "`%s` is empty: nobody could ask", list.path)
	}
	return lines
}

// foreseen: `matches: names` asks before there is a request, so it can't ask
// what an expression would give.
func (c *compiler) foreseen(line whoLine) {
	if !slices.ContainsFunc(line.proofs, func(p proof) bool { return p.matches }) {
		return
	}
	refuse := func(r *nameRule) {
		if r.setBy != nil && !r.bounded {
			c.add(line.spot.at, "`matches: names` can't foresee what the expression on line %d gives: write `allow` beside it", r.setAt.at.Line)
		}
	}
	for _, rule := range line.names.subject.rules {
		refuse(&rule.nameRule)
	}
	for _, rule := range line.names.san.rules {
		refuse(&rule.nameRule)
	}
}

// proofNodes gives the nodes of a line's proofs.
func (c *compiler) proofNodes(line node) []node {
	one := c.only(line, append(slices.Clone(proofKinds), "all"))
	if one.name != "all" {
		if !one.present() {
			return nil
		}
		return []node{one}
	}
	var proofs []node
	for _, item := range one.items() {
		if n := c.only(item, proofKinds); n.present() {
			proofs = append(proofs, n)
		}
	}
	if one.isList() && len(one.items()) < 2 {
		c.add(one.at, "`all` wants at least two proofs")
	}
	if len(proofs) != len(one.items()) {
		return nil // a line that was read in part would demand less
	}
	return proofs
}

// only gives the one proof of a map, which has exactly one.
func (c *compiler) only(n node, kinds []string) node {
	members := slices.DeleteFunc(n.members(), func(m node) bool {
		return slices.ContainsFunc(lineKeys, func(k key) bool { return k.name == m.name })
	})
	if len(members) == 1 && slices.Contains(kinds, members[0].name) {
		return members[0]
	}
	known := slices.ContainsFunc(members, func(m node) bool { return !slices.Contains(kinds, m.name) })
	if !known && n.present() {
		c.add(n.at, "a line of `%s` has exactly one of %s; `all` joins several", n.path, listWords(kinds))
	}
	return node{at: n.at, path: n.path}
}

func (c *compiler) proof(n node) proof {
	switch n.name {
	case "client_cert":
		return c.clientCert(n)
	case httpBasic, httpDigest:
		p := proof{spot: n.spot(), method: n.name, shared: n.get("shared").on()}
		p.users = c.users(n.get("users"))
		return p
	case bearer:
		name := n.get("name")
		p := proof{spot: n.spot(), method: BearerMethod(name.value()), anyUser: !n.get("subjects").present()}
		p.subjects = c.patterns(n.get("subjects"), textForm)
		c.filled(name)
		return p
	case oneTimePassword:
		return c.oneTime(n)
	case SRPMethod:
		return c.srp(n)
	default:
		name := n.get("name")
		p := proof{spot: n.spot(), method: name.value(), anyUser: !n.get("users").present()}
		p.users = c.users(n.get("users"))
		c.filled(name)
		if slices.Contains(proofKinds, p.method) || strings.HasPrefix(p.method, BearerMethod("")) {
			c.add(name.at, "%s can't be the name of a provider: it is a proof of its own", quote(p.method))
		}
		return p
	}
}

func (c *compiler) users(n node) []listedUser {
	var users []listedUser
	for _, item := range n.texts() {
		if _, err := spellText(item.value()); err != nil {
			c.add(item.at, "%s can't be a user: %v", quote(item.value()), err)
		}
		users = append(users, listedUser{item.at, item.value()})
	}
	if n.isList() && len(n.items()) == 0 {
		c.add(n.at, "`%s` is an empty list: nobody is on it", n.path)
	}
	return users
}

func (c *compiler) clientCert(n node) proof {
	anchor := n.get("anchor")
	p := proof{spot: n.spot(), anchor: anchor.value(), anchorAt: anchor.spot(), matches: n.get("matches").value() == "names"}
	if registry := n.get("registry"); registry.present() {
		p.registry, p.registryAt = registry.value(), registry.spot()
		c.filled(registry)
	}
	if profile := n.get("profile"); profile.present() {
		p.profile, p.profileAt = profile.value(), profile.spot()
		c.filled(profile)
	}
	c.filled(anchor)
	p.subject, p.limits = c.exactValues(n.get("subject")), c.certLimits(n)
	p.spki, p.pin = c.hash(n.get("spki_sha256")), c.hash(n.get("cert_sha256"))
	p.role, p.roleAt = n.get("role").value() == RoleRA, n.get("role").at
	return p
}

// hash reads a SHA-256; nil where there is none.
func (c *compiler) hash(n node) []byte {
	if !n.isText() {
		return nil
	}
	hash, err := hex.DecodeString(strings.ToLower(n.value()))
	if err != nil || len(hash) != sha256.Size {
		c.add(n.at, "`%s` wants 64 hexadecimal digits", n.path)
	}
	return hash
}
