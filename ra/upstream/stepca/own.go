// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"errors"
	"sync"

	"go.step.sm/crypto/jose"
)

// A Credential opens a provisioner: one of the two.
type Credential struct {
	JWK *jose.JSONWebKey // see [ParseJWK]
	X5C *X5C             // see [ParseX5C]
}

// is says that two are the same. A JWK that was read again is another.
func (c Credential) is(other Credential) bool {
	if c.X5C == nil || other.X5C == nil || len(other.X5C.Chain) == 0 {
		return c.JWK == other.JWK && c.X5C == other.X5C
	}
	return c.JWK == other.JWK && c.X5C.Chain[0].Equal(other.X5C.Chain[0])
}

// signing are the tokens of one provisioner, signed anew by each credential that
// takes the place of another.
type signing struct {
	cfg  Config // with the provisioner's name, and no credential
	give func() (Credential, error)

	mu     sync.Mutex
	held   Credential
	tokens *tokens // nil: none are made yet
}

// newSigning is that of Config.Provisioner.
func newSigning(cfg Config) (*signing, error) {
	s := &signing{cfg: cfg, give: cfg.Credential}
	if s.give == nil {
		given := Credential{JWK: cfg.JWK, X5C: cfg.X5C}
		s.give = func() (Credential, error) { return given, nil }
	} else if cfg.JWK != nil || cfg.X5C != nil {
		return nil, errors.New("step_ca: a credential is given, and who gives one: a provisioner has one")
	}
	_, held, err := s.current()
	if err == nil && cfg.Own != nil && held.X5C != nil {
		return nil, errors.New("step_ca: a certificate from a file is given, and our own one too: an X5C provisioner has one")
	}
	return s, err
}

// newOwnSigning is that of Config.Own; nil where no such provisioner is configured.
func newOwnSigning(cfg Config) (*signing, error) {
	if cfg.Own == nil {
		return nil, nil
	}
	switch {
	case cfg.Own.Provisioner == "":
		return nil, errors.New("step_ca: the provisioner for our own certificate isn't named")
	case cfg.Own.Provisioner == cfg.Provisioner:
		return nil, errors.New("step_ca: the provisioner for our own certificate is of type X5C, and another one than that of the JWK")
	case cfg.Own.Credential == nil:
		return nil, errors.New("step_ca: nobody gives our own certificate")
	}
	s := &signing{cfg: cfg, give: func() (Credential, error) {
		x5c, err := cfg.Own.Credential()
		return Credential{X5C: x5c}, err
	}}
	s.cfg.Provisioner = cfg.Own.Provisioner
	return s, nil
}

// current gives the tokens that the credential of now signs.
func (s *signing) current() (*tokens, Credential, error) {
	now, err := s.give()
	if err != nil {
		return nil, Credential{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens != nil && s.held.is(now) {
		return s.tokens, s.held, nil
	}
	cfg := s.cfg
	cfg.JWK, cfg.X5C = now.JWK, now.X5C
	made, err := newTokens(cfg) // checks it
	if err != nil {
		return nil, Credential{}, err
	}
	s.held, s.tokens = now, made
	return made, now, nil
}
