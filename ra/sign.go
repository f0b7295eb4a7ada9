// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
)

// made is a certificate as it came from a CA, parsed from its bytes.
type made struct {
	leaf *x509.Certificate
	// by is the certificate whose key has verified the signature. Sign alone
	// sets it; nil says nothing.
	by     *x509.Certificate
	issuer string // as Issued has it
}

// Sign makes a certificate with an issuing key of this process, for an
// upstream that is the CA itself. Its errors are those of
// x509.CreateCertificate.
//
// crypto/x509 verifies each signature that it makes, with the issuer's public
// key. Issued remembers that, so that the comparison with the plan needn't
// spend the same operation on the same bytes again; the rest of it is done as
// for every other CA.
func Sign(template, issuer *x509.Certificate, subjectKey any, key crypto.Signer) (Issued, error) {
	if len(issuer.Raw) == 0 || issuer.PublicKey == nil {
		return Issued{}, errors.New("the issuer isn't a certificate that was parsed")
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, subjectKey, key)
	if err != nil {
		return Issued{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return Issued{}, err
	}
	return Issued{Certificate: leaf, made: made{leaf: leaf, by: issuer}}, nil
}
