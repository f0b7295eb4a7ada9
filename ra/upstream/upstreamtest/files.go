// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"testing"

	"github.com/caddy-est/estra/ra/ratest"
)

// ServerCertificate is for a CA's own TLS on 127.0.0.1.
func ServerCertificate(t testing.TB, issuer ratest.Signer) tls.Certificate {
	t.Helper()
	return issuer.Device(t, "ca.example", func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
}

// Handshake asks whether a server answers by TLS, for [Serve]. No client certificate
// is needed for that: with TLS 1.3 the server refuses after it.
func Handshake(root *x509.Certificate) func(ctx context.Context, address string) error {
	pool := x509.NewCertPool()
	pool.AddCert(root)
	dialer := &tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	return func(ctx context.Context, address string) error {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// CertificatePEM is a certificate for a file.
func CertificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// KeyPEM is a private key for a file.
func KeyPEM(t testing.TB, key crypto.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatalf("upstreamtest: %v", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
