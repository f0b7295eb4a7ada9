// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/store"
)

// identityProof verifies the witness that only who knows a one-time password can
// make (RFC 5272 section 6.2.1).
func (x *exchange) identityProof() *ra.Error {
	m := x.cmc
	if m.password.ID != "" { // it has made the MAC already
		x.who.Passwords = append(x.who.Passwords, m.password.Proven(policy.ViaProof))
	}
	right, via, fail := x.proofIn(m.data)
	if right == nil || fail != nil {
		return fail
	}
	id, _, err := m.data.Controls.Identification()
	if err != nil {
		return cmcFailure("identity proof", err)
	}
	found, fail := x.secret(id, func(keys store.ProofKeys, known bool) *ra.Error {
		if wrong := right(keys); wrong != nil || !known {
			return wrongProof(wrong)
		}
		return nil
	})
	if fail != nil {
		return fail
	}
	if found.ID != m.password.ID {
		x.who.Passwords = append(x.who.Passwords, found.Proven(via))
	}
	return nil
}

// proofIn reads the identity proof of a message: that of the first version only
// where the profile takes it, and there is no other. Right says what is wrong with
// it; nil where there is none.
func (x *exchange) proofIn(d *cmc.PKIData) (right func(store.ProofKeys) error, via string, fail *ra.Error) {
	_, value, present, err := d.Controls.Only(cmc.OIDIdentityProofV2)
	if err != nil {
		return nil, "", cmcFailure("identity proof", err)
	}
	if !present {
		return x.proofV1In(d)
	}
	witness, err := cmc.ParseWitness(value)
	if err != nil {
		return nil, "", cmcFailure("identity proof", err)
	}
	if !witness.Hash.Equal(cmc.OIDSHA256) {
		return nil, "", ra.Fail(ra.Malformed, "the identity proof makes its key with "+witness.Hash.String()+", and the store keeps those of SHA-256", nil).Meaning(cmc.BadAlg.String())
	}
	return func(keys store.ProofKeys) error { return witness.Verify(keys.Identity[:], d.RawRequests) }, policy.ViaProof, nil
}

// proofV1In reads one of the first version (RFC 5272 section 6.2.2).
func (x *exchange) proofV1In(d *cmc.PKIData) (right func(store.ProofKeys) error, via string, fail *ra.Error) {
	value, present, err := d.Controls.Octets(cmc.OIDIdentityProof)
	if err != nil {
		return nil, "", cmcFailure("identity proof", err)
	}
	if !present || !x.takesProofV1() {
		return nil, "", nil // checkControls refuses it
	}
	return func(keys store.ProofKeys) error {
		// The key of a password that has none could be anybody's guess.
		if wrong := cmc.VerifyV1(value, keys.IdentityV1[:], d.RawRequests); wrong != nil || keys.V1() {
			return wrong
		}
		return errors.New("the password wasn't made for identity proofs of the first version")
	}, policy.ViaProofV1, nil
}

func (x *exchange) takesProofV1() bool {
	return x.profile.TakesPassword(policy.CMCEnroll, policy.ViaProofV1)
}

// wrongProof: RFC 5272 section 6.2.1 has badIdentity for a proof that fails. That
// there is no such password isn't told.
func wrongProof(err error) *ra.Error {
	if e, ok := errors.AsType[*cmc.Error](err); ok && e.Fail == cmc.BadAlg {
		return cmcFailure("identity proof", err)
	}
	return ra.Fail(ra.Forbidden, "the identity proof was not made with a one-time password that is good here", nil)
}

// secret finds a password by its id, and has it proven. Guesses count as those of
// other credentials.
func (x *exchange) secret(id string, right func(keys store.ProofKeys, known bool) *ra.Error) (store.Password, *ra.Error) {
	none := store.Password{}
	if x.s.Passwords == nil || !x.profile.TakesPassword(policy.CMCEnroll, policy.ViaProof) {
		return none, ra.Fail(ra.Forbidden, "a shared secret, and the profile takes no one-time password by CMC", nil)
	}
	checks, network := x.s.checks, certless.NetworkOf(x.in.Remote)
	if checks == nil {
		checks = processChecks()
	}
	visit, fail := checks.enter(network)
	if fail != nil {
		return none, fail
	}
	defer visit.leave()
	ctx, cancel := context.WithTimeout(x.r.Context(), checks.wait)
	defer cancel()
	attempt, fail := x.s.Attempts.begin(ctx, network, "\x00"+policy.ViaProof, x.now)
	if fail != nil {
		return none, fail
	}
	became := failed // by a panic too
	defer func() { attempt.end(became) }()
	// The key of a MAC is as slow to make as the hash of a password.
	if fail := visit.place(ctx); fail != nil {
		became = returned
		return none, fail
	}
	found, keys, err := x.s.Passwords.Proof(x.r.Context(), id, x.target.label, x.now)
	unusable, isUnusable := errors.AsType[*store.Unusable](err)
	unknown := errors.Is(err, store.ErrUnknown)
	if err != nil && !isUnusable && !unknown {
		became = returned
		return none, storeFailed(err)
	}
	if fail := right(keys, !unknown); fail != nil {
		return none, fail
	}
	if isUnusable {
		return none, ra.Fail(ra.Forbidden, unusable.Error(), nil)
	}
	became = succeeded
	x.cmc.link = keys.Link[:]
	return found, nil
}

// receiveAuthenticated is for messages that nobody signs: the MAC is that of who
// knows the secret (RFC 5272 section 3.2). It is derived from the id and the
// SHA-256 of the password in hexadecimal, since the store hasn't the password.
func (x *exchange) receiveAuthenticated(message []byte) *ra.Error {
	m := x.cmc
	sealed, err := cms.ReadAuthenticated(message)
	switch {
	case errors.Is(err, cms.ErrAlgorithm):
		return ra.Fail(ra.Malformed, "CMC message", err).Meaning(cmc.BadAlg.String())
	case err != nil:
		return ra.Fail(ra.Malformed, "CMC message", err)
	}
	var id string
	if _, err = sealed.Verify(func(unverified cms.Content) (_ []byte, err error) {
		id, err = identificationIn(unverified)
		return nil, err
	}); id == "" {
		if errors.As(err, new(*cmc.Error)) {
			return cmcFailure("PKIData", err)
		}
		return ra.Fail(ra.Forbidden, "CMC message", err).Meaning(cmc.BadMessageCheck.String())
	}
	var verified *cms.Verified
	found, fail := x.secret(id, func(keys store.ProofKeys, known bool) *ra.Error {
		// Where there is no such password it takes as long to say so.
		var err error
		verified, err = sealed.Verify(func(cms.Content) ([]byte, error) { return []byte(id + hex.EncodeToString(keys.Link[:])), nil })
		if err != nil || !known {
			return ra.Fail(ra.Forbidden, "CMC message", err).Meaning(cmc.BadMessageCheck.String())
		}
		return nil
	})
	if fail != nil {
		return fail
	}
	m.password = found
	return m.take(verified)
}

// identificationIn finds the id of the secret, in what nobody has verified.
func identificationIn(c cms.Content) (string, error) {
	if c.Type != cms.IDPKIData {
		return "", errors.New("it holds no PKIData")
	}
	data, err := readPKIData(c.Bytes)
	if err != nil {
		return "", err
	}
	id, present, err := data.Controls.Identification()
	if err == nil && !present {
		err = errors.New("there is no identification control to find the secret by")
	}
	return id, err
}
