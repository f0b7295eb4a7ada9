// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/cms"
)

// A key that isn't to sign proves itself by opening what only it can open (RFC
// 5272 section 6.7). The proof value is computed from the request, so that
// nothing is kept for who never answers.
var (
	// challengeSeed is for all servers of the process. Another process gives
	// another challenge.
	challengeSeed = sync.OnceValue(func() []byte {
		seed := make([]byte, sha256.Size)
		_, _ = rand.Read(seed) // never fails
		return seed
	})
)

// challengeLife is how long a challenge can be answered at least, and half of how
// long at most.
const challengeLife = time.Hour

// proofValue is what a request's key has to open, in the age-th period back.
func proofValue(r cmc.Request, now time.Time, age int64) []byte {
	mac := hmac.New(sha256.New, challengeSeed())
	period := now.Unix()/int64(challengeLife/time.Second) - age
	_ = binary.Write(mac, binary.BigEndian, period) // into memory
	_, _ = mac.Write(r.Raw)
	return mac.Sum(nil)
}

// challenged tells whether a request is for a key that is to be challenged.
func challenged(r cmc.Request) bool {
	return r.Format == cmc.CRMF && r.CRMF.POP.Kind == cmc.ChallengePOP
}

// answered verifies the answer to the challenge of a request. It is false where
// there is none.
func (x *exchange) answered(r cmc.Request) (bool, error) {
	for _, c := range x.cmc.data.Controls.All(cmc.OIDDecryptedPOP) {
		value, err := c.Value()
		if err != nil {
			return false, err
		}
		answer, err := cmc.ParsePOPAnswer(value)
		if err != nil {
			return false, err
		}
		if answer.Request != r.ID {
			continue
		}
		if err = answer.Verify(r, proofValue(r, x.now, 0)); err != nil {
			err = answer.Verify(r, proofValue(r, x.now, 1))
		}
		return err == nil, err
	}
	return false, nil
}

// possessed holds that the key of a request is its sender's: by its signature,
// or by the answer to a challenge where it isn't to sign.
func (x *exchange) possessed(r cmc.Request) *ra.Error {
	if !challenged(r) {
		if err := x.csr.CheckPOP(); err != nil {
			return x.noPOP(r, err)
		}
		return nil
	}
	answered, err := x.answered(r)
	switch {
	case answered:
		return nil
	case err != nil:
		return ra.Fail(ra.POPFailed, "decryptedPOP", err)
	}
	if err := x.challengeKey(r); err != nil {
		return ra.Fail(ra.POPFailed, "a challenge", err)
	}
	x.challengeGiven = true
	return ra.Fail(ra.POPFailed, "the key isn't to sign: it was given a challenge", nil).Meaning(cmc.FailPOPRequired.String())
}

// challengeKey makes the encryptedPOP for a request.
func (x *exchange) challengeKey(r cmc.Request) error {
	proof := proofValue(r, x.now, 0)
	to, err := recipientFor(r, x.csr)
	if err != nil {
		return err
	}
	// CBC: EncryptedPOP has an EnvelopedData.
	sealed, err := cms.Encrypt(cms.Content{Type: cms.IDData, Bytes: proof},
		cms.Algorithms{Content: cms.AES256CBC, Transport: cms.OAEPSHA256, KDF: crypto.SHA256, Wrap: cms.AES256Wrap}, to)
	if err != nil {
		return err
	}
	value, err := cmc.NewPOPChallenge(r, proof, sealed).Marshal()
	if err != nil {
		return err
	}
	x.cmc.replies.challenges = append(x.cmc.replies.challenges, value)
	return nil
}

// noIssuer stands for the issuer that a key without a certificate has not (RFC
// 5272 section 6.7).
var noIssuer = []byte{0x30, 0}

func recipientFor(r cmc.Request, request *csr.Request) (cms.Recipient, error) {
	id := cms.Identifier{Issuer: noIssuer, Serial: r.ID.Big()}
	if e, ok := request.Extension(csr.OIDSubjectKeyIdentifier); ok {
		keyID, err := cmc.ParseOctets(e.Value)
		if err != nil {
			return cms.Recipient{}, err
		}
		id = cms.SubjectKeyID(keyID)
	}
	switch key := request.Key.Public.(type) {
	case *rsa.PublicKey:
		return cms.ForRSA(id, key), nil
	case *ecdsa.PublicKey:
		agree, err := key.ECDH()
		if err != nil {
			return cms.Recipient{}, err
		}
		return cms.ForECDH(id, agree), nil
	default:
		return cms.Recipient{}, errors.New("nothing can be encrypted for a key of this kind")
	}
}
