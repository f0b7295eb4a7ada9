// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// A signature is a signature algorithm of a request, by the name that
// csr.Request.SignatureName gives.
type signature struct {
	name      string
	oid       string
	algorithm csr.KeyAlgorithm
}

// signatures are all that csr.Request.CheckPOP takes, the usual one of each
// kind of key first.
var signatures = []signature{
	{"SHA256-RSA", sha256WithRSA, csr.RSA},
	{"SHA384-RSA", "1.2.840.113549.1.1.12", csr.RSA},
	{"SHA512-RSA", "1.2.840.113549.1.1.13", csr.RSA},
	{"SHA256-RSAPSS", rsaPSS, csr.RSA},
	{"SHA384-RSAPSS", rsaPSS, csr.RSA},
	{"SHA512-RSAPSS", rsaPSS, csr.RSA},
	{"ECDSA-SHA256", ecdsaWithSHA256, csr.ECDSA},
	{"ECDSA-SHA384", ecdsaWithSHA384, csr.ECDSA},
	{"ECDSA-SHA512", ecdsaWithSHA512, csr.ECDSA},
	{"Ed25519", ed25519, csr.Ed25519},
}

// rsaPSS is id-RSASSA-PSS (RFC 4055 section 3.1); the hash is in its
// parameters.
const rsaPSS = "1.2.840.113549.1.1.10"

// signatureWords are what may stand under `signatures`.
func signatureWords() []string {
	words := make([]string, len(signatures))
	for i, s := range signatures {
		words[i] = s.name
	}
	return words
}

// A signatureRule is the set of accepted signatures, the preferred one first.
// Without names it takes all.
type signatureRule struct {
	spot   spot
	names  []string
	places []Pos // of the names
}

// spotOf gives the place of a name that is taken.
func (r signatureRule) spotOf(name string) spot {
	if i := slices.Index(r.names, name); i >= 0 {
		return spot{r.places[i], r.spot.path}
	}
	return r.spot
}

func (r signatureRule) takes(name string) bool {
	return len(r.names) == 0 || slices.Contains(r.names, name)
}

// first gives the preferred signature of a kind of key.
func (r signatureRule) first(algorithm csr.KeyAlgorithm) (signature, bool) {
	for _, name := range r.names {
		i := slices.IndexFunc(signatures, func(s signature) bool { return s.name == name && s.algorithm == algorithm })
		if i >= 0 {
			return signatures[i], true
		}
	}
	return signature{}, false
}

// signatures reads `signatures`, which must fit the accepted keys: what could
// never be made, or a key that could never be used, is a mistake.
func (c *compiler) signatures(n node, choices []keyChoice) signatureRule {
	rule := signatureRule{spot: n.spot()}
	for _, item := range n.texts() {
		i := slices.IndexFunc(signatures, func(s signature) bool { return s.name == item.value() })
		if i < 0 {
			continue // a checker has said so
		}
		made := signatures[i]
		if slices.Contains(rule.names, made.name) {
			c.add(item.at, "%s stands twice in `%s`", made.name, n.path)
		}
		if !slices.ContainsFunc(choices, func(k keyChoice) bool { return k.algorithm == made.algorithm }) {
			c.add(item.at, "%s is a signature of %s keys, and none is accepted", made.name, algorithmName(made.algorithm))
		}
		rule.names, rule.places = append(rule.names, made.name), append(rule.places, item.at)
	}
	if n.isList() && len(n.items()) == 0 {
		c.add(n.at, "`%s` accepts no signature at all", n.path)
	}
	if len(rule.names) == 0 {
		return rule
	}
	for _, algorithm := range []csr.KeyAlgorithm{csr.RSA, csr.ECDSA, csr.Ed25519} {
		offered := slices.ContainsFunc(choices, func(k keyChoice) bool { return k.algorithm == algorithm })
		if _, ok := rule.first(algorithm); offered && !ok {
			c.add(n.at, "%s keys are accepted, and `%s` has no signature of theirs: %s",
				algorithmName(algorithm), n.path, listWords(signaturesOf(algorithm)))
		}
	}
	return rule
}

func signaturesOf(algorithm csr.KeyAlgorithm) []string {
	var names []string
	for _, s := range signatures {
		if s.algorithm == algorithm {
			names = append(names, s.name)
		}
	}
	return names
}

func algorithmName(a csr.KeyAlgorithm) string {
	switch a {
	case csr.RSA:
		return "RSA"
	case csr.ECDSA:
		return "ECDSA"
	case csr.Ed25519:
		return "Ed25519"
	default:
		return "unknown"
	}
}

// signatureFor gives the signature that goes with a key: the first of those
// written, or the usual one.
func (p *Profile) signatureFor(choice keyChoice) asn1.ObjectIdentifier {
	for _, rule := range []signatureRule{p.keys.signatures, p.guard.keys.signatures} {
		if s, ok := rule.first(choice.algorithm); ok {
			return mustOID(s.oid)
		}
	}
	return usualSignature(choice)
}

// signature holds the request's signature algorithm against one rule. That it
// verifies is the caller's matter.
func (j *judge) signature(rule signatureRule) {
	if len(rule.names) == 0 {
		return
	}
	got, want := show(j.req.CSR.SignatureName()), strings.Join(rule.names, ", ")
	if rule.takes(got) {
		j.asked(rule.spotOf(got), got, "", "holds")
	} else {
		j.refuse(rule.spot, BadKey, got, want, "the request is signed with %s, and accepted are %s", got, want)
	}
}
