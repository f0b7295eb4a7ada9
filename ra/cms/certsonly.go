// SPDX-License-Identifier: Apache-2.0

// Package cms reads and writes the Cryptographic Message Syntax (RFC 5652)
// as far as EST needs it.
package cms

import (
	"bytes"
	"crypto/x509"
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

// ParseCertsOnly reads the certificates of a SignedData, in the order found.
// Signatures in it are not verified: in a certs-only message there are none,
// and trust comes from the channel. A message without certificates is an error.
func ParseCertsOnly(message []byte) ([]*x509.Certificate, error) {
	certs, err := parseCertsOnly(message)
	if err != nil {
		return nil, fmt.Errorf("certs-only message: %w", err)
	}
	return certs, nil
}

func parseCertsOnly(message []byte) ([]*x509.Certificate, error) {
	body, err := ofCA.open(message, IDSignedData)
	if err != nil {
		return nil, err
	}
	sd, err := readSignedData(body)
	if err != nil {
		return nil, err
	}
	if sd.kind != IDData || len(sd.encapsulated) > 0 {
		return nil, errors.New("it carries a content")
	}
	certs, other, err := ofCA.readCertificates(sd.certificates)
	if err != nil {
		return nil, err
	}
	if other > 0 {
		return nil, fmt.Errorf("element %d is no X.509 certificate", other)
	}
	if len(certs) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return certs, nil
}
