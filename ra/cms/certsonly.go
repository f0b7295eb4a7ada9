// SPDX-License-Identifier: Apache-2.0

// Package cms reads and writes the Cryptographic Message Syntax (RFC 5652)
// as far as EST needs it.
package cms

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"go.mozilla.org/pkcs7"
)

// CertsOnly makes a CMC Simple PKI Response (RFC 5272 section 4.1): a
// SignedData with the certificates, no content and no signer. The SET of
// certificates is in DER order, so theirs is not kept; it has no meaning. A
// certificate that is given twice is sent once. None at all is an error.
func CertsOnly(certs ...*x509.Certificate) ([]byte, error) {
	if len(certs) == 0 {
		return nil, errors.New("certs-only message: no certificate to send")
	}
	raw := make([][]byte, len(certs))
	for i, c := range certs {
		if c == nil || len(c.Raw) == 0 {
			return nil, fmt.Errorf("certs-only message: certificate %d of %d is empty", i+1, len(certs))
		}
		raw[i] = c.Raw
	}
	// X.690 section 11.6 sorts a SET OF by encoding; RFC 8951 section 3
	// wants DER.
	slices.SortFunc(raw, bytes.Compare)
	raw = slices.CompactFunc(raw, bytes.Equal)
	der, err := pkcs7.DegenerateCertificate(bytes.Join(raw, nil))
	if err != nil {
		return nil, fmt.Errorf("certs-only message: %w", err)
	}
	return der, nil
}

// Content types of RFC 5652, sections 4 and 5.1.
var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// contentInfo is RFC 5652 section 3.
type contentInfo struct {
	Type    asn1.ObjectIdentifier
	Content asn1.RawValue `asn1:"explicit,tag:0"`
}

// signedData is RFC 5652 section 5.1. What a certs-only message has no use
// for is kept raw and not looked into.
type signedData struct {
	Version          int
	DigestAlgorithms []asn1.RawValue `asn1:"set"`
	Content          struct {
		Type    asn1.ObjectIdentifier
		Content asn1.RawValue `asn1:"optional,explicit,tag:0"`
	}
	Certificates asn1.RawValue   `asn1:"optional,tag:0"`
	CRLs         asn1.RawValue   `asn1:"optional,tag:1"`
	SignerInfos  []asn1.RawValue `asn1:"set"`
}

// ParseCertsOnly reads the certificates of a SignedData, in the order found.
// The message must be DER and nothing may follow it. Signatures in it are
// not verified: in a certs-only message there are none, and trust comes from
// the channel. A message without certificates is an error.
func ParseCertsOnly(der []byte) ([]*x509.Certificate, error) {
	var info contentInfo
	if err := unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("certs-only message: ContentInfo: %w", err)
	}
	if !info.Type.Equal(oidSignedData) {
		return nil, fmt.Errorf("certs-only message: content type is %s, want SignedData", info.Type)
	}
	var sd signedData
	if err := unmarshal(info.Content.Bytes, &sd); err != nil {
		return nil, fmt.Errorf("certs-only message: SignedData: %w", err)
	}
	if !sd.Content.Type.Equal(oidData) || len(sd.Content.Content.FullBytes) > 0 {
		return nil, errors.New("certs-only message: it carries a content")
	}
	return parseCertificates(sd.Certificates.Bytes)
}

// parseCertificates reads a CertificateSet. Each element is parsed by
// itself, so that an error says which one is wrong.
func parseCertificates(set []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for len(set) > 0 {
		var element asn1.RawValue
		rest, err := asn1.Unmarshal(set, &element)
		if err != nil {
			return nil, fmt.Errorf("certs-only message: certificate %d: %w", len(certs)+1, err)
		}
		// The other choices are attribute certificates and obsolete forms
		// (RFC 5652 section 10.2.2).
		if element.Class != asn1.ClassUniversal || element.Tag != asn1.TagSequence {
			return nil, fmt.Errorf("certs-only message: element %d is no X.509 certificate", len(certs)+1)
		}
		c, err := x509.ParseCertificate(element.FullBytes)
		if err != nil {
			return nil, fmt.Errorf("certs-only message: certificate %d: %w", len(certs)+1, err)
		}
		certs, set = append(certs, c), rest
	}
	if len(certs) == 0 {
		return nil, errors.New("certs-only message: it holds no certificate")
	}
	return certs, nil
}

// unmarshal is asn1.Unmarshal without bytes left over.
func unmarshal[T any](der []byte, into *T) error {
	rest, err := asn1.Unmarshal(der, into)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes follow the message", len(rest))
	}
	return nil
}
