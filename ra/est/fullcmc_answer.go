// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

// A cmcReply is what the answer will say.
type cmcReply struct {
	statuses     []cmc.StatusInfo
	certificates []*x509.Certificate
	granted      int
	waiting      int // for approval
	retry        time.Duration
	fail         *ra.Error // the first
	full         bool      // a Simple PKI Response wouldn't do
	challenges   [][]byte  // values of encryptedPOP
	contents     []cmc.Content
	crls         [][]byte // DER
	anchors      []*x509.Certificate
}

func (r *cmcReply) failed(fail cmc.FailInfo, text string, ids ...cmc.BodyPartID) {
	r.statuses = append(r.statuses, cmc.FailedWith(fail, text, ids...))
}

// add takes what became of one part.
func (r *cmcReply) add(id cmc.BodyPartID, part *exchange, fail *ra.Error) {
	part.failed = fail
	if p := part.outcome.Pended; fail != nil && fail.Kind == ra.Pending && p != nil {
		r.pending(id, fail, p, part)
		return
	}
	if fail != nil {
		if part.challengeGiven {
			r.challenged(id, fail, part.id)
			return
		}
		r.refuse(id, fail, " ("+part.id+")")
		return
	}
	r.granted++
	r.statuses = append(r.statuses, cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(id)})
	if cert := part.outcome.Certificate; cert != nil {
		r.certificates = append(r.certificates, cert)
	} else {
		r.full = true // RFC 5272 section 6.11
	}
}

// cmcAnswer is a Simple PKI Response where only certificates go back, else a
// Full one (RFC 5272 section 3.2). A message of which nothing was granted is a
// rejection, which RFC 7030 section 4.3.2 wants to be no 200.
func (x *exchange) cmcAnswer() (answer, *ra.Error) {
	m := x.cmc
	if m.replies.granted+m.replies.waiting == 0 && m.replies.fail != nil {
		return answer{}, m.replies.fail
	}
	if m.replies.waiting > 0 && m.replies.granted == 0 && m.replies.fail == nil && x.profile.PendingByHTTP() {
		return answer{status: http.StatusAccepted, contentType: wire.TypeText, retryAfter: m.replies.retry}, nil
	}
	if m.replies.fail == nil && !m.replies.full && len(m.replies.certificates) > 0 && len(x.echoes())+len(m.replies.anchors) == 0 {
		return x.certsOnly(wire.TypeCertsOnly, m.replies.certificates...)
	}
	der, err := x.fullResponse(m.replies.statuses)
	if err != nil {
		return answer{}, ra.Fail(ra.Fault, "the answer can't be signed", err)
	}
	return x.success(wire.TypeCMCResponse, der), nil
}

// challenged takes a part whose key is to open a challenge first.
func (r *cmcReply) challenged(id cmc.BodyPartID, fail *ra.Error, request string) {
	r.statuses = append(r.statuses, cmc.StatusInfo{Status: cmc.POPRequired, Bodies: cmc.To(id), Text: fail.Public + " (" + request + ")"})
	if r.fail == nil {
		r.fail = fail
	}
}

// refuse takes a part that fails by itself: what is granted beside it stays so.
func (r *cmcReply) refuse(id cmc.BodyPartID, fail *ra.Error, more string) {
	info, _ := cmc.ParseFailInfo(fail.FailInfo())
	r.failed(info, fail.Public+more, id)
	if r.fail == nil {
		r.fail = fail
	}
}

// getCertificates answers getCert (RFC 5272 section 6.9) with the certificates of
// the CA; those of devices are theirs.
func (x *exchange) getCertificates() {
	replies := &x.cmc.replies
	for _, c := range x.cmc.data.Controls.All(cmc.OIDGetCert) {
		found, fail := x.ofCA(c)
		if fail != nil {
			replies.refuse(c.ID, fail, "")
			continue
		}
		if !slices.ContainsFunc(replies.certificates, found.Equal) {
			replies.certificates = append(replies.certificates, found)
		}
		replies.granted++
	}
}

