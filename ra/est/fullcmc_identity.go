// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"slices"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
)

type certificates = []*x509.Certificate

// cmcIdentity puts who the message proves in the place of who the connection
// proves: the certificate that signed, and the one-time password of an identity
// proof. HTTP credentials count beside them.
func (x *exchange) cmcIdentity() *ra.Error {
	m := x.cmc
	connected, connectedRA := x.who, x.by
	x.who = policy.Identity{Accounts: connected.Accounts, Claims: connected.Claims}
	x.by, x.noRA, x.unavailable, x.reasons = policy.Registrar{}, nil, nil, nil
	x.part = policy.CMCEnroll
	var issuers []string
	if signer := m.signer.Key.Certificate; signer != nil {
		x.unavailable, x.reasons, issuers = x.certified(presentedBy(signer, m.certificates))
	}
	if fail := x.devices(); fail != nil {
		return fail
	}
	if fail := x.inventory(); fail != nil {
		return fail
	}
	x.by, x.noRA = policy.NewRegistrar(x.who, issuers)
	if fail := x.identityProof(); fail != nil {
		return fail
	}
	if fail := x.sameAsTLS(connected.Cert, connectedRA); fail != nil {
		return fail
	}
	return x.renews()
}

// presentedBy is the chain as a TLS client would send it.
func presentedBy(signer *x509.Certificate, rest certificates) certificates {
	chain := certificates{signer}
	for _, c := range rest {
		if !c.Equal(signer) {
			chain = append(chain, c)
		}
	}
	return chain
}

// renews tells a renewal: the certificate that signed is one of this CA's, and
// the profile renews such (RFC 6402 section 2.4). What an RA brings is none.
func (x *exchange) renews() *ra.Error {
	if x.who.Cert == nil || !x.profile.Offers(policy.CMCReenroll) {
		return nil
	}
	if _, onBehalf := x.arrival().OnBehalf(x.profile); onBehalf {
		return nil
	}
	ca := x.s.Authority.CAs[x.profile.Upstream()]
	if ca == nil {
		return nil // the authority says so
	}
	issued, err := ca.Issued(x.r.Context(), x.who.Cert)
	if err != nil {
		return asFailure(err)
	}
	if issued {
		x.part = policy.CMCReenroll
	}
	return nil
}

// sameAsTLS: where a client certificate stands for the connection, it is the
// signer's, or that of an RA which may ask for each subject in the message: a
// device signs, and its RA brings it.
func (x *exchange) sameAsTLS(cert *x509.Certificate, by policy.Registrar) *ra.Error {
	if cert == nil || x.signedBy(cert) {
		return nil
	}
	const another = "the TLS client certificate is not the signer's, nor that of a registration authority that may ask for each subject in the message"
	if !by.Proven() {
		return ra.Fail(ra.Forbidden, another, nil)
	}
	for _, r := range x.cmc.data.Requests {
		request, err := r.CSR()
		if err != nil {
			continue // it is refused for that
		}
		if !x.profile.Relays(by, request.Names, x.now) {
			return ra.Fail(ra.Forbidden, another, nil)
		}
	}
	x.relayed = true
	return nil
}

// signedBy tells whether a certificate, or another of its key, signed.
func (x *exchange) signedBy(cert *x509.Certificate) bool {
	key, ok := x.cmc.signer.Key.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && cert.PublicKey != nil && key.Equal(cert.PublicKey)
}

// linkCMC finds out what ties the proof of possession to who asks (RFC 5272
// section 6.3). The linking value of RFC 7030 section 3.5 is compared as well
// where it is there, save when an RA brings what a device has signed.
func (x *exchange) linkCMC(r cmc.Request) *ra.Error {
	if x.relayed {
		x.linking = policy.Absent
	} else if fail := x.link(); fail != nil {
		return fail
	}
	if x.onBehalf {
		return nil // an RA has seen to it
	}
	switch linked, err := x.linkedBy(r); {
	case err != nil:
		return ra.Fail(ra.LinkFailed, "popLinkWitnessV2", err).Meaning(cmc.POPFailed.String())
	case linked && x.linking == policy.Absent:
		x.linking = policy.Matched
	}
	return nil
}

