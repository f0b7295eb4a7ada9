// SPDX-License-Identifier: Apache-2.0

package ocsp

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"time"
)

// A Forge makes answers as a responder does, and as none should.
type Forge struct {
	Names      *x509.Certificate // whose ResponderID
	ByKey      bool
	Signs      crypto.Signer
	Algorithm  asn1.ObjectIdentifier // nil: ECDSA with SHA-256
	Hash       crypto.Hash
	Certs      []*x509.Certificate
	Singles    []Single
	Extensions []pkix.Extension
	Status     int
	Type       asn1.ObjectIdentifier
}

// A Single is the status of one certificate.
type Single struct {
	Hash         crypto.Hash // 0: SHA-1
	Cert, Issuer *x509.Certificate
	Status       asn1.RawValue
	This, Next   time.Time
	Extensions   []pkix.Extension
}

// The statuses.
var (
	Good    = asn1.RawValue{Class: 2, Tag: 0}
	Revoked = asn1.RawValue{Class: 2, Tag: 1, IsCompound: true, Bytes: append([]byte{0x18, 15}, "20260101000000Z"...)}
	Unknown = asn1.RawValue{Class: 2, Tag: 2}
)

func (s Single) made() (singleResponse, error) {
	if s.Hash == 0 {
		s.Hash = crypto.SHA1
	}
	id := certID{Hash: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 3}}}
	for oid, hash := range certIDHashes {
		if hash == s.Hash {
			id.Hash.Algorithm = parseOID(oid)
		}
	}
	key, err := keyOf(s.Issuer)
	id.NameHash, id.KeyHash, id.Serial = sum(s.Hash, s.Issuer.RawSubject), sum(s.Hash, key), s.Cert.SerialNumber
	return singleResponse{CertID: id, CertStatus: s.Status, ThisUpdate: s.This, NextUpdate: s.Next, Extensions: s.Extensions}, err
}

func parseOID(text string) asn1.ObjectIdentifier {
	id, _ := x509.ParseOID(text)
	der, _ := id.MarshalBinary()
	var out asn1.ObjectIdentifier
	_, _ = asn1.Unmarshal(append([]byte{6, byte(len(der))}, der...), &out)
	return out
}

// DER is the answer.
func (f Forge) DER() ([]byte, error) {
	data := responseData{ProducedAt: f.Singles[0].This, Extensions: f.Extensions}
	data.ResponderID = asn1.RawValue{Class: 2, Tag: 1, IsCompound: true, Bytes: f.Names.RawSubject}
	if f.ByKey {
		key, err := keyOf(f.Names)
		if err != nil {
			return nil, err
		}
		octets, err := asn1.Marshal(sum(crypto.SHA1, key))
		if err != nil {
			return nil, err
		}
		data.ResponderID = asn1.RawValue{Class: 2, Tag: 2, IsCompound: true, Bytes: octets}
	}
	for _, s := range f.Singles {
		single, err := s.made()
		if err != nil {
			return nil, err
		}
		data.Responses = append(data.Responses, single)
	}
	tbs, err := asn1.Marshal(data)
	if err != nil {
		return nil, err
	}
	hash := crypto.SHA256
	if f.Hash != 0 {
		hash = f.Hash
	}
	signature, err := f.Signs.Sign(rand.Reader, sum(hash, tbs), hash)
	if err != nil {
		return nil, err
	}
	basic := basicResponse{TBS: asn1.RawValue{FullBytes: tbs}, Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}}
	basic.Algorithm.Algorithm = f.Algorithm
	if f.Algorithm == nil {
		basic.Algorithm.Algorithm = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}
	}
	for _, c := range f.Certs {
		basic.Certificates = append(basic.Certificates, asn1.RawValue{FullBytes: c.Raw})
	}
	inner, err := asn1.Marshal(basic)
	if err != nil {
		return nil, err
	}
	if f.Type == nil {
		f.Type = oidBasic
	}
	return asn1.Marshal(ocspResponse{Status: asn1.Enumerated(f.Status), Bytes: responseBytes{Type: f.Type, Response: inner}})
}