// ofCA finds the certificate of the CA that a getCert asks for.
func (x *exchange) ofCA(c cmc.Control) (*x509.Certificate, *ra.Error) {
	value, err := c.Value()
	if err != nil {
		return nil, cmcFailure("getCert", err)
	}
	id, err := cmc.ParseGetCert(value)
	if err != nil {
		return nil, cmcFailure("getCert", err)
	}
	ca := x.s.Authority.CAs[x.profile.Upstream()]
	if ca == nil {
		return nil, ra.Fail(ra.Fault, "no upstream "+x.profile.Upstream(), nil)
	}
	chain, err := ca.Chain(x.r.Context())
	if err != nil {
		return nil, asFailure(err)
	}
	for _, c := range chain {
		if string(c.RawIssuer) == string(id.Issuer) && c.SerialNumber.Cmp(id.Serial) == 0 {
			return c, nil
		}
	}
	return nil, ra.Fail(ra.NoCertificate, fmt.Sprintf("getCert: no certificate of the CA has the serial number %x", id.Serial), nil)
}

// confirmed answers confirmCertAcceptance (RFC 5272 section 6.14), which this
// server never asks for, and a client's own statusInfo.
func (x *exchange) confirmed() {
	d := x.cmc.data
	for _, oid := range []string{cmc.OIDConfirmCert, cmc.OIDStatusInfo, cmc.OIDStatusInfoV2} {
		for _, c := range d.Controls.All(oid) {
			value, err := c.Value()
			if err == nil && oid == cmc.OIDConfirmCert {
				_, err = cmc.ParseCertID(value)
			} else if err == nil {
				_, err = cmc.ParseStatusInfo(value)
			}
			if err != nil {
				x.cmc.replies.refuse(c.ID, cmcFailure(cmc.Name(c.Type), err), "")
				continue
			}
			x.cmc.replies.statuses = append(x.cmc.replies.statuses, cmc.StatusInfo{Status: cmc.Success, Bodies: cmc.To(c.ID)})
			x.cmc.replies.full = true
		}
	}
}

// echoes are what comes back with each answer (RFC 5272 sections 6.4 and 6.6).
func (x *exchange) echoes() []cmc.Control {
	if x.cmc.data == nil {
		return nil
	}
	var back []cmc.Control
	add := func(oid string, value []byte) {
		back = append(back, cmc.NewControl(cmc.BodyPartID(len(back)+1), oid, value)) //nolint:gosec // a handful
	}
	for _, oid := range []string{cmc.OIDTransactionID, cmc.OIDDataReturn} {
		if _, value, present, err := x.cmc.data.Controls.Only(oid); present && err == nil {
			add(oid, value)
		}
	}
	if _, value, present, err := x.cmc.data.Controls.Only(cmc.OIDSenderNonce); present && err == nil {
		add(cmc.OIDRecipientNonce, value)
		var nonce [16]byte
		_, _ = rand.Read(nonce[:]) // never fails
		add(cmc.OIDSenderNonce, cmc.Octets(nonce[:]))
	}
	return back
}

// fullResponse makes a Full PKI Response (RFC 5272 section 4.2) with the
// certificates that were issued, signed with this server's own certificate.
func (x *exchange) fullResponse(statuses []cmc.StatusInfo) ([]byte, error) {
	signer, chain, err := x.ownSigner()
	if err != nil {
		return nil, err
	}
	response := &cmc.PKIResponse{Controls: x.echoes()}
	if err := addStatuses(response, statuses, x.profile.StatusV1()); err != nil {
		return nil, err
	}
	for _, value := range x.cmc.replies.challenges {
		addControl(response, cmc.OIDEncryptedPOP, value)
	}
	if err := addBatch(response, x.cmc.replies.contents); err != nil {
		return nil, err
	}
	if err := x.cmc.replies.addAnchors(response, x.now); err != nil {
		return nil, err
	}
	content, err := response.Marshal()
	if err != nil {
		return nil, err
	}
	return cms.SignWithCRLs(cms.Content{Type: cms.IDPKIResponse, Bytes: content}, append(chain, x.cmc.replies.certificates...), x.cmc.replies.crls, signer)
}

