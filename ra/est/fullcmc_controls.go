// SPDX-License-Identifier: Apache-2.0

package est

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
)

// treatment is what becomes of a control of a request. docs/fullcmc.md has the
// same table for people.
type treatment struct {
	taken bool         // it is processed, or means nothing to this server
	fail  cmc.FailInfo // of one that isn't taken
	why   string
}

// controls are those of RFC 5272 and RFC 6402. One that isn't here is unknown.
var controls = map[string]treatment{
	cmc.OIDTransactionID:    {taken: true},
	cmc.OIDSenderNonce:      {taken: true},
	cmc.OIDRecipientNonce:   {taken: true},
	cmc.OIDIdentification:   {taken: true},
	cmc.OIDIdentityProofV2:  {taken: true},
	cmc.OIDPopLinkRandom:    {taken: true},
	cmc.OIDDataReturn:       {taken: true},
	cmc.OIDRegInfo:          {taken: true},
	cmc.OIDStatusInfo:       {taken: true},
	cmc.OIDStatusInfoV2:     {taken: true},
	cmc.OIDRevokeRequest:    {taken: true},
	cmc.OIDGetCert:          {taken: true},
	cmc.OIDGetCRL:           {taken: true},
	cmc.OIDConfirmCert:      {taken: true},
	cmc.OIDControlProcessed: {taken: true},
	cmc.OIDDecryptedPOP:     {taken: true},
	cmc.OIDQueryPending:     {taken: true},

	cmc.OIDIdentityProof:     {fail: cmc.BadIdentity, why: "identityProof of the first version uses SHA-1: use identityProofV2"},
	cmc.OIDPopLinkWitness:    {fail: cmc.BadRequest, why: "popLinkWitness stands in a certification request"},
	cmc.OIDPopLinkWitnessV2:  {fail: cmc.BadRequest, why: "popLinkWitnessV2 stands in a certification request"},
	cmc.OIDChangeSubjectName: {fail: cmc.BadRequest, why: "changeSubjectName stands in a certification request"},
	// Of an RA they are taken: see ofRA.
	cmc.OIDLraPOPWitness:     {fail: cmc.POPFailed, why: "only a registration authority that the policy names may say that it has seen proof of possession"},
	cmc.OIDRAIdentityWitness: {fail: cmc.BadIdentity, why: "only a registration authority that the policy names may say that it knows who asks"},
	cmc.OIDModCertTemplate:   {fail: cmc.BadRequest, why: "only a registration authority that the policy names may change what a request asks for"},
	cmc.OIDAddExtensions:     {fail: cmc.UnsupportedExt, why: "the policy alone adds extensions"},
	cmc.OIDEncryptedPOP:      {fail: cmc.BadRequest, why: "encryptedPOP is a server's"},
	cmc.OIDBatchRequests:     {fail: cmc.BadRequest, why: "only a registration authority that the policy names may bring several messages in one, and none within another"},
	cmc.OIDBatchResponses:    {fail: cmc.BadRequest, why: "batchResponses is a server's"},
	cmc.OIDResponseBody:      {fail: cmc.BadRequest, why: "responseBody is a server's"},
	cmc.OIDResponseInfo:      {fail: cmc.BadRequest, why: "responseInfo is a server's"},
	cmc.OIDTrustedAnchors:    {fail: cmc.BadRequest, why: "trust anchors are the operator's to set"},
	cmc.OIDAuthData:          {fail: cmc.BadRequest, why: "authenticated data isn't read here"},
	cmc.OIDPublishCert:       {fail: cmc.BadRequest, why: "this server publishes no certificates"},
}

