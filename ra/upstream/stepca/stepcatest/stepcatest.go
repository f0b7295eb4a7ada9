// SPDX-License-Identifier: Apache-2.0

// Package stepcatest runs a real step-ca, as a process of its own, for tests
// and benchmarks. It never skips: without a step-ca the test fails.
package stepcatest

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/ra/upstream/stepca"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// The provisioners of every CA.
const (
	JWKProvisioner   = "est-ra"       // with our template
	X5CProvisioner   = "est-ra-x5c"   // with our template
	OwnProvisioner   = "est-ra-own"   // an X5C for certificates of this very CA, with our template
	PlainProvisioner = "est-ra-plain" // a JWK too, and step-ca's own template
)

// Options of a CA. The zero value is a CA without CRL that issues for up to
// ten years.
type Options struct {
	// CRL publishes a CRL, made anew at each revocation.
	CRL bool
	// MaxDuration is the provisioners' maxTLSCertDuration; 0 is ten years.
	MaxDuration time.Duration
	// Version is that of the step-ca.
	Version Version
	// Template is that of JWKProvisioner in place of ours; "": ours.
	Template string
}

// A CA is a running step-ca: a root, an intermediate that issues, badger as
// its database, on a free port of 127.0.0.1.
type CA struct {
	URL          string // https://127.0.0.1:port
	Root         *x509.Certificate
	Intermediate *x509.Certificate
	// JWK is the private key of JWKProvisioner, Plain the one of
	// PlainProvisioner.
	JWK, Plain *jose.JSONWebKey
	// X5C is an RA certificate that X5CProvisioner takes; it lives for 20
	// years. X5CWithoutRA lacks id-kp-cmcRA.
	X5C, X5CWithoutRA *stepca.X5C

	t       testing.TB
	dir     string
	options Options
	hier    hierarchy
	process *upstreamtest.Process
}

// Start starts a CA that is stopped with the test. The directory, with logs
// in step-ca.log, is the test's own.
func Start(t testing.TB, o Options) *CA {
	t.Helper()
	if o.MaxDuration == 0 {
		o.MaxDuration = 10 * 365 * 24 * time.Hour
	}
	ca := &CA{t: t, dir: t.TempDir(), options: o, hier: newHierarchy(t)}
	ca.Root, ca.Intermediate = ca.hier.root.cert, ca.hier.intermediate.cert
	var err error
	if ca.JWK, _, err = stepca.NewJWK(); err != nil {
		t.Fatalf("stepcatest: %v", err)
	}
	if ca.Plain, _, err = stepca.NewJWK(); err != nil {
		t.Fatalf("stepcatest: %v", err)
	}
	ca.X5C = ca.hier.ra(t, true)
	ca.X5CWithoutRA = ca.hier.ra(t, false)
	t.Cleanup(ca.Stop)
	ca.begin()
	return ca
}

// begin picks a port and starts. step-ca can't take port 0, and between the
// picking and its start another process may take the port: then it is tried
// again.
func (ca *CA) begin() {
	ca.t.Helper()
	binary := Binary(ca.t, ca.options.Version)
	const attempts = 5
	for i := range attempts {
		if ca.URL == "" || i > 0 {
			ca.URL = "https://" + upstreamtest.FreeAddress(ca.t)
			ca.configure()
		}
		p, err := run(binary, ca.dir)
		if err != nil {
			ca.t.Fatalf("stepcatest: step-ca doesn't start: %v", err)
		}
		ca.process = p
		err = ca.await()
		if err == nil {
			return
		}
		p.Kill()
		if i == attempts-1 || !errors.Is(err, upstreamtest.ErrEnded) {
			ca.t.Fatalf("stepcatest: step-ca doesn't serve: %v\n%s", err, p.Log())
		}
	}
}

// await waits for /health.
func (ca *CA) await() error {
	up, err := stepca.New(stepca.Config{
		URL: ca.URL, Roots: []*x509.Certificate{ca.Root},
		Provisioner: JWKProvisioner, JWK: ca.JWK, Timeout: 2 * time.Second,
	})
	if err != nil {
		return err
	}
	return ca.process.Await(up.Health)
}

// Config is a configuration for stepca.New with JWKProvisioner.
func (ca *CA) Config() stepca.Config {
	return stepca.Config{
		URL: ca.URL, Roots: []*x509.Certificate{ca.Root},
		Provisioner: JWKProvisioner, JWK: ca.JWK, CRL: ca.options.CRL,
	}
}

// X5CConfig is one with X5CProvisioner.
func (ca *CA) X5CConfig() stepca.Config {
	cfg := ca.Config()
	cfg.Provisioner, cfg.JWK, cfg.X5C = X5CProvisioner, nil, ca.X5C
	return cfg
}

// PlainConfig is one with PlainProvisioner, which knows no template of ours.
func (ca *CA) PlainConfig() stepca.Config {
	cfg := ca.Config()
	cfg.Provisioner, cfg.JWK = PlainProvisioner, ca.Plain
	return cfg
}

// Version is that of the step-ca.
func (ca *CA) Version() Version { return ca.options.Version }

// RootPEM is the root certificate, for a `root` file.
func (ca *CA) RootPEM() []byte { return certPEM(ca.Root) }

// JWKJSON is the private key of JWKProvisioner, for a `key` file.
func (ca *CA) JWKJSON() []byte {
	data, err := json.Marshal(ca.JWK)
	if err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
	return data
}

// X5CPEM is the credential of X5CProvisioner, for files.
func (ca *CA) X5CPEM() (certs, key []byte) {
	for _, c := range ca.X5C.Chain {
		certs = append(certs, certPEM(c)...)
	}
	return certs, keyPEM(ca.t, ca.X5C.Key)
}

// Stop ends the process; stopping twice is no error. When it returns the port
// is closed, and clients have had a moment to notice that their idle
// connections are: a request written before that leaves its outcome unknown.
func (ca *CA) Stop() {
	if ca.process != nil {
		ca.process.Kill()
		time.Sleep(50 * time.Millisecond)
	}
}

// Restart stops the process and starts it with the same configuration, keys,
// database and, unless somebody took it, port.
func (ca *CA) Restart() {
	ca.t.Helper()
	ca.Stop()
	ca.begin()
}

// Pause freezes the process: connections are made by the system, and nobody
// answers. Resume lets it go on.
func (ca *CA) Pause() {
	ca.t.Helper()
	if err := ca.process.Pause(); err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
}

// Resume ends Pause.
func (ca *CA) Resume() {
	ca.t.Helper()
	if err := ca.process.Resume(); err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
}

// Log is the end of what the process has written.
func (ca *CA) Log() string { return ca.process.Log() }

// Written is all that the process has written, of every run.
func (ca *CA) Written() string {
	ca.t.Helper()
	data, err := os.ReadFile(filepath.Join(ca.dir, logFile))
	if err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
	return string(data)
}

func (ca *CA) write(name string, data []byte) string {
	ca.t.Helper()
	path := filepath.Join(ca.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		ca.t.Fatalf("stepcatest: %v", err)
	}
	return path
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// PID is the process id of the running CA.
func (ca *CA) PID() int { return ca.process.PID() }
