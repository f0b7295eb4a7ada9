// SPDX-License-Identifier: Apache-2.0

package ocsp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"
)

// A Status is what is known of one certificate. The zero value is unknown.
type Status struct {
	// Known says that the issuer has issued it.
	Known bool
	// Revoked is when; zero: it isn't.
	Revoked time.Time
	Reason  int // CRLReason (RFC 5280 section 5.3.1)
}

// A Signer signs answers with the issuing key itself.
type Signer struct {
	Issuer *x509.Certificate
	Key    crypto.Signer
}

// Answer signs what is known of the certificates asked about, as of now and good
// until next. Statuses are in the order of r.Asked. A certificate of another issuer
// is unknown: with this key nothing can be said of it.
func (r *Question) Answer(s Signer, statuses []Status, now, next time.Time) ([]byte, error) {
	if len(statuses) != len(r.Asked) {
		return nil, errors.New("ocsp: a status is missing")
	}
	data, err := responseOf(s.Issuer, now)
	if err != nil {
		return nil, err
	}
	for i, asked := range r.Asked {
		known := statuses[i]
		if !asked.Of(s.Issuer) {
			known = Status{}
		}
		status, err := known.marshal()
		if err != nil {
			return nil, err
		}
		data.Responses = append(data.Responses, singleResponse{
			CertID: asked.id, CertStatus: status, ThisUpdate: data.ProducedAt, NextUpdate: next.UTC().Truncate(time.Second),
		})
	}
	if r.nonce != nil {
		data.Extensions = []pkix.Extension{{Id: oidNonce, Value: r.nonce}}
	}
	return sign(s.Key, data)
}

// responseOf begins an answer. The key names the responder: a CA's name stays when
// its key changes.
func responseOf(issuer *x509.Certificate, now time.Time) (responseData, error) {
	key, err := keyOf(issuer)
	if err != nil {
		return responseData{}, err
	}
	id, err := asn1.Marshal(sum(crypto.SHA1, key))
	return responseData{
		ResponderID: asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, IsCompound: true, Bytes: id},
		ProducedAt:  now.UTC().Truncate(time.Second),
	}, err
}

// marshal is the CertStatus (see singleResponse.status).
func (s Status) marshal() (asn1.RawValue, error) {
	switch {
	case !s.Revoked.IsZero():
	case s.Known:
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: statusGood}, nil
	default:
		return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: statusUnknown}, nil
	}
	// RFC 5280 section 5.3.1: rather no reason than unspecified.
	der, err := asn1.MarshalWithParams(struct {
		Time   time.Time       `asn1:"generalized"`
		Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
	}{s.Revoked.UTC().Truncate(time.Second), asn1.Enumerated(s.Reason)}, fmt.Sprintf("tag:%d", statusRevoked))
	return asn1.RawValue{FullBytes: der}, err
}

func sign(key crypto.Signer, data responseData) ([]byte, error) {
	tbs, err := asn1.Marshal(data)
	if err != nil {
		return nil, err
	}
	algorithm, hash, err := signedBy(key.Public())
	if err != nil {
		return nil, err
	}
	digest := tbs
	if hash != 0 {
		digest = sum(hash, tbs)
	}
	signature, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		return nil, err
	}
	inner, err := asn1.Marshal(basicResponse{
		TBS: asn1.RawValue{FullBytes: tbs}, Algorithm: algorithm, Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)},
	})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(ocspResponse{Bytes: responseBytes{Type: oidBasic, Response: inner}})
}

// signedBy is how a key signs.
func signedBy(key crypto.PublicKey) (pkix.AlgorithmIdentifier, crypto.Hash, error) {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		last, hash := 2, crypto.SHA256
		switch key.Curve {
		case elliptic.P384():
			last, hash = 3, crypto.SHA384
		case elliptic.P521():
			last, hash = 4, crypto.SHA512
		}
		return pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, last}}, hash, nil
	case *rsa.PublicKey:
		return pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, Parameters: asn1.NullRawValue}, crypto.SHA256, nil
	case ed25519.PublicKey:
		return pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 3, 101, 112}}, 0, nil
	}
	return pkix.AlgorithmIdentifier{}, 0, fmt.Errorf("ocsp: a key of the type %T signs no answers", key)
}
