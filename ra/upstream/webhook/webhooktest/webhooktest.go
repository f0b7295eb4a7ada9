// SPDX-License-Identifier: Apache-2.0

// Package webhooktest runs the servers of docs/upstream-webhook.md, each as a
// process of its own, for tests. It never skips.
package webhooktest

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
	"github.com/caddy-est/estra/ra/upstream/webhook"
)

// Secret is the key of the HMAC, which the servers have as base64.
const Secret = "a secret of thirty-two bytes, 32"

// python is Debian's, which has the package cryptography.
const python = "/usr/bin/python3"

// A CA is a running server: a root, an intermediate that signs, on a free port of
// 127.0.0.1.
type CA struct {
	URL          string // https://127.0.0.1:port
	Root         *x509.Certificate
	Intermediate *x509.Certificate

	t            testing.TB
	dir          string
	process      *upstreamtest.Process
	root, signer ratest.Signer
}

// Fronted is how a front of the suite of upstreams stands before the server.
func (ca *CA) Fronted() *upstreamtest.CA {
	ca.t.Helper()
	return &upstreamtest.CA{
		Name: "webhook", URL: ca.URL, TLS: upstream.TLS([]*x509.Certificate{ca.Root}, nil, nil), Server: upstreamtest.ServerCertificate(ca.t, ca.root),
		Issuer: ca.signer, Reissue: upstreamtest.ReissueJSON("certificate"), Signs: Signs,
	}
}

// Signs tells a request for a certificate from others.
func Signs(r *http.Request) bool { return r.URL.Path == "/issue" }

// Go starts the server in Go.
func Go(t testing.TB) *CA {
	t.Helper()
	return start(t, GoBinary(t))
}

// Python starts the server in Python.
func Python(t testing.TB) *CA {
	t.Helper()
	if out, err := exec.Command(python, "-c", "import cryptography").CombinedOutput(); err != nil {
		t.Fatalf("webhooktest: this test needs Python with cryptography (on Debian, apt-get install python3-openssl; .ci/run does it): %v\n%s", err, out)
	}
	return start(t, python, source("server.py"))
}

// GoBinary builds the server in Go.
func GoBinary(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "server")
	if out, err := exec.Command("go", "build", "-o", path, source("server.go")).CombinedOutput(); err != nil {
		t.Fatalf("webhooktest: %v\n%s", err, out)
	}
	return path
}

// source is the path of a file of the example.
func source(name string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), "..", "..", "..", "..", "examples", "upstream-webhook", name)
}

func start(t testing.TB, command ...string) *CA {
	t.Helper()
	root := ratest.NewRoot(t, "Webhook Test Root")
	signer := root.Sub(t, "Webhook Test Intermediate")
	ca := &CA{t: t, dir: t.TempDir(), Root: root.Certificate, Intermediate: signer.Certificate, root: root, signer: signer}
	server := upstreamtest.ServerCertificate(t, root)
	ca.write("ca.pem", upstreamtest.CertificatePEM(signer.Certificate))
	ca.write("ca.key", upstreamtest.KeyPEM(t, signer.Key))
	ca.write("tls.pem", upstreamtest.CertificatePEM(server.Leaf))
	ca.write("tls.key", upstreamtest.KeyPEM(t, server.PrivateKey))
	var address string
	ca.process, address = upstreamtest.Serve(t, filepath.Join(ca.dir, "server.log"), func(address string) *exec.Cmd {
		cmd := exec.Command(command[0], append(command[1:], address)...)
		cmd.Dir = ca.dir
		cmd.Env = append(os.Environ(), "EST_CA_SECRET="+ca.SecretText(), "PYTHONDONTWRITEBYTECODE=1")
		return cmd
	}, upstreamtest.Handshake(ca.Root))
	ca.URL = "https://" + address
	return ca
}

// Config is a configuration for webhook.New.
func (ca *CA) Config() webhook.Config {
	return webhook.Config{
		URL: ca.URL, Roots: []*x509.Certificate{ca.Root}, Chain: []*x509.Certificate{ca.Intermediate},
		Secret: func() secret.Text { return Secret },
	}
}

// SecretText is the secret as it is configured.
func (*CA) SecretText() string { return base64.StdEncoding.EncodeToString([]byte(Secret)) }

// RootPEM and ChainPEM are for files.
func (ca *CA) RootPEM() []byte { return upstreamtest.CertificatePEM(ca.Root) }

// ChainPEM is the certificate that signs.
func (ca *CA) ChainPEM() []byte { return upstreamtest.CertificatePEM(ca.Intermediate) }

// Log is the end of what the process has written.
func (ca *CA) Log() string { return ca.process.Log() }

func (ca *CA) write(name string, data []byte) {
	ca.t.Helper()
	if err := os.WriteFile(filepath.Join(ca.dir, name), data, 0o600); err != nil {
		ca.t.Fatalf("webhooktest: %v", err)
	}
}
