// SPDX-License-Identifier: Apache-2.0

package ocsp

import (
	"bytes"
	"crypto"
	_ "crypto/sha1" //nolint:gosec // linked for crypto.Hash: names a key in CertID and ResponderID, and signs nothing
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// RFC 6960 sections 4.2.1 and 4.4.4.
var (
	oidBasic         = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	oidArchiveCutoff = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 6}
)

// certIDHashes are those of CertID. They tell issuers apart, and nothing
// hangs on them that a signature doesn't hold.
var certIDHashes = map[string]crypto.Hash{
	"1.3.14.3.2.26":          crypto.SHA1,
	"2.16.840.1.101.3.4.2.1": crypto.SHA256,
	"2.16.840.1.101.3.4.2.2": crypto.SHA384,
	"2.16.840.1.101.3.4.2.3": crypto.SHA512,
}

// refusals are the OCSPResponseStatus values that bring no answer (RFC 6960
// section 4.2.1). Nobody signs them.
var refusals = map[asn1.Enumerated]string{
	1: "malformedRequest", 2: "internalError", 3: "tryLater", 5: "sigRequired", 6: "unauthorized",
}

// What RFC 6960 section 4.2.1 has, in its words.
type (
	ocspResponse struct {
		Status asn1.Enumerated
		Bytes  responseBytes `asn1:"explicit,tag:0,optional"`
	}
	responseBytes struct {
		Type     asn1.ObjectIdentifier
		Response []byte
	}
	basicResponse struct {
		TBS          asn1.RawValue
		Algorithm    pkix.AlgorithmIdentifier
		Signature    asn1.BitString
		Certificates []asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	responseData struct {
		Version     int `asn1:"optional,default:0,explicit,tag:0"`
		ResponderID asn1.RawValue
		ProducedAt  time.Time `asn1:"generalized"`
		Responses   []singleResponse
		Extensions  []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	singleResponse struct {
		CertID     certID
		CertStatus asn1.RawValue
		ThisUpdate time.Time        `asn1:"generalized"`
		NextUpdate time.Time        `asn1:"generalized,explicit,tag:0,optional"`
		Extensions []pkix.Extension `asn1:"explicit,tag:1,optional"`
	}
	certID struct {
		Hash     pkix.AlgorithmIdentifier
		NameHash []byte
		KeyHash  []byte
		Serial   *big.Int
	}
)

// A response is a BasicOCSPResponse whose signature has not been verified.
type response struct {
	tbs       []byte
	data      responseData
	algorithm x509.SignatureAlgorithm
	signature []byte
	certs     []asn1.RawValue
}

// maxSingles bounds the statuses in one answer, and the certificates beside
// them; responders send one, or a few.
const maxSingles = 16

func read(der []byte) (*response, error) {
	var outer ocspResponse
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return nil, errors.New("the answer isn't an OCSPResponse")
	}
	if outer.Status != 0 {
		if name, ok := refusals[outer.Status]; ok {
			return nil, fmt.Errorf("the responder answers with the error %s", name)
		}
		return nil, fmt.Errorf("the responder answers with the error %d", outer.Status)
	}
	if !outer.Bytes.Type.Equal(oidBasic) {
		return nil, errors.New("the answer isn't of the type id-pkix-ocsp-basic")
	}
	var basic basicResponse
	if rest, err := asn1.Unmarshal(outer.Bytes.Response, &basic); err != nil || len(rest) > 0 {
		return nil, errors.New("the answer isn't a BasicOCSPResponse")
	}
	r := &response{tbs: basic.TBS.FullBytes, signature: basic.Signature.RightAlign(), certs: basic.Certificates}
	if rest, err := asn1.Unmarshal(r.tbs, &r.data); err != nil || len(rest) > 0 {
		return nil, errors.New("the ResponseData can't be read")
	}
	if len(r.data.Responses) > maxSingles || len(r.certs) > maxSingles {
		return nil, fmt.Errorf("the answer has more than %d statuses or certificates", maxSingles)
	}
	for _, e := range r.data.Extensions {
		if e.Critical {
			return nil, fmt.Errorf("the answer has the unknown critical extension %s", e.Id)
		}
	}
	var err error
	r.algorithm, err = algorithmOf(basic.Algorithm)
	return r, err
}

const (
	statusGood    = 0
	statusRevoked = 1
	statusUnknown = 2
)

// status reads a CertStatus: CHOICE { good [0] IMPLICIT NULL, revoked [1]
// IMPLICIT RevokedInfo, unknown [2] IMPLICIT UnknownInfo }. What it isn't is
// unknown, never good.
func (s *singleResponse) status() int {
	v := s.CertStatus
	switch {
	case v.Class != asn1.ClassContextSpecific:
		return statusUnknown
	case v.Tag == 0 && !v.IsCompound && len(v.Bytes) == 0:
		return statusGood
	case v.Tag == 1:
		return statusRevoked
	}
	return statusUnknown
}

// names tells whether a CertID is that of a certificate: issuer name, issuer
// key and serial number, all three.
func (id certID) names(cert, issuer *x509.Certificate) (bool, error) {
	hash, ok := certIDHashes[id.Hash.Algorithm.String()]
	if !ok || id.Serial == nil || id.Serial.Cmp(cert.SerialNumber) != 0 {
		return false, nil
	}
	key, err := keyOf(issuer)
	if err != nil {
		return false, err
	}
	return bytes.Equal(id.NameHash, sum(hash, cert.RawIssuer)) && bytes.Equal(id.KeyHash, sum(hash, key)), nil
}

// keyOf is the content of subjectPublicKey, without tag, length and count of
// unused bits: what RFC 6960 hashes.
func keyOf(c *x509.Certificate) ([]byte, error) {
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if rest, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &spki); err != nil || len(rest) > 0 {
		return nil, errors.New("the issuer's public key can't be read")
	}
	return spki.Key.RightAlign(), nil
}

func sum(hash crypto.Hash, b []byte) []byte {
	h := hash.New()
	h.Write(b)
	return h.Sum(nil)
}
