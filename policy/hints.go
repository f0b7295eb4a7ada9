// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"

	"github.com/caddy-est/estra/policy/csr"
)

// Hints gives what /csrattrs says of the profile (RFC 7030 section 4.5): keys
// in the order of preference, the signature that goes with the first, the
// linking attributes where an operation wants them, and the attributes that
// must be there. It is one general list, whatever the operation, and never
// empty: old clients stop at an empty one.
func (p *Profile) Hints(Op) Hints {
	if p.hintsOff || len(p.keys.choices) == 0 {
		return Hints{Off: true}
	}
	hints := Hints{Signature: signatureFor(p.keys.choices[0])}
	for _, choice := range p.keys.choices {
		hints.Keys = append(hints.Keys, KeyHint{Algorithm: choice.algorithm, Bits: choice.bits, Curve: choice.curve})
	}
	for _, operation := range p.operations {
		if operation.linked {
			hints.Attributes = []asn1.ObjectIdentifier{mustOID(csr.OIDChallengePassword), mustOID(estIdentityLinking)}
		}
	}
	for _, entry := range p.attributes.require {
		hints.Attributes = append(hints.Attributes, entry.oid)
	}
	return hints
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

func signatureFor(choice keyChoice) asn1.ObjectIdentifier {
	switch choice.algorithm {
	case csr.RSA:
		return mustOID(sha256WithRSA)
	case csr.ECDSA:
		return mustOID(curves[choice.curve].signature)
	default:
		return mustOID(ed25519)
	}
}

// hinted tells whether /csrattrs says an OID as a key or a signature. Some
// clients, libest among them, copy these into the request as attributes.
func (p *Profile) hinted(oid string) bool {
	if p.hintsOff {
		return false
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
