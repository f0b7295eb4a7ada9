// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"encoding/asn1"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// maxSerial bounds a serial number: RFC 5280 section 4.1.2.2 has 20 octets.
const maxSerial = 32

// A CertID names a certificate: the value of confirmCertAcceptance (RFC 5272
// section 6.14).
type CertID struct {
	Issuer []byte // Name, DER
	Serial *big.Int
}

// ParseCertID decodes an IssuerAndSerialNumber.
func ParseCertID(value []byte) (CertID, error) {
	body, err := readWhole(value, "IssuerAndSerialNumber")
	if err != nil {
		return CertID{}, err
	}
	id, err := readCertID(&body)
	if err == nil && !body.Empty() {
		err = bad("trailing bytes")
	}
	return id, err
}

func readCertID(body *cryptobyte.String) (c CertID, err error) {
	var issuer cryptobyte.String
	if !body.ReadASN1Element(&issuer, der.SEQUENCE) {
		return c, bad("no issuer name")
	}
	c.Issuer = issuer
	c.Serial, err = readSerial(body)
	return c, err
}

func readSerial(body *cryptobyte.String) (*big.Int, error) {
	n := new(big.Int)
	if !body.ReadASN1Integer(n) || len(n.Bytes()) > maxSerial {
		return nil, bad("no serial number of at most %d bytes", maxSerial)
	}
	return n, nil
}

// Marshal encodes an IssuerAndSerialNumber.
func (c CertID) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		b.AddBytes(c.Issuer)
		b.AddASN1BigInt(c.Serial)
	})
}

// tagDirectoryName is [4] of GeneralName, explicit since Name is a CHOICE.
var tagDirectoryName = der.Tag(4).ContextSpecific().Constructed()

// ParseGetCert decodes the value of getCert (RFC 5272 section 6.9). The issuer
// must be a directoryName: no other name is a certificate's.
func ParseGetCert(value []byte) (CertID, error) {
	var c CertID
	body, err := readWhole(value, "GetCert")
	if err != nil {
		return c, err
	}
	var general, issuer cryptobyte.String
	if !body.ReadASN1(&general, tagDirectoryName) || !general.ReadASN1Element(&issuer, der.SEQUENCE) || !general.Empty() {
		return c, failing(BadCertID, "the issuer is not a directoryName")
	}
	c.Issuer = issuer
	if c.Serial, err = readSerial(&body); err == nil && !body.Empty() {
		err = bad("trailing bytes")
	}
	return c, err
}

// MarshalGetCert encodes the value of getCert.
func (c CertID) MarshalGetCert() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		b.AddASN1(tagDirectoryName, func(b *cryptobyte.Builder) { b.AddBytes(c.Issuer) })
		b.AddASN1BigInt(c.Serial)
	})
}

// GetCRL asks for a CRL (RFC 5272 section 6.10).
type GetCRL struct {
	Issuer  []byte    // Name, DER
	Name    []byte    // GeneralName, DER; nil where it isn't there
	Time    time.Time // zero: the newest
	Reasons *asn1.BitString
}

// isContext tells the tag of a GeneralName.
func isContext(s cryptobyte.String) bool { return len(s) > 0 && s[0]&0xc0 == 0x80 }

// ParseGetCRL decodes the value of getCRL.
func ParseGetCRL(value []byte) (g GetCRL, err error) {
	body, err := readWhole(value, "GetCRL")
	if err != nil {
		return g, err
	}
	var issuer cryptobyte.String
	if !body.ReadASN1Element(&issuer, der.SEQUENCE) {
		return g, bad("no issuer name")
	}
	g.Issuer = issuer
	if isContext(body) {
		if g.Name, err = readAny(&body); err != nil {
			return g, within("cRLName", err)
		}
	}
	if body.PeekASN1Tag(der.GeneralizedTime) && !body.ReadASN1GeneralizedTime(&g.Time) {
		return g, bad("time is not a GeneralizedTime")
	}
	if body.PeekASN1Tag(der.BIT_STRING) {
		g.Reasons = new(asn1.BitString)
		if !body.ReadASN1BitString(g.Reasons) {
			return g, bad("reasons is not a BIT STRING")
		}
	}
	if !body.Empty() {
		return g, bad("trailing bytes")
	}
	return g, nil
}

// Marshal encodes the value of getCRL.
func (g GetCRL) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		b.AddBytes(g.Issuer)
		b.AddBytes(g.Name)
		if !g.Time.IsZero() {
			b.AddASN1GeneralizedTime(g.Time.UTC())
		}
		if g.Reasons != nil {
			addBits(b, *g.Reasons)
		}
	})
}

