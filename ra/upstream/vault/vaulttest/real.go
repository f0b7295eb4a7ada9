// SPDX-License-Identifier: Apache-2.0

package vaulttest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// Role is the one that tests write, of both kinds.
const Role = "est-ra"

// A Server is the fake one, or a real one.
type Server struct {
	// Fake is nil where the server is a real one.
	Fake      *Fake
	URL       string
	Roots     []*x509.Certificate // of the CA
	TLSRoots  []*x509.Certificate // of the server; none: Roots
	Namespace string
	Mount     string
	// Token may do what an operator does.
	Token secret.Text

	t     testing.TB
	http  *http.Client
	front ratest.Signer // of fronts
}

// Fronted is how a front of the suite of upstreams stands before the server.
func (s *Server) Fronted() *upstreamtest.CA {
	s.t.Helper()
	roots := s.TLSRoots
	if len(roots) == 0 {
		roots = s.Roots
	}
	ca := &upstreamtest.CA{
		Name: "Vault", URL: s.URL, TLS: upstream.TLS(roots, nil, nil), Server: upstreamtest.ServerCertificate(s.t, s.front),
		Reissue: upstreamtest.ReissueJSON("data", "certificate"),
		Signs:   func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/sign") },
	}
	if s.Fake != nil {
		ca.Issuer = s.Fake.CA.Intermediate
	}
	return ca
}

// Start gives the server at ESTRA_VAULT_ADDR, where that is set, with a mount of
// its own that ends with the test; else the fake one. The log says which.
//
//	ESTRA_VAULT_ADDR       https://HOST:8200, such as of `bao server -dev -dev-tls`
//	ESTRA_VAULT_TOKEN      a token that may mount secrets engines
//	ESTRA_VAULT_CACERT     PEM file with the root of its TLS certificate
//	ESTRA_VAULT_NAMESPACE  a namespace, if not the root
func Start(t testing.TB) *Server {
	t.Helper()
	if os.Getenv("ESTRA_VAULT_ADDR") != "" {
		return startReal(t)
	}
	t.Log("against the fake server of vaulttest: ESTRA_VAULT_ADDR isn't set")
	f := NewFake(t)
	return &Server{
		Fake: f, URL: f.URL, Roots: []*x509.Certificate{f.CA.Root.Certificate}, Mount: Mount, Token: secret.Text(f.NewToken(0, 0, false)),
		t: t, front: f.CA.Root,
	}
}

func startReal(t testing.TB) *Server {
	t.Helper()
	var name [6]byte
	_, _ = rand.Read(name[:]) // never fails
	s := &Server{
		URL: os.Getenv("ESTRA_VAULT_ADDR"), Token: secret.Text(os.Getenv("ESTRA_VAULT_TOKEN")), Namespace: os.Getenv("ESTRA_VAULT_NAMESPACE"),
		Mount: "estra-" + hex.EncodeToString(name[:]), t: t, front: ratest.NewRoot(t, "Front"),
	}
	t.Logf("against the real server at %s, mount %s", s.URL, s.Mount)
	roots, err := os.ReadFile(os.Getenv("ESTRA_VAULT_CACERT"))
	if err != nil {
		t.Fatalf("ESTRA_VAULT_CACERT: %v", err)
	}
	if s.TLSRoots, err = upstream.Certificates(roots); err != nil {
		t.Fatalf("ESTRA_VAULT_CACERT: %v", err)
	}
	s.TLSRoots = append(s.TLSRoots, s.front.Certificate)
	pool := x509.NewCertPool()
	for _, root := range s.TLSRoots {
		pool.AddCert(root)
	}
	s.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}, Timeout: 30 * time.Second}
	s.do(http.MethodPost, "sys/mounts/"+s.Mount, []byte(`{"type":"pki","config":{"max_lease_ttl":"87600h"}}`))
	t.Cleanup(func() {
		s.do(http.MethodDelete, "sys/mounts/"+s.Mount, nil)
		s.http.CloseIdleConnections()
	})
	answer := s.do(http.MethodPost, s.Mount+"/root/generate/internal", []byte(`{"common_name":"Estra Test Root","key_type":"ec","ttl":"87600h"}`))
	var made struct {
		Data struct {
			Certificate string `json:"certificate"`
		} `json:"data"`
	}
	if err := json.Unmarshal(answer, &made); err != nil {
		t.Fatal(err)
	}
	if s.Roots, err = upstream.Certificates([]byte(made.Data.Certificate)); err != nil {
		t.Fatal(err)
	}
	return s
}

// do is what an operator does.
func (s *Server) do(method, path string, body []byte) []byte {
	// Also after the test's own context has ended.
	r, err := http.NewRequestWithContext(context.Background(), method, s.URL+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("X-Vault-Token", string(s.Token))
	if s.Namespace != "" {
		r.Header.Set("X-Vault-Namespace", s.Namespace)
	}
	res, err := s.http.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil || res.StatusCode >= http.StatusBadRequest {
		s.t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, answer, err)
	}
	return answer
}

// WriteRole writes Role for sign/:role.
func (s *Server) WriteRole(text []byte) {
	if s.Fake == nil {
		s.do(http.MethodPost, s.Mount+"/roles/"+Role, text)
		return
	}
	if err := s.Fake.WriteRole(Role, text); err != nil {
		s.Fake.t.Error(err)
	}
}

// WriteCELRole writes Role for cel/sign/:role.
func (s *Server) WriteCELRole(text []byte) {
	if s.Fake == nil {
		s.do(http.MethodPost, s.Mount+"/cel/roles/"+Role, text)
		return
	}
	if err := s.Fake.WriteCELRole(Role, text); err != nil {
		s.Fake.t.Error(err)
	}
}
