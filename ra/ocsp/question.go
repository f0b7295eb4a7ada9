// SPDX-License-Identifier: Apache-2.0

package ocsp

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
)

// MaxRequest bounds what is read of a request: clients ask about one certificate,
// or the few of a chain.
const MaxRequest = 8 << 10

// oidNonce is id-pkix-ocsp-nonce (RFC 9654).
var oidNonce = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 2}

// maxNonce is the most that RFC 9654 section 2.1 lets a nonce have; a longer one,
// or an empty one, must be refused.
const maxNonce = 128

// What RFC 6960 section 4.1.1 has, in its words. A signature is neither asked for
// nor looked at: everybody may ask.
type (
	ocspRequest struct {
		TBS       tbsRequest
		Signature asn1.RawValue `asn1:"explicit,tag:0,optional"`
	}
	tbsRequest struct {
		Version    int           `asn1:"explicit,tag:0,default:0,optional"`
		Requestor  asn1.RawValue `asn1:"explicit,tag:1,optional"`
		List       []singleRequest
		Extensions []pkix.Extension `asn1:"explicit,tag:2,optional"`
	}
	singleRequest struct {
		CertID     certID
		Extensions []pkix.Extension `asn1:"explicit,tag:0,optional"`
	}
)

// A Question asks about certificates: at least one.
type Question struct {
	Asked []Asked
	// nonce is the extension's value as it came; nil: there is none.
	nonce []byte
}

// HasNonce says that the answer is for this request alone.
func (r *Question) HasNonce() bool { return r.nonce != nil }

// Asked is one certificate that is asked about.
type Asked struct{ id certID }

// Serial is its serial number.
func (a Asked) Serial() *big.Int { return a.id.Serial }

// Of tells whether it is a certificate of this issuer: by name and key, as
// clients hash them.
func (a Asked) Of(issuer *x509.Certificate) bool {
	hash, ok := certIDHashes[a.id.Hash.Algorithm.String()]
	if !ok {
		return false
	}
	key, err := keyOf(issuer)
	return err == nil && bytes.Equal(a.id.NameHash, sum(hash, issuer.RawSubject)) && bytes.Equal(a.id.KeyHash, sum(hash, key))
}

// ParseQuestion reads an OCSPRequest in DER. The error is that it is malformed.
func ParseQuestion(der []byte) (*Question, error) {
	if len(der) > MaxRequest {
		return nil, fmt.Errorf("ocsp: the request has more than %d octets", MaxRequest)
	}
	var outer ocspRequest
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		return nil, errors.New("ocsp: the request isn't an OCSPRequest")
	}
	if outer.TBS.Version != 0 {
		return nil, fmt.Errorf("ocsp: the request has the version %d", outer.TBS.Version)
	}
	if n := len(outer.TBS.List); n == 0 || n > maxSingles {
		return nil, fmt.Errorf("ocsp: the request is about %d certificates; want 1 to %d", n, maxSingles)
	}
	r := new(Question)
	for _, single := range outer.TBS.List {
		if single.CertID.Serial == nil {
			return nil, errors.New("ocsp: the request has a certificate without a serial number")
		}
		if err := r.read(single.Extensions); err != nil {
			return nil, err
		}
		r.Asked = append(r.Asked, Asked{single.CertID})
	}
	r.nonce = nil // one of a single request is none (RFC 9654 section 2.1)
	return r, r.read(outer.TBS.Extensions)
}

// read takes the nonce, and refuses what must be understood and isn't.
func (r *Question) read(extensions []pkix.Extension) error {
	for _, e := range extensions {
		switch {
		case e.Id.Equal(oidNonce):
			var nonce []byte
			rest, err := asn1.Unmarshal(e.Value, &nonce)
			if err != nil || len(rest) > 0 || len(nonce) == 0 || len(nonce) > maxNonce || r.nonce != nil {
				return fmt.Errorf("ocsp: the nonce isn't one of 1 to %d octets", maxNonce)
			}
			r.nonce = e.Value
		case e.Critical:
			return fmt.Errorf("ocsp: the request has the unknown critical extension %s", e.Id)
		}
	}
	return nil
}
