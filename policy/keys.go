// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// A keyRule is the set of accepted keys, the preferred one first.
type keyRule struct {
	spot       spot
	written    bool
	choices    []keyChoice
	exponents  exponentRule
	signatures signatureRule
}

// A keyChoice is one kind of accepted key.
type keyChoice struct {
	spot      spot
	algorithm csr.KeyAlgorithm
	bits      int // RSA: the least
	most      int // RSA: the most
	curve     string
}

const (
	leastRSA = 2048 // RFC 5280 has no bound; below this no public profile of today accepts a key
	mostRSA  = 8192
	// leastExponent is the smallest RSA public exponent that is accepted (CA/Browser
	// Forum Baseline Requirements section 6.1.6). No policy accepts a smaller one.
	leastExponent = 65537
)

var defaultKeys = []keyChoice{
	{algorithm: csr.RSA, bits: leastRSA, most: mostRSA},
	{algorithm: csr.ECDSA, curve: "P-256"},
	{algorithm: csr.ECDSA, curve: "P-384"},
	{algorithm: csr.ECDSA, curve: "P-521"},
	{algorithm: csr.Ed25519},
}

// keys reads `guardrails.keys` or a profile's `key`, in the order written.
// Where it has no kind of key, initial are accepted.
func (c *compiler) keys(n node, initial []keyChoice) keyRule {
	rule := keyRule{spot: n.spot(), written: n.present()}
	kinds, offers := 0, false
	for _, member := range n.members() {
		switch member.name {
		case "rsa":
			rule.choices = append(rule.choices, c.rsa(member)...)
		case "ecdsa":
			for _, item := range member.texts() {
				rule.choices = append(rule.choices, keyChoice{spot: spot{item.at, item.path}, algorithm: csr.ECDSA, curve: item.value()})
			}
		case "ed25519":
			if member.on() {
				rule.choices = append(rule.choices, keyChoice{spot: member.spot(), algorithm: csr.Ed25519})
			}
		default:
			continue
		}
		kinds++
		if offersKeys(member) {
			offers = true
		}
	}
	if kinds == 0 && (!n.present() || len(n.members()) > 0) {
		rule.choices, offers = initial, true
	}
	if !offers {
		c.add(n.at, "`%s` accepts no key at all", n.path)
	}
	rule.exponents = c.exponents(n.get("rsa_exponents"), rule.choices)
	rule.signatures = c.signatures(n.get("signatures"), rule.choices)
	return rule
}

func offersKeys(n node) bool { return len(n.items()) > 0 || n.on() }

func (c *compiler) rsa(n node) []keyChoice {
	var choices []keyChoice
	for _, item := range n.items() {
		bits, ok := item.number()
		if !ok {
			continue
		}
		if bits < leastRSA || bits > mostRSA || bits%8 != 0 {
			c.add(item.at, "RSA keys of %d bits can't be accepted: from %d to %d, in steps of 8", bits, leastRSA, mostRSA)
			continue
		}
		choices = append(choices, keyChoice{spot: spot{item.at, n.path}, algorithm: csr.RSA, bits: bits, most: bits})
	}
	return choices
}

// profileKeys reads a profile's `key`, which must lie within the guardrail's.
func (c *compiler) profileKeys(n node) keyRule {
	guard := c.guard.keys
	rule := c.keys(n, guard.choices)
	if !n.present() {
		return rule
	}
	for _, choice := range rule.choices {
		if !guard.takes(choice.key()) {
			c.add(choice.spot.at, "%s keys are beyond the guardrail, which accepts %s", choice, guard)
		}
	}
	for _, exponent := range rule.exponents.values {
		if !guard.exponents.takes(exponent) {
			c.add(rule.exponents.spotOf(exponent).at, "the exponent %d is beyond the guardrail, which accepts %s", exponent, guard.exponents)
		}
	}
	for _, name := range rule.signatures.names {
		if !guard.signatures.takes(name) {
			c.add(rule.signatures.spotOf(name).at, "%s is beyond the guardrail, which accepts %s", name, strings.Join(guard.signatures.names, ", "))
		}
	}
	return rule
}

// key gives a key that the choice takes.
func (k keyChoice) key() csr.Key {
	return csr.Key{Algorithm: k.algorithm, Bits: k.bits, Curve: k.curve}
}

func (k keyChoice) takes(key csr.Key) bool {
	if key.Algorithm != k.algorithm || k.algorithm == csr.UnknownKey {
		return false
	}
	if k.algorithm == csr.RSA {
		return key.Bits >= k.bits && key.Bits <= k.most
	}
	return key.Curve == k.curve
}

// takes tells whether a key is among the accepted ones. Its exponent is a
// matter of its own.
func (r keyRule) takes(key csr.Key) bool {
	return slices.ContainsFunc(r.choices, func(k keyChoice) bool { return k.takes(key) })
}

