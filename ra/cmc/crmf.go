// SPDX-License-Identifier: Apache-2.0

package cmc

import (
	"encoding/asn1"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
)

// A CertReqMsg is one request of CRMF (RFC 4211 section 3), as RFC 5272 section
// 3.2.1.2.2 restricts it.
type CertReqMsg struct {
	ID       BodyPartID // certReqId
	Raw      []byte     // CertReqMsg as a SEQUENCE, DER
	Request  []byte     // CertRequest, DER: what a signature covers
	Template CertTemplate
	Controls []csr.Attribute // each with one value
	POP      POP
}

// POPKind is how a request proves possession of its key (RFC 4211 section 4).
type POPKind uint8

// The ways to prove possession. What RFC 5272 forbids has none.
const (
	NoPOP        POPKind = iota // nothing is proven
	RAVerified                  // an RA says that it was; only an RA may
	SignaturePOP                // by a signature of the key
	ChallengePOP                // the server is to send a challenge (encryptedPOP)
)

// POP is the proof of possession in a CertReqMsg.
type POP struct {
	Kind POPKind
	// Of SignaturePOP: the signature over Request.
	Algorithm asn1.ObjectIdentifier
	Params    []byte // DER; nil where absent
	Signature []byte
	// Agreement tells a key for key agreement from one for key encipherment, in
	// ChallengePOP.
	Agreement bool
}

// Tags of RFC 4211 sections 4 and 4.2, whose module has implicit tags.
// POPOPrivKey is a CHOICE, so keyEncipherment and keyAgreement are explicit.
var (
	tagRAVerified   = der.Tag(0).ContextSpecific()
	tagSignature    = der.Tag(1).ContextSpecific().Constructed()
	tagEncipherment = der.Tag(2).ContextSpecific().Constructed()
	tagAgreement    = der.Tag(3).ContextSpecific().Constructed()
	tagSubsequent   = der.Tag(1).ContextSpecific()
	tagKeyInput     = der.Tag(0).ContextSpecific().Constructed()
)

// challengeResp is the SubsequentMessage that RFC 5272 allows; encrCert it
// forbids.
const challengeResp = 1

// readCertReqMsg reads the content of a CertReqMsg.
func readCertReqMsg(body cryptobyte.String) (*CertReqMsg, error) {
	m := &CertReqMsg{}
	var err error
	content := body
	if m.Raw, err = build(func(b *cryptobyte.Builder) { b.AddBytes(content) }); err != nil {
		return nil, err
	}
	var request cryptobyte.String
	if !body.ReadASN1Element(&request, der.SEQUENCE) {
		return nil, bad("no CertRequest")
	}
	m.Request = request
	if err := m.readRequest(request); err != nil {
		return nil, within("certReq", err)
	}
	if !body.Empty() && isContext(body) {
		if m.POP, err = readPOP(&body); err != nil {
			return nil, of(m.ID, within("popo", err))
		}
	}
	if !body.Empty() {
		// RFC 5272 section 3.2.1.2.2: regInfo MUST NOT be used.
		return nil, of(m.ID, bad("regInfo, whose place is the control of CMC, or other bytes after the proof of possession"))
	}
	return m, nil
}

func (m *CertReqMsg) readRequest(element cryptobyte.String) error {
	var body cryptobyte.String
	var err error
	if !element.ReadASN1(&body, der.SEQUENCE) {
		return bad("not a CertRequest")
	}
	if m.ID, err = readID(&body); err != nil {
		return within("certReqId", err)
	}
	var template cryptobyte.String
	if !body.ReadASN1Element(&template, der.SEQUENCE) {
		return of(m.ID, bad("no CertTemplate"))
	}
	if m.Template, err = ParseCertTemplate(template); err != nil {
		return of(m.ID, within("certTemplate", err))
	}
	if err := m.Template.checkRequest(); err != nil {
		return of(m.ID, within("certTemplate", err))
	}
	if body.Empty() {
		return nil
	}
	if m.Controls, err = readList(&body, "controls", "control", readTypeAndValue); err != nil {
		return of(m.ID, err)
	}
	if len(m.Controls) == 0 || !body.Empty() {
		return of(m.ID, bad("an empty list of controls, or bytes after it"))
	}
	return nil
}

// readTypeAndValue reads an AttributeTypeAndValue.
func readTypeAndValue(s *cryptobyte.String) (csr.Attribute, error) {
	var a csr.Attribute
	var body, value cryptobyte.String
	if !s.ReadASN1(&body, der.SEQUENCE) || !body.ReadASN1ObjectIdentifier(&a.Type) ||
		!body.ReadAnyASN1Element(&value, nil) || !body.Empty() {
		return a, bad("not an AttributeTypeAndValue")
	}
	a.Values = [][]byte{value}
	return a, nil
}

