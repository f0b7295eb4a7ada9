// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/wire"
)

// A cmcMessage is a Full PKI Request (RFC 5272 section 3.2) as far as it has been
// read. What is in data is what the verifier gave.
type cmcMessage struct {
	data    *cmc.PKIData // nil until it was verified
	content []byte       // what data was read of
	signer  cms.VerifiedSigner
	inner   bool // it stands in another, which an RA has signed
	// certificates are those in the message, which no signature covers.
	certificates certificates
	// unsigned is what goes along, which no signature covers either.
	unsigned []cmc.UnsignedData
	// own is the request whose key signed the message; 0: a certificate did.
	own cmc.BodyPartID
	// password has made the MAC of a message that nobody signed.
	password store.Password
	// link is the key of popLinkWitnessV2, where a shared secret was proven.
	link    []byte
	replies cmcReply
}

// fullCMC is /fullcmc (RFC 7030 section 4.3). Who asks is what the message
// proves (section 3.3), so that nobody is asked before it is read.
func (x *exchange) fullCMC() (answer, *ra.Error) {
	if fail := x.identify(); fail != nil {
		return answer{}, fail
	}
	// A place is taken as on other operations: once it is known who asks.
	if fail := x.receiveCMC(); fail != nil {
		return answer{}, fail
	}
	if fail := x.cmcIdentity(); fail != nil {
		return answer{}, fail
	}
	return x.placed(x.s.enrolling, func() (answer, *ra.Error) {
		if fail := x.processMessage(); fail != nil {
			return answer{}, fail
		}
		return x.cmcAnswer()
	})
}

// processMessage does what a message asks for, once it is known who asks. What
// becomes of its parts stands in the replies.
func (x *exchange) processMessage() *ra.Error {
	if fail := x.checkControls(); fail != nil {
		return fail
	}
	if fail := x.nobodys(); fail != nil {
		return fail
	}
	if fail := x.findAnchors(); fail != nil {
		return fail
	}
	if fail := x.cmcOnce(); fail != nil {
		return fail
	}
	if fail := x.batch(); fail != nil {
		return fail
	}
	x.process()
	x.queries()
	x.getCertificates()
	x.getCRLs()
	x.confirmed()
	return nil
}

// receiveCMC reads the message and verifies who signed it.
func (x *exchange) receiveCMC() *ra.Error {
	if !wire.IsPKCS7(x.r.Header.Get("Content-Type")) {
		return ra.Fail(ra.MediaType, "the Content-Type is not "+wire.TypePKCS7, nil)
	}
	x.cmc = &cmcMessage{} // from here on, each answer is a message of CMC
	body, fail := x.body(x.limit())
	if fail != nil {
		return fail
	}
	message, armoured, err := wire.DecodeBody(body)
	if err != nil {
		return ra.Fail(ra.Malformed, "body", err)
	}
	x.armoured = armoured
	return x.receiveMessage(message)
}

// receiveMessage reads a message, from the body or from within another.
func (x *exchange) receiveMessage(message []byte) *ra.Error {
	kind, err := cms.ContentType(message)
	if err != nil {
		return ra.Fail(ra.Malformed, "CMC message", err)
	}
	switch kind {
	case cms.IDSignedData:
		return x.receiveSigned(message)
	case cms.IDAuthenticatedData:
		return x.receiveAuthenticated(message)
	case cms.IDEnvelopedData, cms.IDAuthEnvelopedData:
		// RFC 5272 section 3.2.1.3.3; TLS stands in for it (section 5).
		return ra.Fail(ra.Malformed, "the CMC message is encrypted, and this server has no key to open one", nil).Meaning(cmc.BadMessageCheck.String())
	default:
		return ra.Fail(ra.Malformed, "the CMC message is neither SignedData nor AuthenticatedData over PKIData", nil)
	}
}

