// SPDX-License-Identifier: Apache-2.0

// Package cfssltest runs a real CFSSL, as a process of its own, for tests. It
// never skips: without a cfssl the test fails.
package cfssltest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/cfssl"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// The profiles of every CA. With Numbered before it, each takes our serial
// numbers.
const (
	Devices   = "devices"   // a day, digitalSignature, clientAuth and serverAuth
	Rewriting = "rewriting" // 50 hours, digitalSignature and keyAgreement, clientAuth
	Numbered  = "numbered-"
)

// Key is the HMAC key of the profiles, as in `auth_keys`.
const Key = "00112233445566778899aabbccddeeff"

// BinaryVariable names a cfssl in place of the one in PATH.
const BinaryVariable = "ESTRA_CFSSL"

// Options of a CA. The zero value has a database, and asks for no client
// certificate.
type Options struct {
	// MutualTLS asks for a client certificate of Clients.
	MutualTLS bool
	// NoDatabase leaves the database out, without which nothing is revoked.
	NoDatabase bool
}

// A CA is a running CFSSL: a root, an intermediate that signs, a database in
// SQLite, on a free port of 127.0.0.1.
type CA struct {
	URL          string // https://127.0.0.1:port
	Root         *x509.Certificate
	Intermediate *x509.Certificate
	// Clients issues client certificates for MutualTLS.
	Clients ratest.Signer

	t            testing.TB
	dir          string
	process      *upstreamtest.Process
	root, signer ratest.Signer
}

// Start starts a CA that is stopped with the test.
func Start(t testing.TB, o Options) *CA {
	t.Helper()
	binary := binary(t)
	root := ratest.NewRoot(t, "CFSSL Test Root")
	signer := root.Sub(t, "CFSSL Test Intermediate")
	ca := &CA{t: t, dir: t.TempDir(), Root: root.Certificate, Intermediate: signer.Certificate, Clients: ratest.NewRoot(t, "RA Test Root"), root: root, signer: signer}
	server := upstreamtest.ServerCertificate(t, root)
	args := []string{
		"serve", "-address", "127.0.0.1", "-config", ca.write("config.json", ca.profiles()),
		"-ca", ca.write("ca.pem", upstreamtest.CertificatePEM(signer.Certificate)), "-ca-key", ca.write("ca.key", upstreamtest.KeyPEM(t, signer.Key)),
		"-tls-cert", ca.write("tls.pem", upstreamtest.CertificatePEM(server.Leaf)), "-tls-key", ca.write("tls.key", upstreamtest.KeyPEM(t, server.PrivateKey)),
	}
	if o.MutualTLS {
		args = append(args, "-mutual-tls-ca", ca.write("clients.pem", upstreamtest.CertificatePEM(ca.Clients.Certificate)), "-mutual-tls-cn", "^est-ra$")
	}
	if !o.NoDatabase {
		args = append(args, "-db-config", ca.database())
	}
	var address string
	ca.process, address = upstreamtest.Serve(t, filepath.Join(ca.dir, "cfssl.log"), func(address string) *exec.Cmd {
		_, port, _ := net.SplitHostPort(address)
		cmd := exec.Command(binary, append(args, "-port", port)...)
		cmd.Dir = ca.dir
		return cmd
	}, upstreamtest.Handshake(ca.Root))
	ca.URL = "https://" + address
	return ca
}

// Fronted is how a front of the suite of upstreams stands before the CA.
func (ca *CA) Fronted() *upstreamtest.CA {
	ca.t.Helper()
	return &upstreamtest.CA{
		Name: "CFSSL", URL: ca.URL, TLS: upstream.TLS([]*x509.Certificate{ca.Root}, nil, nil), Server: upstreamtest.ServerCertificate(ca.t, ca.root),
		Issuer: ca.signer, Reissue: upstreamtest.ReissueJSON("result", "certificate"),
		Signs: func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/authsign") },
	}
}

// Client is a client certificate that MutualTLS takes.
func (ca *CA) Client() tls.Certificate {
	ca.t.Helper()
	return ca.Clients.Device(ca.t, "est-ra")
}

// Config is a configuration for cfssl.New with a profile.
func (ca *CA) Config(profile string) cfssl.Config {
	return cfssl.Config{
		URL: ca.URL, Roots: []*x509.Certificate{ca.Root}, Profile: profile,
		Key: func() (secret.Bytes, error) { return cfssl.ParseKey(Key) },
	}
}

// RootPEM is the root certificate, for a `root` file.
func (ca *CA) RootPEM() []byte { return upstreamtest.CertificatePEM(ca.Root) }