func addBits(b *cryptobyte.Builder, bits asn1.BitString) {
	b.AddASN1(der.BIT_STRING, func(b *cryptobyte.Builder) {
		b.AddUint8(uint8(len(bits.Bytes)*8 - bits.BitLength)) //nolint:gosec // 0 to 7: it was read so
		b.AddBytes(bits.Bytes)
	})
}

// A Revocation asks that a certificate be revoked (RFC 5272 section 6.11).
type Revocation struct {
	CertID
	Reason  uint8     // CRLReason (RFC 5280 section 5.3.1)
	Invalid time.Time // invalidityDate; zero where it isn't there
	Secret  []byte    // sharedSecret; nil where it isn't there
	Comment string
}

// ParseRevocation decodes the value of revokeRequest. A reason that RFC 5280
// doesn't have is an error.
func ParseRevocation(value []byte) (r Revocation, err error) {
	body, err := readWhole(value, "RevokeRequest")
	if err != nil {
		return r, err
	}
	if r.CertID, err = readCertID(&body); err != nil {
		return r, err
	}
	var reason int
	if !body.ReadASN1Enum(&reason) || reason < 0 || reason > 10 || reason == 7 {
		return r, bad("reason is not a CRLReason")
	}
	r.Reason = uint8(reason)
	if body.PeekASN1Tag(der.GeneralizedTime) && !body.ReadASN1GeneralizedTime(&r.Invalid) {
		return r, bad("invalidityDate is not a GeneralizedTime")
	}
	if body.PeekASN1Tag(der.OCTET_STRING) && !body.ReadASN1Bytes(&r.Secret, der.OCTET_STRING) {
		return r, bad("sharedSecret is not an OCTET STRING")
	}
	if body.PeekASN1Tag(der.UTF8String) {
		if r.Comment, err = readUTF8(&body); err != nil {
			return r, within("comment", err)
		}
	}
	if !body.Empty() {
		return r, bad("trailing bytes")
	}
	return r, nil
}

// Marshal encodes the value of revokeRequest.
func (r Revocation) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		b.AddBytes(r.Issuer)
		b.AddASN1BigInt(r.Serial)
		b.AddASN1Enum(int64(r.Reason))
		if !r.Invalid.IsZero() {
			b.AddASN1GeneralizedTime(r.Invalid.UTC())
		}
		if r.Secret != nil {
			b.AddASN1OctetString(r.Secret)
		}
		if r.Comment != "" {
			addUTF8(b, r.Comment)
		}
	})
}

// A POPWitness is an LraPopWitness: an RA says for which requests it has seen
// proof of possession (RFC 5272 section 6.8).
type POPWitness struct {
	Content  BodyPartID // the request within which they stand; 0 is this one
	Requests []BodyPartID
}

// ParsePOPWitness decodes the value of lraPOPWitness.
func ParsePOPWitness(value []byte) (w POPWitness, err error) {
	body, err := readWhole(value, "LraPopWitness")
	if err != nil {
		return w, err
	}
	if w.Content, err = readID(&body); err != nil {
		return w, err
	}
	if w.Requests, err = readPath(&body); err == nil && !body.Empty() {
		err = bad("trailing bytes")
	}
	return w, err
}

// Marshal encodes the value of lraPOPWitness.
func (w POPWitness) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		addID(b, w.Content)
		addList(b, w.Requests, addID)
	})
}

// TrustAnchors tells a client what to trust from now on (RFC 5272 section
// 6.15). The certificates themselves are in the bag around the message.
type TrustAnchors struct {
	Sequence *big.Int
	Hash     asn1.ObjectIdentifier
	Hashes   [][]byte
}

// ParseTrustAnchors decodes the value of trustedAnchors.
func ParseTrustAnchors(value []byte) (a TrustAnchors, err error) {
	body, err := readWhole(value, "PublishTrustAnchors")
	if err != nil {
		return a, err
	}
	a.Sequence = new(big.Int)
	if !body.ReadASN1Integer(a.Sequence) {
		return a, bad("no seqNumber")
	}
	if a.Hash, err = readBareAlgorithm(&body); err != nil {
		return a, within("hashAlgorithm", err)
	}
	if a.Hashes, err = readList(&body, "anchorHashes", "hash", readOctets); err == nil && !body.Empty() {
		err = bad("trailing bytes")
	}
	return a, err
}

func readOctets(s *cryptobyte.String) ([]byte, error) {
	var octets []byte
	if !s.ReadASN1Bytes(&octets, der.OCTET_STRING) {
		return nil, bad("not an OCTET STRING")
	}
	return octets, nil
}

// Marshal encodes the value of trustedAnchors.
func (a TrustAnchors) Marshal() ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		b.AddASN1BigInt(a.Sequence)
		addAlgorithm(b, a.Hash)
		addList(b, a.Hashes, func(b *cryptobyte.Builder, h []byte) { b.AddASN1OctetString(h) })
	})
}
