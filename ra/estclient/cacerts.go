// SPDX-License-Identifier: Apache-2.0

package estclient

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

// CACerts fetches the CA certificates over verified TLS (RFC 7030 section
// 4.1), and remembers them to build chains with. Where the server was
// verified under Implicit and there are no Explicit anchors yet, the
// self-signed certificates become them.
func (c *Client) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	u, err := c.Endpoint(policy.CACerts)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, u, nil)
	if err != nil {
		return nil, err
	}
	certs, err := c.fetch(ctx, s)
	if err != nil {
		return nil, err
	}
	if len(c.Explicit) == 0 {
		c.Explicit = roots(certs)
	}
	c.intermediates = certs
	return certs, nil
}

// Bootstrap is for a client without trust anchors (RFC 7030 section 4.1.1).
// It fetches the CA certificates from a server that nothing vouches for,
// sending neither credentials nor a client certificate, and asks accept about
// each self-signed certificate among them: its SHA-256 fingerprint, and the
// certificates with that one first. Those accepted become the Explicit
// anchors, and everything after is over TLS that verifies under them. When
// none is, the error is ErrNotAccepted and the client is as before.
func (c *Client) Bootstrap(ctx context.Context, accept func(fingerprint [sha256.Size]byte, certs []*x509.Certificate) bool) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	u, err := c.Endpoint(policy.CACerts)
	if err != nil {
		return err
	}
	s, err := c.provisional(ctx, u)
	if err != nil {
		return err
	}
	certs, err := c.fetch(ctx, s)
	if err != nil {
		return err
	}
	var accepted []*x509.Certificate
	for _, root := range roots(certs) {
		if accept != nil && accept(sha256.Sum256(root.Raw), first(root, certs)) {
			accepted = append(accepted, root)
		}
	}
	if len(accepted) == 0 {
		return ErrNotAccepted
	}
	c.Explicit, c.Implicit, c.intermediates = accepted, nil, certs
	return nil
}

// fetch gets /cacerts over the session.
func (c *Client) fetch(ctx context.Context, s *session) ([]*x509.Certificate, error) {
	a, err := c.get(ctx, s, policy.CACerts)
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, a.refusal(policy.CACerts, c.now())
	}
	certs, err := a.certificates()
	if err != nil {
		return nil, fmt.Errorf("cacerts: %w", err)
	}
	return certs, nil
}

// certificates reads a certs-only answer.
func (a *answer) certificates() ([]*x509.Certificate, error) {
	return ReadCertificates(a.header.Get("Content-Type"), a.body)
}

// ReadCertificates reads the body of a certs-only answer (RFC 7030 sections
// 4.1.3, 4.2.3). Nothing of it is verified.
func ReadCertificates(contentType string, body []byte) ([]*x509.Certificate, error) {
	if !wire.IsPKCS7(contentType) {
		return nil, fmt.Errorf("the answer has the type %q, want %s", printable(contentType, 100), wire.TypePKCS7)
	}
	der, _, err := wire.DecodeBody(body)
	if err != nil {
		return nil, err
	}
	return cms.ParseCertsOnly(der)
}

// roots are the self-signed certificates that may be a CA. The signature is
// checked: only a certificate's own key makes it a root.
func roots(certs []*x509.Certificate) []*x509.Certificate {
	var found []*x509.Certificate
	for _, cert := range certs {
		if bytes.Equal(cert.RawIssuer, cert.RawSubject) && cert.IsCA && cert.CheckSignatureFrom(cert) == nil {
			found = append(found, cert)
		}
	}
	return found
}

func first(root *x509.Certificate, certs []*x509.Certificate) []*x509.Certificate {
	list := []*x509.Certificate{root}
	for _, cert := range certs {
		if !cert.Equal(root) {
			list = append(list, cert)
		}
	}
	return list
}

// AcceptFingerprint makes an accept for Bootstrap from the fingerprint of a
// root: SHA-256 or SHA-512 over the whole certificate, in hex of any letter
// case, with or without colons and spaces.
func AcceptFingerprint(text string) (func([sha256.Size]byte, []*x509.Certificate) bool, error) {
	want, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimSpace(text)))
	if err != nil {
		return nil, fmt.Errorf("fingerprint: %w", err)
	}
	switch len(want) {
	case sha256.Size:
		return func(got [sha256.Size]byte, _ []*x509.Certificate) bool {
			return subtle.ConstantTimeCompare(got[:], want) == 1
		}, nil
	case sha512.Size:
		return func(_ [sha256.Size]byte, certs []*x509.Certificate) bool {
			got := sha512.Sum512(certs[0].Raw)
			return subtle.ConstantTimeCompare(got[:], want) == 1
		}, nil
	default:
		return nil, errors.New("fingerprint: want SHA-256 (64 hex digits) or SHA-512 (128)")
	}
}
