// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/bearer"
)

// A BearerConfig is an issuer of bearer tokens.
type BearerConfig struct {
	// The name that the policy uses.
	Name string `json:"name"`
	// The issuer's public keys: a file, or an https URL.
	JWKS string `json:"jwks"`
	// What a token's aud must have.
	Audience string `json:"audience"`
	// What its iss must be.
	Issuer string `json:"issuer"`
	// PEM files with the roots of the URL's certificate. Default: the system's.
	Roots []string `json:"roots,omitempty"`
}

const (
	maxKeySet   = 256 << 10
	issuerEvery = 10 * time.Minute
	issuerAgain = 30 * time.Second // after a failure, or for a key that isn't known
	issuerWait  = 10 * time.Second
)

// A tokenIssuer is a BearerConfig ready to verify.
type tokenIssuer struct {
	name     string
	source   string // file or URL
	client   *http.Client
	verifier *bearer.Verifier
	wake     chan struct{}
}

func (h *Handler) loadBearers() error {
	for i := range h.Bearers {
		made, err := h.Bearers[i].load()
		if err != nil {
			return fmt.Errorf("bearer %s: %w", h.Bearers[i].Name, err)
		}
		if slices.ContainsFunc(h.bearers, func(b *tokenIssuer) bool { return b.name == made.name }) {
			return fmt.Errorf("bearer %s: the name is used twice", made.name)
		}
		h.bearers = append(h.bearers, made)
	}
	return nil
}

// load reads a file at once; an URL is read when the app has started.
func (c *BearerConfig) load() (*tokenIssuer, error) {
	if c.Name == "" || c.JWKS == "" || c.Audience == "" || c.Issuer == "" {
		return nil, errors.New("it needs a name, jwks, audience and issuer")
	}
	source, err := expand("jwks", c.JWKS)
	if err != nil {
		return nil, err
	}
	b := &tokenIssuer{name: c.Name, source: source, wake: make(chan struct{}, 1)}
	b.verifier = &bearer.Verifier{Issuer: c.Issuer, Audience: c.Audience, Unknown: func() {
		select {
		case b.wake <- struct{}{}:
		default: // it is awake
		}
	}}
	if !strings.Contains(source, "://") {
		return b, b.refresh(context.Background())
	}
	u, err := url.Parse(source)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, errors.New("jwks is neither a file nor an https URL without a user")
	}
	conf, err := (&WebhookConfig{Roots: c.Roots}).tls()
	if err != nil {
		return nil, err
	}
	b.client = &http.Client{
		Timeout:       issuerWait,
		Transport:     &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: true, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return b, nil
}

// refresh reads the keys.
func (b *tokenIssuer) refresh(ctx context.Context) error {
	set, err := b.fetch(ctx)
	if err != nil {
		return err
	}
	if err := b.verifier.SetKeys(set); err != nil {
		return fmt.Errorf("jwks %s: %w", b.source, err)
	}
	return nil
}

func (b *tokenIssuer) fetch(ctx context.Context) ([]byte, error) {
	if b.client == nil {
		file, err := os.Open(b.source)
		if err != nil {
			return nil, err
		}
		defer file.Close() //nolint:errcheck // it was only read
		return readKeySet(file)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, b.source, nil)
	if err != nil {
		return nil, err
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("jwks %s: the answer has the status %d", b.source, resp.StatusCode)
	}
	return readKeySet(resp.Body)
}

func readKeySet(r io.Reader) ([]byte, error) {
	set, err := io.ReadAll(io.LimitReader(r, maxKeySet+1))
	if err == nil && len(set) > maxKeySet {
		err = fmt.Errorf("the key set has more than %d bytes", maxKeySet)
	}
	return set, err
}

// keepKeys reads an issuer's keys at once, from time to time, and when a token
// has one that isn't known; never more often than issuerAgain.
func (a *App) keepKeys(ctx context.Context, b *tokenIssuer) {
	defer a.done.Done()
	for {
		next := issuerEvery
		if err := b.refresh(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("the keys of an issuer of tokens can't be read", zap.String("bearer", b.name), zap.Error(err))
			next = issuerAgain
		}
		rest, due := time.After(issuerAgain), time.After(next)
		select {
		case <-ctx.Done():
			return
		case <-rest:
		}
		select {
		case <-ctx.Done():
			return
		case <-due:
		case <-b.wake:
		}
	}
}

// checkToken says whose token a request has, for each issuer that takes it.
func (h *Handler) checkToken(r *http.Request) (accounts []policy.Account, claims policy.Facts) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return nil, claims
	}
	token, ok := bearer.Token(headers[0])
	if !ok {
		return nil, claims
	}
	for _, b := range h.bearers {
		subject, said, err := b.verifier.Verify(token)
		if err != nil {
			h.log.Debug("a bearer token was refused", zap.String("bearer", b.name), zap.Error(err)) // no reason has anything of it
			continue
		}
		claims = said
		accounts = append(accounts, policy.Account{Method: policy.BearerMethod(b.name), User: subject})
	}
	return accounts, claims
}

// bearerChallenge is that of RFC 6750 section 3.
func bearerChallenge(r *http.Request) string {
	if _, presented := bearer.Token(r.Header.Get("Authorization")); presented {
		return `Bearer realm="estra", error="invalid_token"`
	}
	return `Bearer realm="estra"`
}