func readPOP(s *cryptobyte.String) (POP, error) {
	var content cryptobyte.String
	var tag der.Tag
	if !s.ReadAnyASN1(&content, &tag) {
		return POP{}, bad("not DER")
	}
	switch tag {
	case tagRAVerified:
		if !content.Empty() {
			return POP{}, bad("raVerified is not NULL")
		}
		return POP{Kind: RAVerified}, nil
	case tagSignature:
		return readSignature(content)
	case tagEncipherment, tagAgreement:
		var n int
		if !content.ReadASN1(&content, tagSubsequent) {
			return POP{}, failing(POPFailed, "the proof of a key that can't sign is not challengeResp")
		}
		if len(content) == 1 {
			n = int(content[0])
		}
		if n != challengeResp {
			// RFC 5272 section 3.2.1.2.2: the indirect method is not supported.
			return POP{}, failing(POPFailed, "the proof of a key that can't sign is not challengeResp")
		}
		return POP{Kind: ChallengePOP, Agreement: tag == tagAgreement}, nil
	default:
		return POP{}, bad("tag %#x is no proof of possession", uint8(tag))
	}
}

func readSignature(body cryptobyte.String) (POP, error) {
	p := POP{Kind: SignaturePOP}
	if body.PeekASN1Tag(tagKeyInput) {
		// RFC 5272 section 3.2.1.2.2: POPOSigningKeyInput MUST NOT be used.
		return p, failing(POPFailed, "poposkInput, which CMC forbids: the signature is over the CertRequest")
	}
	var err error
	if p.Algorithm, p.Params, err = readAlgorithm(&body); err != nil {
		return p, err
	}
	if !body.ReadASN1BitStringAsBytes(&p.Signature) || !body.Empty() {
		return p, bad("the signature is not a BIT STRING of whole bytes, and nothing after it")
	}
	return p, nil
}

// CSR gives the request as a policy decides about it. Its CheckPOP verifies the
// signature of SignaturePOP; any other proof is for the caller. The error is of
// type *Error.
func (m *CertReqMsg) CSR() (*csr.Request, error) {
	t := csr.Template{
		Raw: m.Raw, Signed: m.Request, Subject: m.Template.Subject, SPKI: m.Template.SPKI,
		Extensions: m.Template.Extensions, Controls: m.Controls,
	}
	if m.POP.Kind == SignaturePOP {
		t.SignatureOID, t.SignatureParams, t.Signature = m.POP.Algorithm, m.POP.Params, m.POP.Signature
	}
	r, err := csr.FromCRMF(t)
	if err != nil {
		return nil, of(m.ID, within("crm", err))
	}
	return r, nil
}

// CSR gives the request as a policy decides about it, whatever its format. The
// error is of type *Error; its Body is the request.
func (r Request) CSR() (*csr.Request, error) {
	switch r.Format {
	case PKCS10:
		request, err := csr.Parse(r.PKCS10)
		if err != nil {
			return nil, of(r.ID, within("tcr", err))
		}
		return request, nil
	case CRMF:
		return r.CRMF.CSR()
	default:
		return nil, of(r.ID, bad("request format %s is not known", r.Type))
	}
}

// A CertRequest is a CRMF request to be made.
type CertRequest struct {
	ID       BodyPartID
	Template CertTemplate
	Controls []csr.Attribute // the first value of each
}

// Marshal encodes the CertRequest, which a signature covers.
func (r CertRequest) Marshal() ([]byte, error) {
	template, err := r.Template.Marshal()
	if err != nil {
		return nil, err
	}
	return build(func(b *cryptobyte.Builder) {
		addID(b, r.ID)
		b.AddBytes(template)
		if len(r.Controls) == 0 {
			return
		}
		addList(b, r.Controls, func(b *cryptobyte.Builder, a csr.Attribute) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(a.Type)
				b.AddBytes(a.Values[0])
			})
		})
	})
}

// Signed makes a CertReqMsg with the signature of its key. Sign gives an
// AlgorithmIdentifier in DER and a signature over message.
func (r CertRequest) Signed(sign func(message []byte) (algorithm, signature []byte, err error)) ([]byte, error) {
	message, err := r.Marshal()
	if err != nil {
		return nil, err
	}
	algorithm, signature, err := sign(message)
	if err != nil {
		return nil, err
	}
	return withPOP(message, tagSignature, func(b *cryptobyte.Builder) {
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
}

// Challenged makes a CertReqMsg for a key that can't sign: the server is to
// answer with an encryptedPOP. Agreement is for a key that agrees on keys.
func (r CertRequest) Challenged(agreement bool) ([]byte, error) {
	message, err := r.Marshal()
	if err != nil {
		return nil, err
	}
	tag := tagEncipherment
	if agreement {
		tag = tagAgreement
	}
	return withPOP(message, tag, func(b *cryptobyte.Builder) {
		b.AddASN1(tagSubsequent, func(b *cryptobyte.Builder) { b.AddUint8(challengeResp) })
	})
}

// Vouched makes a CertReqMsg whose possession an RA has verified.
func (r CertRequest) Vouched() ([]byte, error) {
	message, err := r.Marshal()
	if err != nil {
		return nil, err
	}
	return withPOP(message, tagRAVerified, func(*cryptobyte.Builder) {})
}

func withPOP(message []byte, tag der.Tag, content func(*cryptobyte.Builder)) ([]byte, error) {
	return build(func(b *cryptobyte.Builder) {
		b.AddBytes(message)
		b.AddASN1(tag, content)
	})
}

// ParseCertReqMsg decodes one CertReqMsg, which is a SEQUENCE. Errors are of
// type *Error.
func ParseCertReqMsg(element []byte) (*CertReqMsg, error) {
	body, err := readWhole(element, "CertReqMsg")
	if err != nil {
		return nil, err
	}
	return readCertReqMsg(body)
}