func (x *exchange) receiveSigned(message []byte) *ra.Error {
	signed, err := cms.ReadSigned(message)
	if err != nil {
		return ra.Fail(ra.Malformed, "CMC message", err)
	}
	if n := len(signed.Signers()); n > 1 {
		return ra.Fail(ra.Malformed, fmt.Sprintf("the CMC message has %d signers, and only one can be who asks", n), nil)
	}
	m := x.cmc
	verified, err := signed.Verify(func(u cms.Unverified) (cms.SignerKey, error) {
		if key, ok := x.keyOfWaiting(u); ok {
			return key, nil
		}
		return m.findKey(u)
	})
	switch {
	case err == nil:
	case errors.Is(err, cms.ErrAlgorithm):
		return ra.Fail(ra.Malformed, "CMC message", err).Meaning(cmc.BadAlg.String())
	case errors.As(err, new(*cmc.Error)):
		return cmcFailure("PKIData", err)
	default:
		// RFC 5272 section 3.2.1.3.4: whatever else is wrong with it, a
		// message whose signature isn't good is nobody's.
		return ra.Fail(ra.Forbidden, "CMC message", err).Meaning(cmc.BadMessageCheck.String())
	}
	m.signer, m.certificates = verified.Signers()[0], verified.Certificates()
	return m.take(verified)
}

// take reads what was verified.
func (m *cmcMessage) take(verified *cms.Verified) *ra.Error {
	if fail := m.takeUnsigned(verified.Unsigned()); fail != nil {
		return fail
	}
	content := verified.Content()
	if content.Type != cms.IDPKIData {
		return ra.Fail(ra.Malformed, "the CMC message holds no PKIData (RFC 5272 section 3.2.1)", nil)
	}
	var err error
	m.content = content.Bytes
	if m.data, err = readPKIData(content.Bytes); err != nil {
		return cmcFailure("PKIData", err)
	}
	return nil
}

// readPKIData reads it in DER or BER. What an identity proof covers is
// reqSequence as it was sent (RFC 5272 section 6.2.1).
func readPKIData(content []byte) (*cmc.PKIData, error) {
	der, err := cms.DER(content)
	if err != nil {
		return nil, &cmc.Error{Fail: cmc.BadRequest, Reason: err.Error()}
	}
	data, err := cmc.ParsePKIData(der)
	if err != nil || bytes.Equal(der, content) {
		return data, err
	}
	sent, err := cms.Elements(content)
	if err != nil {
		return nil, err
	}
	data.RawRequests = sent[1] // there are four
	return data, nil
}

// findKey finds the key that signed: that of a request in the message, which is
// named by the subjectKeyIdentifier that it asks for (RFC 5272 section 3.2), or
// that of a certificate in it. Where there is neither, and the PKIData can't be
// read, the error is why not, of type *cmc.Error.
func (m *cmcMessage) findKey(u cms.Unverified) (cms.SignerKey, error) {
	var unread error
	if len(u.Signer.KeyID) > 0 && u.Content.Type == cms.IDPKIData {
		data, err := readPKIData(u.Content.Bytes)
		if unread = err; err != nil {
			data = &cmc.PKIData{}
		}
		for _, r := range data.Requests {
			if key, ok := keyNamed(r, u.Signer.KeyID); ok {
				m.own = r.ID
				return key, nil
			}
		}
	}
	key, err := cms.FindCertificate()(u)
	if err != nil && unread != nil {
		err = unread
	}
	return key, err
}

// keyNamed gives the key of a request that asks for a subjectKeyIdentifier.
func keyNamed(r cmc.Request, id []byte) (cms.SignerKey, bool) {
	request, err := r.CSR()
	if err != nil || request.Key.Public == nil {
		return cms.SignerKey{}, false
	}
	e, ok := request.Extension(csr.OIDSubjectKeyIdentifier)
	if !ok {
		return cms.SignerKey{}, false
	}
	asked, err := cmc.ParseOctets(e.Value)
	return cms.SignerKey{Public: request.Key.Public}, err == nil && string(asked) == string(id)
}

// cmcFailure makes an error of one of package cmc.
func cmcFailure(what string, err error) *ra.Error {
	fail := ra.Fail(ra.Malformed, what, err)
	if e, ok := errors.AsType[*cmc.Error](err); ok {
		switch e.Fail {
		case cmc.BadIdentity:
			fail = ra.Fail(ra.Forbidden, what, err)
		case cmc.POPFailed, cmc.FailPOPRequired:
			fail = ra.Fail(ra.POPFailed, what, err)
		default: // it was read, and isn't good
		}
		return fail.Meaning(e.Fail.String())
	}
	return fail
}

