// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	protocol "github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/acme"
)

// accountFile keeps an account in Caddy's storage, for all servers that share it,
// under est/acme/<directory>/<key id or account>.json.
type accountFile struct {
	storage certmagic.Storage
	key     string
}

func newAccountFile(storage certmagic.Storage, directory string, eab *acme.EAB) accountFile {
	name := "account"
	if eab != nil {
		name = "eab-" + eab.KeyID // another binding is another account
	}
	safe := certmagic.StorageKeys.Safe
	return accountFile{storage, path.Join("est", "acme", safe(issuerKey(directory)), safe(name)+".json")}
}

// Lock implements acme.Accounts.
func (f accountFile) Lock(ctx context.Context) (func(), error) {
	return lockStorage(ctx, f.storage, f.key)
}

// lockStorage takes a lock of all servers, and gives what gives it back.
func lockStorage(ctx context.Context, storage certmagic.Storage, name string) (func(), error) {
	if err := storage.Lock(ctx, name); err != nil {
		return nil, err
	}
	return func() { _ = storage.Unlock(context.WithoutCancel(ctx), name) }, nil // else it ends by itself
}

// Load implements acme.Accounts.
func (f accountFile) Load(ctx context.Context) (secret.Bytes, error) {
	text, err := f.storage.Load(ctx, f.key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return secret.Bytes(text), err
}

// Store implements acme.Accounts.
func (f accountFile) Store(ctx context.Context, account secret.Bytes) error {
	return f.storage.Store(ctx, f.key, []byte(account))
}

// httpSolver puts answers to http-01 where each HTTP server of Caddy looks for
// those of others that share its storage: under the keys of the ACME issuers in its
// automation policies (decision 54). A name has place for one.
type httpSolver struct {
	ctx     caddy.Context
	storage certmagic.Storage
}

func newHTTPSolver(ctx caddy.Context) *httpSolver { return &httpSolver{ctx, ctx.Storage()} }

// Hold implements acme.Solver.
func (s *httpSolver) Hold(ctx context.Context, names []string) (func(), error) {
	var held []func()
	release := func() {
		for _, unlock := range slices.Backward(held) {
			unlock()
		}
	}
	for _, name := range names {
		unlock, err := lockStorage(ctx, s.storage, path.Join("est", "acme", "challenge", name))
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, unlock)
	}
	return release, nil
}

// Present implements acme.Solver.
func (s *httpSolver) Present(ctx context.Context, c protocol.Challenge) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	keys, err := s.keys(c.Identifier.Value)
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := s.storage.Store(ctx, key, text); err != nil {
			return err
		}
	}
	return nil
}

// Wait implements acme.Solver.
func (*httpSolver) Wait(context.Context, protocol.Challenge) error { return nil }

// CleanUp implements acme.Solver.
func (s *httpSolver) CleanUp(ctx context.Context, c protocol.Challenge) error {
	keys, err := s.keys(c.Identifier.Value)
	for _, key := range keys {
		if gone := s.storage.Delete(ctx, key); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.Join(err, gone)
		}
	}
	return err
}

// keys are where Caddy looks for the answer of a name.
func (s *httpSolver) keys(name string) ([]string, error) {
	app, err := s.ctx.App("tls")
	if err != nil {
		return nil, err
	}
	// What no policy names has the default issuers.
	issuers := []string{issuerKey(certmagic.DefaultACME.CA)}
	if tls, ok := app.(*caddytls.TLS); ok && tls.Automation != nil {
		for _, policy := range tls.Automation.Policies {
			for _, issuer := range policy.Issuers {
				if _, is := issuer.(interface{ GetACMEIssuer() *caddytls.ACMEIssuer }); is {
					issuers = append(issuers, issuer.IssuerKey())
				}
			}
		}
	}
	slices.Sort(issuers)
	var keys []string
	for _, issuer := range slices.Compact(issuers) {
		safe := certmagic.StorageKeys.Safe
		keys = append(keys, path.Join("acme", safe(issuer), "challenge_tokens", safe(name)+".json"))
	}
	return keys, nil
}

// issuerKey is how certmagic calls an ACME CA in the storage.
func issuerKey(directory string) string {
	return (&certmagic.ACMEIssuer{CA: directory}).IssuerKey()
}

// rehearsalName is nobody's name (RFC 6761 section 6.4).
const rehearsalName = "estra-check.invalid"

// Rehearse puts an answer to nobody's challenge there, and asks Caddy's HTTP port
// for it.
func (s *httpSolver) Rehearse(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	release, err := s.Hold(ctx, []string{rehearsalName})
	if err != nil {
		return err
	}
	defer release()
	token := ra.NewID(time.Now())
	c := protocol.Challenge{
		Type: acme.HTTP01, Token: token, KeyAuthorization: token + ".rehearsal", Identifier: protocol.Identifier{Type: "dns", Value: rehearsalName},
	}
	if err := s.Present(ctx, c); err != nil {
		return err
	}
	defer func() { _ = s.CleanUp(context.WithoutCancel(ctx), c) }()
	port := s.port()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort("127.0.0.1", port)+c.HTTP01ResourcePath(), nil)
	if err != nil {
		return err
	}
	request.Host = rehearsalName
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no HTTP server of Caddy is at port %s: %w", port, err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil || string(text) != c.KeyAuthorization {
		return fmt.Errorf("what is at port %s answers a challenge with %d: the automation policy for the name has no ACME issuer, or one with the HTTP challenge off", port, answer.StatusCode)
	}
	return nil
}

// port is Caddy's HTTP port.
func (s *httpSolver) port() string {
	if app, err := s.ctx.App("http"); err == nil {
		if app, ok := app.(*caddyhttp.App); ok && app.HTTPPort != 0 {
			return strconv.Itoa(app.HTTPPort)
		}
	}
	return strconv.Itoa(certmagic.HTTPPort)
}

var (
	_ acme.Accounts  = accountFile{}
	_ acme.Solver    = (*httpSolver)(nil)
	_ acme.Rehearsal = (*httpSolver)(nil)
)
