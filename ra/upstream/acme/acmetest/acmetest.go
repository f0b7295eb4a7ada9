// SPDX-License-Identifier: Apache-2.0

// Package acmetest runs a real pebble, the ACME server of Let's Encrypt for
// tests, as a process of its own, with a DNS server by which every name is on
// this machine. It never skips: without a pebble the test fails.
package acmetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream"
	"github.com/caddy-est/estra/ra/upstream/acme"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// The profiles of every CA. Certificates live a day where the order says nothing.
const (
	Plain = "plain" // without a subject
	Named = "named" // the first DNS name is the CN
)

// Blocked is a name that is never certified.
const Blocked = "blocked.example"

// Usage is what all certificates have.
const Usage = "{key: [digitalSignature], ext: [serverAuth]}"

// Options of a CA.
type Options struct {
	// HTTPPort is where http-01 is looked for.
	HTTPPort int
	// EAB are the MAC keys by key id that new accounts need, in base64url; none:
	// they need none.
	EAB map[string]string
	// RejectNonces is the share of good nonces that are refused, in percent.
	RejectNonces int
	// AlternateRoots is how many roots there are beside the first.
	AlternateRoots int
	// RetryAfter is what is said to who asks for an order that isn't done, in
	// seconds; 0: nothing.
	RetryAfter int
	// Sleep is how long the CA waits before it looks, at most, in seconds.
	Sleep int
}

// A CA is a running pebble.
type CA struct {
	URL string // of the directory
	// Roots are those of what it issues, the first before the alternates.
	Roots []*x509.Certificate
	// TLS is the root of its own TLS certificate.
	TLS *x509.Certificate
	// DNS is the address of the DNS server.
	DNS string

	t          testing.TB
	dir        string
	management string // of pebble
	names      string // of the DNS server
	process    *upstreamtest.Process
	http       *http.Client
	tls        ratest.Signer // of its own TLS
}

// Fronted is how a front of the suite of upstreams stands before the CA.
func (ca *CA) Fronted() *upstreamtest.CA {
	ca.t.Helper()
	return &upstreamtest.CA{
		Name: "ACME", URL: strings.TrimSuffix(ca.URL, "/dir"), TLS: upstream.TLS([]*x509.Certificate{ca.TLS}, nil, nil),
		Server: upstreamtest.ServerCertificate(ca.t, ca.tls), Reissue: upstreamtest.ReissuePEM, Finds: true, Keeps: true,
		Signs: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/finalize-order/") },
		Gives: func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/certZ/") },
	}
}

// Start starts a CA that is stopped with the test.
func Start(t testing.TB, o Options) *CA {
	t.Helper()
	root := ratest.NewRoot(t, "Pebble TLS Test Root")
	ca := &CA{t: t, dir: t.TempDir(), TLS: root.Certificate, tls: root}
	roots := x509.NewCertPool()
	roots.AddCert(root.Certificate)
	ca.http = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
	}}
	ca.startDNS()
	server := upstreamtest.ServerCertificate(t, root)
	certificate, key := ca.write("tls.pem", upstreamtest.CertificatePEM(server.Leaf)), ca.write("tls.key", upstreamtest.KeyPEM(t, server.PrivateKey))
	var address string
	ca.process, address = upstreamtest.Serve(t, filepath.Join(ca.dir, "pebble.log"), func(address string) *exec.Cmd {
		ca.management = upstreamtest.FreeAddress(t)
		config := ca.write("pebble.json", o.configuration(address, ca.management, certificate, key))
		cmd := exec.Command(binary(t, "pebble"), "-config", config, "-dnsserver", ca.DNS)
		cmd.Env = []string{
			fmt.Sprintf("PEBBLE_WFE_NONCEREJECT=%d", o.RejectNonces), fmt.Sprintf("PEBBLE_ALTERNATE_ROOTS=%d", o.AlternateRoots), "PEBBLE_AUTHZREUSE=0",
		}
		if o.Sleep > 0 {
			cmd.Env = append(cmd.Env, fmt.Sprintf("PEBBLE_VA_SLEEPTIME=%d", o.Sleep))
		} else {
			cmd.Env = append(cmd.Env, "PEBBLE_VA_NOSLEEP=1")
		}
		return cmd
	}, upstreamtest.Handshake(ca.TLS))
	ca.URL = "https://" + address + "/dir"
	for i := range o.AlternateRoots + 1 {
		ca.Roots = append(ca.Roots, ca.certificate(fmt.Sprintf("roots/%d", i)))
	}
	return ca
}

func (o Options) configuration(address, management, certificate, key string) []byte {
	day := 24 * 60 * 60
	data, _ := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": address, "managementListenAddress": management, "certificate": certificate, "privateKey": key,
		"httpPort": o.HTTPPort, "tlsPort": 1, "keyAlgorithm": "ecdsa", "domainBlocklist": []string{Blocked},
		"externalAccountBindingRequired": len(o.EAB) > 0, "externalAccountMACKeys": o.EAB,
		"retryAfter": map[string]int{"authz": o.RetryAfter, "order": o.RetryAfter},
		"profiles": map[string]any{
			Plain: map[string]any{"description": "without a subject", "validityPeriod": day},
			Named: map[string]any{"description": "with a CN", "validityPeriod": day, "promoteCommonName": true},
		},
	}})
	return data
}