// process takes the requests of the message, one after the other. Each is
// decided by itself: what becomes of one says nothing of another.
func (x *exchange) process() {
	for _, r := range x.cmc.data.Requests {
		x.processPart(r.ID, x.partFor(r), func(y *exchange) *ra.Error { return y.cmcRequest(r) })
	}
	for _, c := range x.cmc.data.Controls.All(cmc.OIDRevokeRequest) {
		x.processPart(c.ID, x.partOf(policy.CMCRevoke, c.ID), func(y *exchange) *ra.Error { return y.cmcRevoke(c) })
	}
}

// processPart takes one. It has its record even where it ends by a panic.
func (x *exchange) processPart(id cmc.BodyPartID, y *exchange, decide func(*exchange) *ra.Error) {
	x.parts = append(x.parts, y)
	fail := decide(y)
	x.closing = x.closing || y.closing
	x.cmc.replies.add(id, y, fail)
}

// partFor begins with one certification request.
func (x *exchange) partFor(r cmc.Request) *exchange { return x.partOf(x.part, r.ID) }

// partOf is an exchange of its own, for a record of its own.
func (x *exchange) partOf(part policy.Op, id cmc.BodyPartID) *exchange {
	y := *x
	y.part, y.parts, y.csr, y.asked, y.outcome = part, nil, nil, false, ra.Outcome{}
	if len(x.cmc.data.Requests)+len(x.cmc.data.Controls.All(cmc.OIDRevokeRequest)) > 1 {
		y.id = x.id + "." + id.String()
	}
	return &y
}

// cmcRequest has one certification request decided, as those of any other
// operation are.
func (x *exchange) cmcRequest(r cmc.Request) *ra.Error {
	if r.Format == cmc.Other {
		return ra.Fail(ra.Malformed, fmt.Sprintf("request %d has a format that isn't known, %s", r.ID, r.Type), nil)
	}
	request, err := r.CSR()
	if err != nil {
		return cmcFailure("certification request", err)
	}
	if n := x.s.Policy.CSRBytes(); n > 0 && int64(len(request.Raw)) > n {
		return ra.Fail(ra.TooLarge, fmt.Sprintf("the certification request has %d bytes, the policy's limit is %d", len(request.Raw), n), nil)
	}
	var fail *ra.Error
	if request, fail = x.changed(r.ID, request); fail != nil {
		return fail
	}
	x.csr, x.unsigned = request, x.cmc.unsignedFor(r.ID)
	onBehalf, brought, own, fail := x.gatePart()
	if fail != nil {
		return fail
	}
	if fail := x.possessed(r); fail != nil {
		return fail
	}
	if fail := x.linkCMC(r); fail != nil {
		return fail
	}
	return x.tookPart(onBehalf, brought, own)
}

// gatePart is the gate of a part.
func (x *exchange) gatePart() (onBehalf bool, brought raPass, own pass, fail *ra.Error) {
	on, onBehalf := x.arrival().OnBehalf(x.profile)
	if onBehalf {
		brought, fail = x.gateOnBehalf(on.By)
	} else {
		own, fail = x.gateOfBody()
	}
	return onBehalf, brought, own, fail
}

// tookPart has the authority decide by the way that the gate let a part in.
func (x *exchange) tookPart(onBehalf bool, brought raPass, own pass) *ra.Error {
	if onBehalf {
		return x.took(x.issueOnBehalf(brought))
	}
	return x.took(x.issue(own))
}

// noPOP says why possession isn't proven.
func (x *exchange) noPOP(r cmc.Request, err error) *ra.Error {
	fail := ra.Fail(ra.POPFailed, "certification request", err)
	if r.Format == cmc.CRMF && r.CRMF.POP.Kind == cmc.NoPOP {
		return fail.Meaning(cmc.FailPOPRequired.String())
	}
	return fail
}
