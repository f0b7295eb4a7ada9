// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// TLS verifies a CA under the roots alone; the system's don't count. Certificate
// gives our client certificate, and is asked in each handshake, since it is
// renewed now and then; nil: there is none.
func TLS(roots []*x509.Certificate, certificate func() (*tls.Certificate, error), now func() time.Time) *tls.Config {
	pool := x509.NewCertPool()
	for _, c := range roots {
		pool.AddCert(c)
	}
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, Time: now}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate() }
	}
	return config
}

// WithRoots adds those of the roots to a chain that have signed something in it: a
// CA may not have its root.
func WithRoots(chain, roots []*x509.Certificate) []*x509.Certificate {
	for _, root := range roots {
		signs := func(c *x509.Certificate) bool { return c.CheckSignatureFrom(root) == nil }
		if !slices.ContainsFunc(chain, root.Equal) && slices.ContainsFunc(chain, signs) {
			chain = append(chain, root)
		}
	}
	return chain
}

// maxCertificates bounds what is read of a text; a chain has about three.
const maxCertificates = 64

// Certificates reads a text of PEM certificates, of which there is one at least.
// Anything else in it is an error.
func Certificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for rest := text; ; {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		switch {
		case block == nil && len(certs) == 0:
			return nil, errors.New("there is no PEM certificate")
		case block == nil:
			return certs, nil
		case block.Type != "CERTIFICATE":
			return nil, fmt.Errorf("there is a PEM block %s", Line(block.Type))
		case len(certs) == maxCertificates:
			return nil, fmt.Errorf("there are more than %d certificates", maxCertificates)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, cert)
	}
}