func (ca *CA) startDNS() {
	_, ca.names = upstreamtest.Serve(ca.t, filepath.Join(ca.dir, "dns.log"), func(address string) *exec.Cmd {
		ca.DNS = upstreamtest.FreeAddress(ca.t)
		return exec.Command(binary(ca.t, "pebble-challtestsrv"), "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
			"-dnsserver", ca.DNS, "-management", address, "-defaultIPv6", "")
	}, func(ctx context.Context, address string) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// Config is a configuration for acme.New, with the profile Plain, orders that say
// when a certificate ends, and an account of its own. It makes one call at a time:
// pebble 2.10.1 locks itself up for good where an authorization is read while an
// order is made.
func (ca *CA) Config(challenge string, solver acme.Solver) acme.Config {
	return acme.Config{
		Directory: ca.URL, Roots: ca.Roots[:1], TLSRoots: []*x509.Certificate{ca.TLS},
		Accounts: new(Accounts), Challenge: challenge, Solver: solver, Profile: Plain, Times: true, MaxConns: 1, Contact: []string{"mailto:ra@estra.example"},
	}
}

// RootPEM is the first root, for a `root` file, and TLSPEM for a `tls_root` file.
func (ca *CA) RootPEM() []byte { return upstreamtest.CertificatePEM(ca.Roots[0]) }

// TLSPEM is the root of its TLS.
func (ca *CA) TLSPEM() []byte { return upstreamtest.CertificatePEM(ca.TLS) }

// Intermediate is what issues, under the first root.
func (ca *CA) Intermediate() *x509.Certificate { return ca.certificate("intermediates/0") }

// Revoked says whether a certificate is revoked there, and for which reason.
func (ca *CA) Revoked(c *x509.Certificate) (bool, int) {
	ca.t.Helper()
	var status struct {
		Status string
		Reason int
	}
	if err := json.Unmarshal(ca.get("cert-status-by-serial/"+c.SerialNumber.Text(16)), &status); err != nil {
		ca.t.Fatalf("acmetest: %v", err)
	}
	return status.Status == "Revoked", status.Reason
}

func (ca *CA) certificate(path string) *x509.Certificate {
	ca.t.Helper()
	certs, err := upstream.Certificates(ca.get(path))
	if err != nil {
		ca.t.Fatalf("acmetest: %s: %v", path, err)
	}
	return certs[0]
}

func (ca *CA) get(path string) []byte {
	ca.t.Helper()
	res, err := ca.http.Get("https://" + ca.management + "/" + path)
	if err != nil {
		ca.t.Fatalf("acmetest: %v", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		ca.t.Fatalf("acmetest: %s: %d, %v", path, res.StatusCode, err)
	}
	return body
}

// DNSManagement is the address at which the DNS server is told records.
func (ca *CA) DNSManagement() string { return "http://" + ca.names }

// SetTXT adds a TXT record, and ClearTXT takes those of a name away. Names end with
// a dot.
func (ca *CA) SetTXT(name, value string) error {
	return ca.tell("set-txt", map[string]string{"host": name, "value": value})
}

// ClearTXT is as SetTXT says.
func (ca *CA) ClearTXT(name string) error {
	return ca.tell("clear-txt", map[string]string{"host": name})
}

// TXT are the TXT records of a name, which ends with a dot.
func (ca *CA) TXT(name string) []string {
	ca.t.Helper()
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, ca.DNS)
	}}
	records, _ := r.LookupTXT(context.Background(), name) // none is an error
	return records
}

func (ca *CA) tell(what string, values map[string]string) error {
	body, err := json.Marshal(values)
	if err != nil {
		return err
	}
	res, err := http.Post(ca.DNSManagement()+"/"+what, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %d", what, res.StatusCode)
	}
	return nil
}

// Pause freezes the CA, and Resume lets it go on.
func (ca *CA) Pause() {
	ca.t.Helper()
	if err := ca.process.Pause(); err != nil {
		ca.t.Fatalf("acmetest: %v", err)
	}
}

// Resume ends Pause.
func (ca *CA) Resume() {
	ca.t.Helper()
	if err := ca.process.Resume(); err != nil {
		ca.t.Fatalf("acmetest: %v", err)
	}
}

// Stop ends the CA; stopping twice is no error.
func (ca *CA) Stop() { ca.process.Kill() }

// Log is the end of what it has written.
func (ca *CA) Log() string { return ca.process.Log() }

func (ca *CA) write(name string, data []byte) string {
	ca.t.Helper()
	path := filepath.Join(ca.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		ca.t.Fatalf("acmetest: %v", err)
	}
	return path
}
