// SPDX-License-Identifier: Apache-2.0

// Package bearer verifies bearer tokens (RFC 6750) that are signed JWTs (RFC
// 7519), with the keys of one issuer.
package bearer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/secret"
)

const (
	maxToken = 8 << 10
	// maxKeys bounds a key set, and keysLife how long one counts that could not
	// be read again: then nobody is let in.
	maxKeys  = 64
	keysLife = 24 * time.Hour
	// leeway is how far clocks may differ.
	leeway = 30 * time.Second
)

// algorithms are those of signatures by a public key. No HMAC, whose key a
// public one could be taken for, and not `none`.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// The reasons of Verify. None has anything of the token in it.
var (
	ErrMalformed = errors.New("the token is no JWT that is signed by a known algorithm")
	ErrNoKey     = errors.New("the token is signed by a key that isn't among the issuer's")
	ErrSignature = errors.New("the token's signature is wrong")
	ErrClaims    = errors.New("the token is for somebody else, by somebody else, or its time is over")
	ErrNoKeys    = errors.New("the issuer's keys aren't known, or too old")
)

// A Verifier takes the tokens of one issuer for one audience. Without keys it
// takes none. Safe for concurrent use.
type Verifier struct {
	Issuer, Audience string
	Now              func() time.Time // nil: time.Now
	// Unknown is told when a token has a key that isn't known: the keys may have
	// changed. nil: nobody is.
	Unknown func()

	mu   sync.RWMutex
	keys []jose.JSONWebKey
	read time.Time
}

// SetKeys takes a key set (RFC 7517 section 5): public keys for signatures.
// With a mistake in it the set before stays.
func (v *Verifier) SetKeys(source []byte) error {
	keys, err := parseKeys(source)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.keys, v.read = keys, v.now()
	return nil
}

func parseKeys(source []byte) ([]jose.JSONWebKey, error) {
	set, err := readSet(source)
	if err != nil {
		return nil, err
	}
	if len(set) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, and %d is the most", len(set), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, key := range set {
		if !key.IsPublic() {
			return nil, errors.New("a key in it isn't public: an issuer gives away its public keys alone")
		}
		if key.Use == "" || key.Use == "sig" {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no key for signatures in it")
	}
	return keys, nil
}

func (v *Verifier) now() time.Time {
	if v.Now == nil {
		return time.Now()
	}
	return v.Now()
}

// Verify says whose token it is, and what it claims.
func (v *Verifier) Verify(token secret.Text) (subject string, claims policy.Facts, err error) {
	if len(token) > maxToken {
		return "", policy.Facts{}, ErrMalformed
	}
	jws, err := jose.ParseSignedCompact(string(token), algorithms)
	if err != nil || len(jws.Signatures) != 1 {
		return "", policy.Facts{}, ErrMalformed
	}
	payload, err := v.signed(jws)
	if err != nil {
		return "", policy.Facts{}, err
	}
	return v.check(payload)
}

// signed gives what is signed: only that counts.
func (v *Verifier) signed(jws *jose.JSONWebSignature) ([]byte, error) {
	v.mu.RLock()
	keys, age := v.keys, v.now().Sub(v.read)
	v.mu.RUnlock()
	if len(keys) == 0 || age > keysLife {
		return nil, ErrNoKeys
	}
	header := jws.Signatures[0].Protected
	keys = slices.DeleteFunc(slices.Clone(keys), func(k jose.JSONWebKey) bool {
		return k.KeyID != header.KeyID && header.KeyID != "" || k.Algorithm != "" && k.Algorithm != header.Algorithm
	})
	// Without a name only one key can be meant.
	if len(keys) == 0 || header.KeyID == "" && len(keys) > 1 {
		if v.Unknown != nil {
			v.Unknown()
		}
		return nil, ErrNoKey
	}
	for _, key := range keys {
		if payload, err := jws.Verify(key.Key); err == nil {
			return payload, nil
		}
	}
	return nil, ErrSignature
}

// check holds the claims against what is configured. A token without an end
// would be good for ever.
func (v *Verifier) check(payload []byte) (string, policy.Facts, error) {
	claims, err := policy.ParseFacts(payload)
	if err != nil {
		return "", policy.Facts{}, ErrMalformed
	}
	c, err := readClaims(payload)
	now := v.now()
	switch {
	case err != nil:
		return "", policy.Facts{}, ErrMalformed
	case c.Issuer != v.Issuer || v.Issuer == "",
		!slices.Contains(c.Audience, v.Audience) || v.Audience == "",
		c.Subject == "" || strings.TrimSpace(c.Subject) != c.Subject,
		c.Expires == nil || !now.Before(c.Expires.time().Add(leeway)),
		c.NotBefore != nil && now.Before(c.NotBefore.time().Add(-leeway)),
		c.Issued != nil && now.Before(c.Issued.time().Add(-leeway)):
		return "", policy.Facts{}, ErrClaims
	}
	return c.Subject, claims, nil
}
