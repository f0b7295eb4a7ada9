// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"go.step.sm/crypto/jose"
)

// tokenLife is short, since a token is used at once; step-ca itself allows a
// minute of difference between the clocks on either side.
const tokenLife = 3 * time.Minute

// tokens makes the one-time tokens of one provisioner.
type tokens struct {
	issuer   string
	fragment string
	signer   jose.Signer
	now      func() time.Time

	mu   sync.Mutex // an io.Reader needn't be safe for concurrent use
	rand io.Reader
}

// claims is the payload of a token. SANs and cnf are step-ca's; estra is
// ours.
type claims struct {
	jose.Claims
	SANs         []string      `json:"sans,omitempty"`
	Confirmation *confirmation `json:"cnf,omitempty"`
	Estra        *decision     `json:"estra,omitempty"`
}

// confirmation binds a token to one CSR: step-ca compares it with the
// SHA-256 of the DER, in base64url.
type confirmation struct {
	Fingerprint string `json:"x5rt#S256"`
}

func confirm(csrDER []byte) *confirmation {
	sum := sha256.Sum256(csrDER)
	return &confirmation{Fingerprint: base64.RawURLEncoding.EncodeToString(sum[:])}
}

func newTokens(cfg Config) (*tokens, error) {
	t := &tokens{issuer: cfg.Provisioner, now: cfg.Now, rand: cfg.Rand}
	opts := new(jose.SignerOptions).WithType("JWT")
	var key jose.SigningKey
	switch {
	case cfg.JWK != nil && cfg.X5C != nil:
		return nil, errors.New("step_ca: a JWK and an X5C credential are given; a provisioner has one")
	case cfg.JWK != nil:
		alg, err := signatureAlgorithm(cfg.JWK)
		if err != nil {
			return nil, err
		}
		if cfg.JWK.KeyID == "" {
			return nil, errors.New("step_ca: the JWK has no kid, by which step-ca finds the provisioner")
		}
		key = jose.SigningKey{Algorithm: alg, Key: cfg.JWK.Key}
		opts = opts.WithHeader("kid", cfg.JWK.KeyID)
	case cfg.X5C != nil:
		if err := cfg.X5C.check(); err != nil {
			return nil, err
		}
		alg, err := algorithmFor(cfg.X5C.Key)
		if err != nil {
			return nil, err
		}
		key = jose.SigningKey{Algorithm: alg, Key: jose.NewOpaqueSigner(cfg.X5C.Key)}
		opts = opts.WithHeader("x5c", x5cHeader(cfg.X5C))
		// step-ca finds an X5C provisioner by the audience's fragment.
		t.fragment = "x5c/" + cfg.Provisioner
	default:
		return nil, errors.New("step_ca: neither a JWK nor an X5C credential is given")
	}
	var err error
	if t.signer, err = jose.NewSigner(key, opts); err != nil {
		return nil, errors.New("step_ca: tokens can't be signed with this key")
	}
	return t, nil
}

// x5cHeader is the chain in base64, not base64url (RFC 7515 section 4.1.6).
func x5cHeader(x *X5C) []string {
	header := make([]string, len(x.Chain))
	for i, c := range x.Chain {
		header[i] = base64.StdEncoding.EncodeToString(c.Raw)
	}
	return header
}

// sign completes the claims for one call of the API at an address and signs them. Every
// token has an id of its own, which step-ca accepts once.
func (t *tokens) sign(base *url.URL, path string, c claims) (string, error) {
	id := make([]byte, 16)
	t.mu.Lock()
	_, err := io.ReadFull(t.rand, id)
	t.mu.Unlock()
	if err != nil {
		return "", fmt.Errorf("no randomness for a token id: %w", err)
	}
	now := t.now()
	audience := *base
	audience.Path, audience.Fragment = path, t.fragment
	c.ID = hex.EncodeToString(id)
	c.Issuer = t.issuer
	c.Audience = jose.Audience{audience.String()}
	c.IssuedAt = jose.NewNumericDate(now)
	c.NotBefore = jose.NewNumericDate(now)
	c.Expiry = jose.NewNumericDate(now.Add(tokenLife))
	// Not by the builder of claims, which encodes them twice.
	payload, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("the claims: %w", err)
	}
	signed, err := t.signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
