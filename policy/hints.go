// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

// hintRule is a profile's `csrattrs`.
type hintRule struct {
	off     bool
	format  HintFormat
	linking []asn1.ObjectIdentifier
}

// hints reads `csrattrs`.
func (c *compiler) hints(n node) hintRule {
	rule := hintRule{format: HintBoth}
	switch n.get("format").value() {
	case "off":
		rule.off = true
	case "legacy":
		rule.format = HintList
	case "template":
		rule.format = HintTemplate
	}
	// RFC 7894 section 4: a server may send both, for the sake of old clients.
	if word := n.get("linking").value(); word != "estIdentityLinking" {
		rule.linking = append(rule.linking, mustOID(csr.OIDChallengePassword))
	}
	if word := n.get("linking").value(); word != "challengePassword" {
		rule.linking = append(rule.linking, mustOID(estIdentityLinking))
	}
	return rule
}

// Hints gives what /csrattrs says of the profile: what a request must have,
// and what the certificate will have, so that a request of that shape is
// granted as it is. It is one general list for everybody, since /csrattrs asks
// nobody who they are: what a `who` line sets is in it only where there is no
// other line.
func (p *Profile) Hints(name Op) Hints {
	if p.hints.off || len(p.keys.choices) == 0 {
		return Hints{Off: true}
	}
	h := Hints{Format: p.hints.format, Signature: p.signatureFor(p.keys.choices[0])}
	h.AnyKey = p.keys.choices[0].spot == spot{} && len(p.keys.signatures.names)+len(p.guard.keys.signatures.names) == 0
	for _, choice := range p.keys.choices {
		h.Keys = append(h.Keys, KeyHint{Algorithm: choice.algorithm, Bits: choice.bits, Curve: choice.curve})
	}
	for _, operation := range p.offered() {
		// What ties a CMC message together, a client learns from nobody.
		if operation.linked && !operation.name.ByCMC() {
			h.Linking = slices.Clone(p.hints.linking)
		}
	}
	for _, entry := range p.attributes.require {
		h.Attributes = append(h.Attributes, entry.oid)
	}
	h.Attributes = append(h.Attributes, p.hintsKeygen()...)
	// RFC 7894 section 3.1: by this a server says that it wants one.
	if o := p.operations[SimpleEnroll]; o != nil && !slices.ContainsFunc(o.who, func(l whoLine) bool { return !slices.ContainsFunc(l.proofs, proof.isBody) }) {
		h.Attributes = append(h.Attributes, mustOID(otpChallenge))
	}
	for _, entry := range p.extensions.require {
		h.Required = append(h.Required, entry.oid)
	}
	for _, set := range p.extensions.set {
		h.Planned = append(h.Planned, set.Extension)
	}
	h.KeyUsage = p.usage.key
	for _, choice := range p.keys.choices {
		h.KeyUsage &= p.usage.keyOf(choice.algorithm)
	}
	h.ExtKeyUsage = slices.Clone(p.usage.ext)
	p.hintNames(&h, name)
	return h
}

// Signatures and curves: RFC 5758 section 3.2, RFC 8017 appendix A.2.4, RFC
// 8410 section 3, RFC 5480 section 2.1.1.
const (
	sha256WithRSA   = "1.2.840.113549.1.1.11"
	ecdsaWithSHA256 = "1.2.840.10045.4.3.2"
	ecdsaWithSHA384 = "1.2.840.10045.4.3.3"
	ecdsaWithSHA512 = "1.2.840.10045.4.3.4"
	ed25519         = "1.3.101.112"
	rsaEncryption   = "1.2.840.113549.1.1.1"
	ecPublicKey     = "1.2.840.10045.2.1"
)

var curves = map[string]struct{ oid, signature string }{
	"P-256": {"1.2.840.10045.3.1.7", ecdsaWithSHA256},
	"P-384": {"1.3.132.0.34", ecdsaWithSHA384},
	"P-521": {"1.3.132.0.35", ecdsaWithSHA512},
}

// usualSignature is the one that goes with a key where the policy names none.
func usualSignature(choice keyChoice) asn1.ObjectIdentifier {
	switch choice.algorithm {
	case csr.RSA:
		return mustOID(sha256WithRSA)
	case csr.ECDSA:
		return mustOID(curves[choice.curve].signature)
	default:
		return mustOID(ed25519)
	}
}

// hinted tells whether /csrattrs says an OID where it stands for a key, a
// signature or a subject attribute. Some clients, libest among them, copy
// every OID that they find into the request, as attributes that say nothing.
func (p *Profile) hinted(oid string) bool {
	if p.hints.off {
		return false
	}
	if p.hints.format != HintList && p.hintsSubject(oid) {
		return true
	}
	if len(p.keys.choices) > 0 && p.signatureFor(p.keys.choices[0]).String() == oid {
		return true
	}
	for _, choice := range p.keys.choices {
		switch choice.algorithm {
		case csr.RSA:
			if oid == rsaEncryption || oid == sha256WithRSA {
				return true
			}
		case csr.ECDSA:
			curve := curves[choice.curve]
			if oid == ecPublicKey || oid == curve.oid || oid == curve.signature {
				return true
			}
		default:
			if oid == ed25519 {
				return true
			}
		}
	}
	return false
}