// addControl gives a control the next body part id.
func addControl(r *cmc.PKIResponse, oid string, value []byte) {
	id := cmc.BodyPartID(len(r.Controls) + 1) //nolint:gosec // about as many as were read
	r.Controls = append(r.Controls, cmc.NewControl(id, oid, value))
}

// addStatuses says what became of the parts. RFC 5272 section 6.1 wants the
// second version, and allows the first beside it: v1 has it where it can say the
// same.
func addStatuses(r *cmc.PKIResponse, statuses []cmc.StatusInfo, v1 bool) error {
	for _, s := range statuses {
		value, err := s.Marshal()
		if err != nil {
			return err
		}
		addControl(r, cmc.OIDStatusInfoV2, value)
		if !v1 || !s.FitsV1() {
			continue
		}
		if value, err = s.MarshalV1(); err != nil {
			return err
		}
		addControl(r, cmc.OIDStatusInfo, value)
	}
	return nil
}

// ownSigner is this server, with the certificates that lead to its own.
func (x *exchange) ownSigner() (cms.Signer, []*x509.Certificate, error) {
	if x.s.Certificate == nil {
		return cms.Signer{}, nil, errors.New("this server has no certificate of its own")
	}
	own, err := x.s.Certificate(x.r)
	if err != nil {
		return cms.Signer{}, nil, err
	}
	key, ok := own.PrivateKey.(crypto.Signer)
	if !ok || len(own.Certificate) == 0 {
		return cms.Signer{}, nil, errors.New("this server's own certificate has no key that signs")
	}
	var chain []*x509.Certificate
	for _, der := range own.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return cms.Signer{}, nil, err
		}
		chain = append(chain, c)
	}
	return cms.Signer{Key: key, ID: cms.IssuerAndSerial(chain[0]), Time: x.now}, chain, nil
}

// addBatch puts in the answers to messages within.
func addBatch(r *cmc.PKIResponse, contents []cmc.Content) error {
	if len(contents) == 0 {
		return nil
	}
	var ids []cmc.BodyPartID
	for _, c := range contents {
		ids = append(ids, c.ID)
	}
	value, err := cmc.MarshalPath(ids)
	if err != nil {
		return err
	}
	addControl(r, cmc.OIDBatchResponses, value)
	r.Contents = contents
	return nil
}

// statusesFor are those of the parts, or what became of the whole.
func (x *exchange) statusesFor(fail *ra.Error) []cmc.StatusInfo {
	statuses := x.cmc.replies.statuses
	if len(statuses) > 0 || fail == nil {
		return statuses
	}
	info, _ := cmc.ParseFailInfo(fail.FailInfo())
	var body cmc.BodyPartID // 0, the whole: RFC 5272 section 3.2.1.3.4
	if e, ok := errors.AsType[*cmc.Error](error(fail)); ok {
		body = e.Body
	}
	return []cmc.StatusInfo{cmc.FailedWith(info, fail.Public+" ("+x.id+")", body)}
}

// cmcRefusal is the answer to a message that wasn't granted: an HTTP error with a
// CMC message in it (RFC 7030 section 4.3.2). It is false outside of /fullcmc,
// and where nothing can be signed.
func (x *exchange) cmcRefusal(fail *ra.Error) (answer, bool) {
	if x.cmc == nil {
		return answer{}, false
	}
	der, err := x.fullResponse(x.statusesFor(fail))
	if err != nil {
		return answer{}, false
	}
	a := x.success(wire.TypeCMCResponse, der)
	a.status, a.retryAfter, a.linking = fail.Kind.HTTPStatus(), fail.RetryAfter, x.wantedLinking(fail)
	if a.status == http.StatusUnauthorized {
		a.status = http.StatusForbidden // no HTTP credential helps
	}
	return a, true
}
