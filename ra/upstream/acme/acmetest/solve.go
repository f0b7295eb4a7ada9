// SPDX-License-Identifier: Apache-2.0

package acmetest

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	protocol "github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra/secret"
)

// Accounts keeps an account in memory. The zero value has none.
type Accounts struct {
	lock sync.Mutex
	mu   sync.Mutex
	text []byte
}

// Lock implements acme.Accounts.
func (a *Accounts) Lock(context.Context) (func(), error) {
	a.lock.Lock()
	return a.lock.Unlock, nil
}

// Load implements acme.Accounts.
func (a *Accounts) Load(context.Context) (secret.Bytes, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append(secret.Bytes(nil), a.text...), nil
}

// Store implements acme.Accounts.
func (a *Accounts) Store(_ context.Context, text secret.Bytes) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text = append([]byte(nil), text...)
	return nil
}

// A Responder answers http-01 for every name, at a port of its own.
type Responder struct {
	Port int

	mu   sync.Mutex
	keys map[string]string // path -> key authorization
	deny bool
}

// NewResponder starts one that ends with the test.
func NewResponder(t testing.TB) *Responder {
	r := &Responder{keys: make(map[string]string)}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if r.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	return r
}

// Deny has it answer nothing.
func (r *Responder) Deny(deny bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.deny = deny
}

// Left is how many answers are still there.
func (r *Responder) Left() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.keys)
}

func (r *Responder) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	key, ok := r.keys[request.URL.Path]
	deny := r.deny
	r.mu.Unlock()
	if !ok || deny {
		http.NotFound(w, request)
		return
	}
	_, _ = io.WriteString(w, key)
}

// Hold implements acme.Solver.
func (*Responder) Hold(context.Context, []string) (func(), error) { return func() {}, nil }

// Present implements acme.Solver.
func (r *Responder) Present(_ context.Context, c protocol.Challenge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys[c.HTTP01ResourcePath()] = c.KeyAuthorization
	return nil
}

// Wait implements acme.Solver.
func (*Responder) Wait(context.Context, protocol.Challenge) error { return nil }

// CleanUp implements acme.Solver.
func (r *Responder) CleanUp(_ context.Context, c protocol.Challenge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.keys, c.HTTP01ResourcePath())
	return nil
}

// TXT answers dns-01 in the DNS of a CA.
type TXT struct{ CA *CA }

// Hold implements acme.Solver.
func (TXT) Hold(context.Context, []string) (func(), error) { return func() {}, nil }

// Present implements acme.Solver.
func (s TXT) Present(_ context.Context, c protocol.Challenge) error {
	return s.CA.SetTXT(c.DNS01TXTRecordName()+".", c.DNS01KeyAuthorization())
}

// Wait implements acme.Solver.
func (TXT) Wait(context.Context, protocol.Challenge) error { return nil }

// CleanUp implements acme.Solver.
func (s TXT) CleanUp(_ context.Context, c protocol.Challenge) error {
	return s.CA.ClearTXT(c.DNS01TXTRecordName() + ".")
}