// checkControls refuses the whole message where one control isn't taken (RFC 5272
// section 3.2.1.1), and where there is nothing to do.
func (x *exchange) checkControls() *ra.Error {
	m := x.cmc
	_, byRA := x.arrival().OnBehalf(x.profile)
	processed, err := x.processedByRA(byRA)
	if err != nil {
		return cmcFailure("controlProcessed", err)
	}
	if err := x.checkWitnesses(); byRA && err != nil {
		return cmcFailure("CMC message", err)
	}
	var unknown []cmc.BodyPartID
	var words []string
	for _, c := range m.data.Controls {
		t, known := controls[c.Type.String()]
		switch {
		case (t.taken || processed[c.ID] || byRA && ofRA[c.Type.String()] || c.Type.String() == cmc.OIDIdentityProof && x.takesProofV1()) && (!m.inner || c.Type.String() != cmc.OIDBatchRequests):
		case !known:
			unknown, words = append(unknown, c.ID), append(words, cmc.Name(c.Type))
		default:
			m.replies.failed(t.fail, t.why, c.ID)
			return ra.Fail(ra.Malformed, "control "+cmc.Name(c.Type)+": "+t.why, nil).Meaning(t.fail.String())
		}
	}
	if len(unknown) > 0 {
		m.replies.failed(cmc.BadRequest, "unknown controls", unknown...)
		return ra.Fail(ra.Malformed, "unknown controls: "+strings.Join(words, ", "), nil)
	}
	for _, r := range m.data.Requests {
		if r.Format == cmc.Other {
			// RFC 5272 section 3.2.1: then no other is processed.
			m.replies.statuses = append(m.replies.statuses, cmc.StatusInfo{Status: cmc.NoSupport, Bodies: cmc.To(r.ID)})
			return ra.Fail(ra.Malformed, fmt.Sprintf("request %d has a format that isn't known, %s", r.ID, r.Type), nil)
		}
	}
	return x.checkSomething()
}

// checkSomething: a message wants something to be done.
func (x *exchange) checkSomething() *ra.Error {
	d := x.cmc.data
	n := len(d.Requests)
	for _, oid := range []string{cmc.OIDRevokeRequest, cmc.OIDQueryPending, cmc.OIDGetCert, cmc.OIDGetCRL, cmc.OIDBatchRequests, cmc.OIDConfirmCert, cmc.OIDStatusInfo, cmc.OIDStatusInfoV2} {
		n += len(d.Controls.All(oid))
	}
	if n == 0 {
		return ra.Fail(ra.Malformed, "the message asks for nothing", nil)
	}
	return nil
}

// processedByRA are the controls that an RA has processed (RFC 5272 section
// 6.19). Anybody else's word for it counts nothing.
func (x *exchange) processedByRA(byRA bool) (map[cmc.BodyPartID]bool, error) {
	if !byRA {
		return nil, nil
	}
	done := map[cmc.BodyPartID]bool{}
	for _, c := range x.cmc.data.Controls.All(cmc.OIDControlProcessed) {
		value, err := c.Value()
		if err != nil {
			return nil, err
		}
		list, err := cmc.ParseProcessed(value)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			if r.Path == nil {
				done[r.ID] = true
			}
		}
	}
	return done, nil
}

// cmcRevoke has one certificate revoked.
func (x *exchange) cmcRevoke(c cmc.Control) *ra.Error {
	value, err := c.Value()
	if err != nil {
		return cmcFailure("revokeRequest", err)
	}
	asked, err := cmc.ParseRevocation(value)
	if err != nil {
		return cmcFailure("revokeRequest", err)
	}
	if x.who.Cert == nil {
		return x.shut(x.arrival().Gate(x.profile), x.unavailable, append(x.reasons, "a revocation is asked for with a certificate"))
	}
	cert := x.certificateOf(asked.CertID)
	if cert == nil {
		return ra.Fail(ra.NoCertificate, fmt.Sprintf("the certificate with serial number %x is neither the signer's nor among those in the message", asked.Serial), nil)
	}
	own, by := cert.Equal(x.who.Cert), x.by
	_, x.onBehalf = x.arrival().OnBehalf(x.profile)
	if !x.onBehalf {
		by = policy.Registrar{}
	}
	x.onBehalf = x.onBehalf && !own // of its own certificate it is the holder
	x.outcome, err = x.s.Authority.Revoke(x.r.Context(), x.profile, ra.Revocation{Certificate: cert, Reason: int(asked.Reason), Own: own, By: by})
	if err != nil {
		return asFailure(err)
	}
	return nil
}

// certificateOf finds the certificate that an id names: exactly that one.
func (x *exchange) certificateOf(id cmc.CertID) *x509.Certificate {
	for _, c := range append(certificates{x.who.Cert}, x.cmc.certificates...) {
		if bytes.Equal(c.RawIssuer, id.Issuer) && c.SerialNumber.Cmp(id.Serial) == 0 {
			return c
		}
	}
	return nil
}