// linkedBy: the request has the witness; or its key signed the message, with the
// identity proof in it; or it has the names of the certificate that signed (RFC
// 6402 section 2.4). A message with popLinkRandom has the witness in each request
// (RFC 5272 section 6.3.1.1).
func (x *exchange) linkedBy(r cmc.Request) (bool, error) {
	m := x.cmc
	if _, witnessed := x.csr.Attribute(cmc.OIDPopLinkWitnessV2); witnessed || len(m.data.Controls.All(cmc.OIDPopLinkRandom)) > 0 {
		return true, x.checkWitness()
	}
	if m.own == r.ID {
		return true, nil
	}
	// RFC 5272 section 6.3.2: the secret is for this subject alone.
	for _, p := range x.who.Passwords {
		if p.Bound.Subject && p.Bound.Names.Subject.Equal(x.csr.Names.Subject) {
			return true, nil
		}
	}
	if x.who.Cert == nil {
		return false, nil
	}
	names, err := csr.NamesOf(x.who.Cert)
	return err == nil && names.Equal(x.csr.Names), nil
}

// checkWitness verifies popLinkWitnessV2 of the request.
func (x *exchange) checkWitness() error {
	m := x.cmc
	if m.link == nil {
		return errors.New("no shared secret was proven that it could be made with")
	}
	a, _ := x.csr.Attribute(cmc.OIDPopLinkWitnessV2)
	random, present, err := m.data.Controls.Octets(cmc.OIDPopLinkRandom)
	if err != nil || !present || len(a.Values) != 1 {
		return errors.New("there are not one popLinkRandom in the message and one witness in the request")
	}
	w, err := cmc.ParseWitness(a.Values[0])
	if err != nil {
		return err
	}
	if !w.Hash.Equal(cmc.OIDSHA256) {
		return errors.New("its key is not made with SHA-256")
	}
	return w.Verify(m.link, random)
}

// nobodys refuses as a whole a message of several requests that proves nobody: no
// line of `who` can take one of them, and strangers don't write records by the
// hundred.
func (x *exchange) nobodys() *ra.Error {
	if x.who.Cert != nil || len(x.who.Passwords) > 0 {
		return nil
	}
	var ids []cmc.BodyPartID
	for _, r := range x.cmc.data.Requests {
		ids = append(ids, r.ID)
	}
	for _, c := range x.cmc.data.Controls.All(cmc.OIDRevokeRequest) {
		ids = append(ids, c.ID)
	}
	if len(ids) < 2 {
		return nil
	}
	fail := x.shutOwn()
	info, _ := cmc.ParseFailInfo(fail.FailInfo())
	x.cmc.replies.failed(info, fail.Public+" ("+x.id+")", ids...)
	return fail
}

// seenMessages is for all servers of the process.
var seenMessages spent

// cmcOnce refuses what came before: the nonce or the transaction of a signer,
// or the very content where it has neither. What goes on with a transaction has
// no request in it.
func (x *exchange) cmcOnce() *ra.Error {
	m := x.cmc
	if x.who.Cert == nil && len(x.who.Passwords) == 0 {
		return nil // nobody asks, and nobody fills the memory
	}
	signer := []byte(m.password.ID) // of a message with a MAC
	if public := m.signer.Key.Public; public != nil {
		var err error
		if signer, err = x509.MarshalPKIXPublicKey(public); err != nil {
			return ra.Fail(ra.Fault, "the key of the signer", err)
		}
	}
	nonce, hasNonce, err := m.data.Controls.Octets(cmc.OIDSenderNonce)
	if err != nil {
		return cmcFailure("senderNonce", err)
	}
	transaction, hasTransaction, err := m.data.Controls.TransactionID()
	if err != nil {
		return cmcFailure("transactionId", err)
	}
	again := func(what string, value []byte) bool {
		key := sha256.Sum256(signer)
		return !seenMessages.once(sha256.Sum256(slices.Concat(key[:], []byte(what), []byte{0}, value)), x.now)
	}
	// An answer to a challenge goes on with the transaction.
	goesOn := len(m.data.Requests) == 0 || len(m.data.Controls.All(cmc.OIDDecryptedPOP)) > 0
	var replayed bool
	switch {
	case hasNonce && again("nonce", nonce):
		replayed = true
	case hasTransaction && !goesOn && again("transaction", cmc.Integer(transaction)):
		replayed = true
	case !hasNonce && (!hasTransaction || goesOn):
		replayed = again("content", m.content)
	}
	if replayed {
		return ra.Fail(ra.Malformed, "the message, or one of its signer with this nonce or transaction, came before", nil).
			Telling("this nonce or transaction was used before: make the message anew")
	}
	return nil
}
