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
	spot    spot
	written bool
	choices []keyChoice
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
	// Forum Baseline Requirements section 6.1.6). It isn't configurable.
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
func (c *compiler) keys(n node) keyRule {
	rule := keyRule{spot: n.spot(), written: n.present()}
	if !n.present() {
		rule.choices = defaultKeys
		return rule
	}
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
		}
	}
	if !slices.ContainsFunc(n.members(), offersKeys) {
		c.add(n.at, "`%s` accepts no key at all", n.path)
	}
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
	if !n.present() {
		return keyRule{spot: n.spot(), choices: c.guard.keys.choices}
	}
	rule := c.keys(n)
	for _, choice := range rule.choices {
		if !c.guard.keys.takes(choice.key()) {
			c.add(choice.spot.at, "%s keys are beyond the guardrail, which accepts %s", choice, c.guard.keys)
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
	if j.profile.keys.written {
		rules = append(rules, j.profile.keys)
	}
	for _, rule := range rules {
		if !rule.takes(key) {
			j.refuse(rule.spot, BadKey, describeKey(key), rule.String(),
				"the key is %s, and accepted are %s", describeKey(key), rule)
		} else if j.explain {
			j.asked(rule.spotOf(key), describeKey(key), "", "holds")
		}
	}
	if key.Algorithm == csr.RSA && (key.Exponent < leastExponent || key.Exponent%2 == 0) {
		got := strconv.Itoa(key.Exponent)
		if key.Exponent == 0 {
			got = "larger than 31 bits"
		}
		j.refuse(j.profile.guard.keys.spot, BadKey, got, "an odd number from 65537",
			"the RSA public exponent is %s, and it must be an odd number from %d", got, leastExponent)
	}
}
