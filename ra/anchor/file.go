// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// File is a source that never changes. Without certificates it is never
// available.
func File(certs []*x509.Certificate) Source { return file(certs) }

// Issuers makes a source stand for what its anchors' own keys signed, and for
// nothing below another CA that they certified.
func Issuers(of Source) Source { return issuers{of} }

// NewFile makes a source of a PEM file's content; name is for messages. A
// missing or empty trust file must stop the start: an empty one is an error
// here.
func NewFile(name string, data []byte) (Source, error) {
	certs, err := ParsePEM(name, data)
	if err != nil {
		return nil, err
	}
	return File(certs), nil
}

// ParsePEM reads a file of one or more CERTIFICATE blocks. Text may stand
// before a block (RFC 7468 section 2), nothing after the last. A block of
// another type is an error, a private key above all. Messages never hold
// content.
func ParsePEM(name string, data []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	rest := data
	for {
		block, next := pem.Decode(rest)
		if block == nil {
			break
		}
		n := len(certs) + 1
		// The decoder steps over a block that it can't read: what it stepped
		// over may not look like one.
		if bytes.Count(rest[:len(rest)-len(next)], []byte("-----BEGIN ")) != 1 {
			return nil, fmt.Errorf("%s: a PEM block before certificate %d can't be read", name, n)
		}
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, fmt.Errorf("%s: holds a private key; a trust file has certificates only", name)
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%s: holds a PEM block that isn't a CERTIFICATE, after %d certificates", name, n-1)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: certificate %d: %w", name, n, err)
		}
		certs = append(certs, cert)
		rest = next
	}
	if len(certs) == 0 {
		return nil, fmt.Errorf("%s: holds no certificate in PEM", name)
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("%s: there is something after certificate %d that isn't one", name, len(certs))
	}
	return certs, nil
}

type file []*x509.Certificate

func (f file) Certificates(context.Context) (anchors, intermediates []*x509.Certificate, err error) {
	if len(f) == 0 {
		return nil, nil, errors.New("the file has no certificates")
	}
	return f, nil, nil
}

func (f file) Accepts(context.Context, *x509.Certificate, []*x509.Certificate) error { return nil }

type issuers struct{ Source }

// Accepts compares keys: the signature below chain[1] has been verified.
func (s issuers) Accepts(ctx context.Context, leaf *x509.Certificate, chain []*x509.Certificate) error {
	anchors, _, err := s.Certificates(ctx)
	if err != nil {
		return err
	}
	if len(chain) < 2 || !slices.ContainsFunc(anchors, func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawSubjectPublicKeyInfo, chain[1].RawSubjectPublicKeyInfo)
	}) {
		return errors.New("none of its own keys signed the certificate")
	}
	return s.Source.Accepts(ctx, leaf, chain)
}
