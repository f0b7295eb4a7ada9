// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"errors"
	"sync"
)

// ownTokens are the tokens of Config.Own, signed anew by each certificate that
// takes the place of another.
type ownTokens struct {
	cfg Config // with the provisioner's name

	mu     sync.Mutex
	x5c    *X5C
	tokens *tokens
}

// newOwnTokens gives nil where no such provisioner is configured.
func newOwnTokens(cfg Config) (*ownTokens, error) {
	if cfg.Own == nil {
		return nil, nil
	}
	switch {
	case cfg.X5C != nil:
		return nil, errors.New("step_ca: a certificate from a file is given, and our own one too: an X5C provisioner has one")
	case cfg.Own.Provisioner == "":
		return nil, errors.New("step_ca: the provisioner for our own certificate isn't named")
	case cfg.Own.Provisioner == cfg.Provisioner:
		return nil, errors.New("step_ca: the provisioner for our own certificate is of type X5C, and another one than that of the JWK")
	case cfg.Own.Credential == nil:
		return nil, errors.New("step_ca: nobody gives our own certificate")
	}
	cfg.Provisioner, cfg.JWK = cfg.Own.Provisioner, nil
	return &ownTokens{cfg: cfg}, nil
}

// current gives the tokens that the certificate of now signs.
func (o *ownTokens) current() (*tokens, *X5C, error) {
	x5c, err := o.cfg.Own.Credential()
	if err != nil {
		return nil, nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.x5c != nil && len(x5c.Chain) > 0 && o.x5c.Chain[0].Equal(x5c.Chain[0]) {
		return o.tokens, o.x5c, nil
	}
	cfg := o.cfg
	cfg.X5C = x5c
	made, err := newTokens(cfg) // checks the certificate
	if err != nil {
		return nil, nil, err
	}
	o.x5c, o.tokens = x5c, made
	return made, x5c, nil
}