// Pause freezes the process, and Resume lets it go on.
func (ca *CA) Pause() {
	ca.t.Helper()
	if err := ca.process.Pause(); err != nil {
		ca.t.Fatalf("cfssltest: %v", err)
	}
}

// Resume ends Pause.
func (ca *CA) Resume() {
	ca.t.Helper()
	if err := ca.process.Resume(); err != nil {
		ca.t.Fatalf("cfssltest: %v", err)
	}
}

// Stop ends the process; stopping twice is no error.
func (ca *CA) Stop() { ca.process.Kill() }

// Log is the end of what the process has written.
func (ca *CA) Log() string { return ca.process.Log() }

// A profile is config.SigningProfile of CFSSL, as far as it is needed here.
type profile struct {
	Expiry   string   `json:"expiry"`
	Usages   []string `json:"usages"`
	AuthKey  string   `json:"auth_key"`
	Numbered bool     `json:"ClientProvidesSerialNumbers,omitempty"`
}

type authKey struct {
	Type string `json:"type"`
	Key  string `json:"key"`
}

type configuration struct {
	Signing struct {
		Default  profile            `json:"default"`
		Profiles map[string]profile `json:"profiles"`
	} `json:"signing"`
	AuthKeys map[string]authKey `json:"auth_keys"`
}

func (ca *CA) profiles() []byte {
	ca.t.Helper()
	var c configuration
	c.AuthKeys = map[string]authKey{"ra": {Type: "standard", Key: Key}}
	c.Signing.Profiles = map[string]profile{}
	for name, p := range map[string]profile{
		Devices:   {Expiry: "24h", Usages: []string{"digital signature", "client auth", "server auth"}, AuthKey: "ra"},
		Rewriting: {Expiry: "50h", Usages: []string{"digital signature", "key agreement", "client auth"}, AuthKey: "ra"},
	} {
		c.Signing.Default = p
		c.Signing.Profiles[name] = p
		p.Numbered = true
		c.Signing.Profiles[Numbered+name] = p
	}
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		ca.t.Fatalf("cfssltest: %v", err)
	}
	return data
}

// tables are what CFSSL's certdb asks for, with the columns of 1.6, which 1.2
// leaves alone.
const tables = `
CREATE TABLE certificates (
  serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, ca_label blob, status blob NOT NULL,
  reason int, expiry timestamp, revoked_at timestamp, pem blob NOT NULL, issued_at timestamp, not_before timestamp,
  metadata text, sans text, common_name text, PRIMARY KEY(serial_number, authority_key_identifier)
);
CREATE TABLE ocsp_responses (
  serial_number blob NOT NULL, authority_key_identifier blob NOT NULL, body blob NOT NULL, expiry timestamp,
  PRIMARY KEY(serial_number, authority_key_identifier)
);`

func (ca *CA) database() string {
	ca.t.Helper()
	db := ca.open()
	defer db.Close()
	if _, err := db.ExecContext(context.Background(), tables); err != nil {
		ca.t.Fatalf("cfssltest: %v", err)
	}
	return ca.write("db.json", []byte(`{"driver": "sqlite3", "data_source": "`+ca.path("certs.db")+`"}`))
}

func (ca *CA) open() *sql.DB {
	ca.t.Helper()
	db, err := sql.Open("sqlite", ca.path("certs.db"))
	if err != nil {
		ca.t.Fatalf("cfssltest: %v", err)
	}
	return db
}

// Revoked says whether CFSSL's database has a certificate as revoked, and for
// which reason.
func (ca *CA) Revoked(c *x509.Certificate) (bool, int) {
	ca.t.Helper()
	db := ca.open()
	defer db.Close()
	var status string
	var reason int
	err := db.QueryRowContext(context.Background(), "SELECT CAST(status AS text), reason FROM certificates WHERE CAST(serial_number AS text) = ?",
		c.SerialNumber.String()).Scan(&status, &reason)
	if err != nil {
		ca.t.Fatalf("cfssltest: %v", err)
	}
	return status == "revoked", reason
}

// binary is the path of cfssl.
func binary(t testing.TB) string {
	t.Helper()
	name := os.Getenv(BinaryVariable)
	if name == "" {
		name = "cfssl"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("cfssltest: this test needs CFSSL (on Debian, apt-get install golang-cfssl; .ci/run does it): %v", err)
	}
	return path
}

func (ca *CA) path(name string) string { return filepath.Join(ca.dir, name) }

func (ca *CA) write(name string, data []byte) string {
	ca.t.Helper()
	if err := os.WriteFile(ca.path(name), data, 0o600); err != nil {
		ca.t.Fatalf("cfssltest: %v", err)
	}
	return ca.path(name)
}
