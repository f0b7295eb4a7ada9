// SPDX-License-Identifier: Apache-2.0

package ocsp

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// algorithms that may sign an answer. SHA-1 and MD5 aren't among them:
// crypto/x509 would take SHA-1 here.
var algorithms = map[string]x509.SignatureAlgorithm{
	"1.2.840.113549.1.1.11": x509.SHA256WithRSA,
	"1.2.840.113549.1.1.12": x509.SHA384WithRSA,
	"1.2.840.113549.1.1.13": x509.SHA512WithRSA,
	"1.2.840.10045.4.3.2":   x509.ECDSAWithSHA256,
	"1.2.840.10045.4.3.3":   x509.ECDSAWithSHA384,
	"1.2.840.10045.4.3.4":   x509.ECDSAWithSHA512,
	"1.3.101.112":           x509.PureEd25519,
}

func algorithmOf(id pkix.AlgorithmIdentifier) (x509.SignatureAlgorithm, error) {
	algorithm, ok := algorithms[id.Algorithm.String()]
	if !ok {
		return 0, fmt.Errorf("the signature algorithm %s isn't accepted: SHA-256, SHA-384 or SHA-512 with RSA (PKCS #1 v1.5) or ECDSA, or Ed25519", id.Algorithm)
	}
	return algorithm, nil
}

// signer finds who signed, and wants it authorized (RFC 6960 section
// 4.2.2.2): the issuer's own key, or the key of a certificate that the issuer
// itself has issued for id-kp-OCSPSigning. Nobody is trusted by configuration.
// It returns the certificate of a delegated responder.
func (r *response) signer(issuer *x509.Certificate, now time.Time) (*x509.Certificate, error) {
	if named, err := r.namedBy(issuer); err != nil {
		return nil, err
	} else if named && issuer.CheckSignature(r.algorithm, r.tbs, r.signature) == nil {
		return nil, nil
	}
	failure := errors.New("nobody signed the answer who may: neither the certificate's issuer nor a responder whose certificate is in the answer")
	for _, raw := range r.certs {
		c, err := x509.ParseCertificate(raw.FullBytes)
		if err != nil {
			continue // it is nobody's
		}
		named, err := r.namedBy(c)
		if err != nil {
			return nil, err
		}
		if !named {
			continue
		}
		if err := delegated(c, issuer, now); err != nil {
			failure = fmt.Errorf("the responder %q isn't authorized: %w", c.Subject.String(), err)
			continue
		}
		if err := c.CheckSignature(r.algorithm, r.tbs, r.signature); err != nil {
			failure = fmt.Errorf("signature of the answer: %w", err)
			continue
		}
		return c, nil
	}
	return nil, failure
}

// namedBy tells whether the ResponderID is that of a certificate: CHOICE {
// byName [1] Name, byKey [2] KeyHash }, the SHA-1 of the key.
func (r *response) namedBy(c *x509.Certificate) (bool, error) {
	id := r.data.ResponderID
	if id.Class != asn1.ClassContextSpecific || !id.IsCompound {
		return false, errors.New("the ResponderID can't be read")
	}
	switch id.Tag {
	case 1:
		return bytes.Equal(id.Bytes, c.RawSubject), nil
	case 2:
		var hash []byte
		if rest, err := asn1.Unmarshal(id.Bytes, &hash); err != nil || len(rest) > 0 {
			return false, errors.New("the ResponderID can't be read")
		}
		key, err := keyOf(c)
		if err != nil {
			return false, nil
		}
		return bytes.Equal(hash, sum(crypto.SHA1, key)), nil
	}
	return false, errors.New("the ResponderID can't be read")
}

// delegated wants a responder's certificate of the issuer itself: RFC 6960
// section 4.2.2.2 rules out a longer path, and anyExtendedKeyUsage is not
// id-kp-OCSPSigning.
func delegated(c, issuer *x509.Certificate, now time.Time) error {
	switch {
	case !slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning):
		return errors.New("its certificate lacks the extended key usage OCSPSigning")
	case !bytes.Equal(c.RawIssuer, issuer.RawSubject):
		return fmt.Errorf("its certificate is of another issuer, %q", c.Issuer.String())
	case now.Before(c.NotBefore) || now.After(c.NotAfter):
		return errors.New("its certificate isn't valid now")
	case c.KeyUsage != 0 && c.KeyUsage&(x509.KeyUsageDigitalSignature|x509.KeyUsageContentCommitment) == 0:
		return errors.New("its certificate may not sign")
	case len(c.UnhandledCriticalExtensions) > 0:
		return errors.New("its certificate has an unknown critical extension")
	}
	if err := c.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("its certificate: %w", err)
	}
	return nil
}
