// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// A POPChallenge is the value of encryptedPOP (RFC 5272 section 6.7): who can
// open CMS has the private key.
type POPChallenge struct {
	Request []byte // TaggedRequest, DER: the request that it is about
	CMS     []byte // ContentInfo, DER: EnvelopedData
	POPAlg  asn1.ObjectIdentifier
	Hash    asn1.ObjectIdentifier // of Witness
	Witness []byte                // the hash of what is in CMS
}

// ParsePOPChallenge decodes the value of encryptedPOP.
func ParsePOPChallenge(value []byte) (c POPChallenge, err error) {
	body, err := readWhole(value, "EncryptedPOP")
	if err != nil {
		return c, err
	}
	if c.Request, err = readAny(&body); err != nil {
		return c, within("request", err)
	}
	var cms cryptobyte.String
	if !body.ReadASN1Element(&cms, der.SEQUENCE) {
		return c, within("cms", bad("not a ContentInfo"))
	}
	c.CMS = cms
	if c.POPAlg, err = readBareAlgorithm(&body); err != nil {
		return c, within("thePOPAlgID", err)
	}
	if c.Hash, err = readBareAlgorithm(&body); err != nil {
		return c, within("witnessAlgID", err)
	}
	if c.Witness, err = readOctets(&body); err == nil && !body.Empty() {
		err = bad("trailing bytes")
	}
	return c, err
}

// Marshal encodes the value of encryptedPOP.
func (c POPChallenge) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		b.AddBytes(c.Request)
		b.AddBytes(c.CMS)
		addAlgorithm(b, c.POPAlg)
		addAlgorithm(b, c.Hash)
		b.AddASN1OctetString(c.Witness)
	})
}

// NewPOPChallenge makes the challenge for a request, of the proof value and of
// the EnvelopedData that holds it.
func NewPOPChallenge(request Request, proof, cms []byte) POPChallenge {
	return POPChallenge{
		Request: request.Raw, CMS: cms, POPAlg: OIDHMACSHA256, Hash: OIDSHA256, Witness: keyOf(hashes[OIDSHA256.String()], proof, ""),
	}
}

// Opened says whether a value is the one that the challenge holds. The error is
// POPFailed: a client answers nothing then.
func (c POPChallenge) Opened(proof []byte) error {
	hash, ok := hashes[c.Hash.String()]
	if !ok {
		return failing(BadAlg, "hash algorithm %s of the challenge is not accepted", c.Hash)
	}
	if string(keyOf(hash, proof, "")) != string(c.Witness) {
		return failing(POPFailed, "the challenge holds another value than its witness says")
	}
	return nil
}

// A POPAnswer is the value of decryptedPOP.
type POPAnswer struct {
	Request BodyPartID // in the message that has the answer
	POPAlg  asn1.ObjectIdentifier
	Value   []byte
}

// ParsePOPAnswer decodes the value of decryptedPOP.
func ParsePOPAnswer(value []byte) (a POPAnswer, err error) {
	body, err := readWhole(value, "DecryptedPOP")
	if err != nil {
		return a, err
	}
	if a.Request, err = readID(&body); err != nil {
		return a, err
	}
	if a.POPAlg, err = readBareAlgorithm(&body); err != nil {
		return a, within("thePOPAlgID", err)
	}
	if a.Value, err = readOctets(&body); err == nil && !body.Empty() {
		err = bad("trailing bytes")
	}
	return a, err
}

// Marshal encodes the value of decryptedPOP.
func (a POPAnswer) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		addID(b, a.Request)
		addAlgorithm(b, a.POPAlg)
		b.AddASN1OctetString(a.Value)
	})
}

// maxProof is how much of a proof value is the MAC's key (RFC 5272 section 6.7).
const maxProof = 64

// NewPOPAnswer makes the answer to a challenge: the request, which the TaggedRequest
// of the challenge is, under the proof value that was in it.
func NewPOPAnswer(request Request, proof []byte) POPAnswer {
	w := Witness{MAC: OIDHMACSHA256}
	value, _ := w.mac(proof[:min(len(proof), maxProof)], request.Raw) // of a MAC that we have
	return POPAnswer{Request: request.ID, POPAlg: OIDHMACSHA256, Value: value}
}

// Verify says whether the answer was made by who knows the proof value. The
// error is POPFailed, or BadAlg.
func (a POPAnswer) Verify(request Request, proof []byte) error {
	w := Witness{MAC: a.POPAlg, Value: a.Value}
	if _, ok := macs[a.POPAlg.String()]; !ok {
		return failing(BadAlg, "MAC algorithm %s of the answer is not accepted", a.POPAlg)
	}
	if w.Verify(proof[:min(len(proof), maxProof)], request.Raw) != nil {
		return failing(POPFailed, "the answer was not made with the value of the challenge")
	}
	return nil
}
