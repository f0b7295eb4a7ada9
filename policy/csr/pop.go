// SPDX-License-Identifier: Apache-2.0

package csr

import (
	"errors"
	"fmt"
)

// SignatureName is the name of the signature algorithm as crypto/x509 writes
// it, such as "SHA256-RSA", "SHA256-RSAPSS", "ECDSA-SHA384" or "Ed25519"; for
// one that has no name here, its dotted OID.
func (r *Request) SignatureName() string {
	if r.restored != "" {
		return r.restored
	}
	return r.signatureAlgorithm().Name()
}

func (r *Request) signatureAlgorithm() SignatureAlgorithm {
	return SignatureAlgorithm{OID: r.SignatureOID, Params: r.SignatureParams}
}

// CheckPOP verifies the signature with the key in the request: proof that
// the sender has the private key (RFC 2986 section 3, RFC 4211 section 4.1).
// Accepted is what [SignatureAlgorithm.Verify] accepts. The error says what
// isn't accepted, or that the signature is wrong.
func (r *Request) CheckPOP() error {
	if r.form == CRMF && r.SignatureOID == nil {
		return errors.New("the CRMF request has no signature of its key")
	}
	algorithm := r.signatureAlgorithm()
	s := schemes[r.SignatureOID.String()]
	if s.key == UnknownKey {
		return algorithm.notAccepted()
	}
	if r.Key.Algorithm != s.key {
		return fmt.Errorf("signature algorithm %s does not belong to the key in the request", s.name)
	}
	if r.Key.Public == nil {
		return errors.New("the key in the request cannot verify a signature")
	}
	err := algorithm.Verify(r.Key.Public, r.RawInfo, r.Signature)
	if errors.Is(err, ErrSignature) {
		return fmt.Errorf("%w with the key in the request", err)
	}
	return err
}
