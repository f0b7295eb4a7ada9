// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"

	"github.com/caddy-est/estra/ra/hello"
)

// ownConfig is where a certificate comes from that est keeps for this site: the
// one for everybody, or the second; nil for neither. The option is for messages.
func (h *Handler) ownConfig() (config *CertificateConfig, option string) {
	switch {
	case h.Certificate != nil:
		return h.Certificate, "certificate"
	case h.SecondCertificate != nil:
		return h.SecondCertificate.Own, "second_certificate"
	default:
		return nil, "certificate"
	}
}

// issued says that the second certificate is one that est keeps.
func (s *SecondCertificate) issued() bool { return s != nil && s.Own != nil }

// inFiles says that there is a second certificate which isn't.
func (s *SecondCertificate) inFiles() bool { return s != nil && s.Own == nil }

// pair is the certificate of now for a name of the site.
func (s *SecondCertificate) pair(ctx context.Context, name string) *secondPair {
	if !s.issued() {
		return s.now.Load()
	}
	own := s.app.own.named(name)
	if own == nil {
		return nil
	}
	cert, err := own.certificate(ctx)
	if err != nil {
		return nil // told by keep
	}
	if known := own.asSecond.Load(); known != nil && known.served == cert {
		return known
	}
	made := &secondPair{served: cert, cas: hello.CAsOf(own.pathOf(ctx, cert))}
	own.asSecond.Store(made)
	return made
}

// pathOf is the chain of a certificate up to the root, which isn't sent, and
// which a client may name by its hash.
func (o *ownCertificate) pathOf(ctx context.Context, cert *tls.Certificate) []*x509.Certificate {
	var path []*x509.Certificate
	for _, der := range cert.Certificate {
		if c, err := x509.ParseCertificate(der); err == nil {
			path = append(path, c)
		}
	}
	served, err := o.upstream.ca.Chain(ctx)
	if err != nil || len(path) == 0 {
		return path // without the root: it is named by the issuer's name
	}
	last := path[len(path)-1]
	for _, c := range served {
		if bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil {
			path = append(path, c)
		}
	}
	return path
}