// spotOf gives the line that takes a key.
func (r keyRule) spotOf(key csr.Key) spot {
	i := slices.IndexFunc(r.choices, func(k keyChoice) bool { return k.takes(key) })
	if i < 0 || r.choices[i].spot.at.Line == 0 {
		return r.spot
	}
	return r.choices[i].spot
}

// String gives "RSA 2048", "ECDSA P-256" or "Ed25519".
func (k keyChoice) String() string {
	switch k.algorithm {
	case csr.RSA:
		if k.most > k.bits {
			return fmt.Sprintf("RSA %d to %d", k.bits, k.most)
		}
		return "RSA " + strconv.Itoa(k.bits)
	case csr.ECDSA:
		return "ECDSA " + k.curve
	case csr.Ed25519:
		return "Ed25519"
	default:
		return "unknown"
	}
}

// String gives the accepted keys in order.
func (r keyRule) String() string {
	texts := make([]string, len(r.choices))
	for i, choice := range r.choices {
		texts[i] = choice.String()
	}
	return strings.Join(texts, ", ")
}

func describeKey(key csr.Key) string {
	if key.Algorithm == csr.UnknownKey {
		return "a key of an unknown kind"
	}
	return keyChoice{algorithm: key.Algorithm, bits: key.Bits, most: key.Bits, curve: key.Curve}.String()
}

// key holds the request's key against guardrail and profile.
func (j *judge) key() {
	key := j.req.CSR.Key
	rules := []keyRule{j.profile.guard.keys}
	made := j.op.keygen
	if j.profile.keys.written && (made == nil || !made.own) {
		rules = append(rules, j.profile.keys)
	}
	for _, rule := range rules {
		if !rule.takes(key) {
			j.refuse(rule.spot, BadKey, describeKey(key), rule.String(),
				"the key is %s, and accepted are %s", describeKey(key), rule)
		} else if j.explain {
			j.asked(rule.spotOf(key), describeKey(key), "", "holds")
		}
		if made == nil {
			j.signature(rule.signatures)
		}
	}
	if key.Algorithm == csr.RSA {
		j.exponent(rules)
	}
}

// exponent refuses what no policy accepts at the guardrail, and else what one
// of the rules doesn't.
func (j *judge) exponent(rules []keyRule) {
	exponent := j.req.CSR.Key.Exponent
	got := strconv.Itoa(exponent)
	if exponent == 0 {
		got = "larger than 31 bits"
	}
	if !(exponentRule{}).takes(exponent) {
		j.refuse(rules[0].exponents.spot, BadKey, got, exponentRule{}.String(),
			"the RSA public exponent is %s, and it must be %s", got, exponentRule{})
		return
	}
	for _, rule := range rules {
		if !rule.exponents.takes(exponent) {
			j.refuse(rule.exponents.spot, BadKey, got, rule.exponents.String(),
				"the RSA public exponent is %s, and accepted are %s", got, rule.exponents)
		} else if j.explain {
			j.asked(rule.exponents.spotOf(exponent), got, "", "holds")
		}
	}
}

// An exponentRule is the set of accepted RSA public exponents. Without values
// it takes every odd one from 65537 that crypto/rsa takes, up to 31 bits.
type exponentRule struct {
	spot   spot
	values []int
	places []Pos // of the values
}

// spotOf gives the place of a value that is taken, or of all where none is
// written.
func (r exponentRule) spotOf(exponent int) spot {
	if i := slices.Index(r.values, exponent); i >= 0 {
		return spot{r.places[i], r.spot.path}
	}
	return r.spot
}

func (r exponentRule) takes(exponent int) bool {
	if len(r.values) > 0 {
		return slices.Contains(r.values, exponent)
	}
	return exponent >= leastExponent && exponent%2 == 1
}

// String gives the accepted exponents.
func (r exponentRule) String() string {
	if len(r.values) == 0 {
		return fmt.Sprintf("an odd number from %d", leastExponent)
	}
	texts := make([]string, len(r.values))
	for i, value := range r.values {
		texts[i] = strconv.Itoa(value)
	}
	return strings.Join(texts, ", ")
}

// exponents reads `rsa_exponents`.
func (c *compiler) exponents(n node, choices []keyChoice) exponentRule {
	rule := exponentRule{spot: n.spot()}
	for _, item := range n.items() {
		exponent, ok := item.number()
		if !ok {
			continue
		}
		if !(exponentRule{}).takes(exponent) {
			c.add(item.at, "the exponent %d can't be accepted: only %s", exponent, exponentRule{})
			continue
		}
		if slices.Contains(rule.values, exponent) {
			c.add(item.at, "%d stands twice in `%s`", exponent, n.path)
		}
		rule.values, rule.places = append(rule.values, exponent), append(rule.places, item.at)
	}
	if n.isList() && len(n.items()) == 0 {
		c.add(n.at, "`%s` accepts no exponent at all", n.path)
	}
	if len(rule.values) > 0 && !slices.ContainsFunc(choices, func(k keyChoice) bool { return k.algorithm == csr.RSA }) {
		c.add(n.at, "`%s` is about RSA keys, and none is accepted", n.path)
	}
	return rule
}
