// SPDX-License-Identifier: Apache-2.0

// Package csrtest builds certification requests for tests, odd and broken
// ones too: names that crypto/x509 can't write, extensions sent twice,
// signatures that don't verify.
//
//	der := csrtest.New(t,
//		csrtest.Subject(csrtest.CN("rtr-1.example")),
//		csrtest.SAN(csrtest.DNS("rtr-1.example"), csrtest.OtherName("1.2.3", csrtest.UTF8("x"))),
//		csrtest.Attribute("1.2.840.113549.1.9.7", csrtest.UTF8("linking value")))
package csrtest

import (
	"crypto"
	"crypto/x509"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// OIDs that New itself writes.
const (
	ExtensionRequest  = "1.2.840.113549.1.9.14"
	ChallengePassword = "1.2.840.113549.1.9.7"
	SubjectAltName    = "2.5.29.17"
)

// An Option changes the request that New makes.
type Option func(*request)

type request struct {
	version    int64
	subject    []byte
	spki       []byte
	signer     crypto.Signer
	algorithm  x509.SignatureAlgorithm
	extensions [][]byte
	attributes [][]byte
	corrupt    bool
}

// New makes a CertificationRequest (RFC 2986) in DER. Without options it has
// the subject CN=device.example, no attributes, and the shared P-256 key.
func New(t testing.TB, opts ...Option) []byte {
	t.Helper()
	r := &request{subject: Name(CN("device.example"))}
	for _, opt := range opts {
		opt(r)
	}
	if r.signer == nil {
		r.signer = Key(t, "P-256")
	}
	if r.spki == nil {
		var err error
		if r.spki, err = x509.MarshalPKIXPublicKey(r.signer.Public()); err != nil {
			t.Fatalf("csrtest: %v", err)
		}
	}
	attributes := r.attributes
	if len(r.extensions) > 0 {
		request := SET(SEQ(OID(ExtensionRequest), SET(SEQ(r.extensions...))))
		attributes = append([][]byte{content(request)}, attributes...)
	}
	info := SEQ(INTEGER(r.version), r.subject, r.spki, TLV(asn1.Tag(0).ContextSpecific().Constructed(), attributes...))
	algorithm, signature := sign(t, r.signer, r.algorithm, info)
	if r.corrupt {
		signature = slices.Clone(signature)
		signature[len(signature)-1] ^= 1
	}
	return SEQ(info, algorithm, TLV(asn1.BIT_STRING, []byte{0}, signature))
}

// Subject sets the subject from RDNs, as made by RDN or CN. Without
// arguments the subject is empty.
func Subject(rdns ...[]byte) Option {
	return func(r *request) { r.subject = Name(rdns...) }
}

// SAN adds a subjectAltName extension with these GeneralNames. Used twice it
// adds two of them.
func SAN(names ...[]byte) Option {
	return Extension(SubjectAltName, false, SEQ(names...))
}

// Extension adds one extension to the extensionRequest. The value is the
// content of extnValue.
func Extension(oid string, critical bool, value []byte) Option {
	parts := [][]byte{OID(oid)}
	if critical {
		parts = append(parts, []byte{1, 1, 0xff})
	}
	parts = append(parts, TLV(asn1.OCTET_STRING, value))
	return func(r *request) { r.extensions = append(r.extensions, SEQ(parts...)) }
}

// Attribute adds an attribute with these values, each in DER.
func Attribute(oid string, values ...[]byte) Option {
	return RawAttribute(SEQ(OID(oid), SET(values...)))
}

// RawAttribute adds bytes where an attribute should stand.
func RawAttribute(der []byte) Option {
	return func(r *request) { r.attributes = append(r.attributes, der) }
}

// Version sets the version; 0 is v1.
func Version(n int64) Option { return func(r *request) { r.version = n } }

// Signer sets the key, and the public key with it.
func Signer(key crypto.Signer) Option { return func(r *request) { r.signer = key } }

// Signature sets the signature algorithm. The default fits the key, with
// SHA-256 for RSA.
func Signature(a x509.SignatureAlgorithm) Option { return func(r *request) { r.algorithm = a } }

// SPKI sets the SubjectPublicKeyInfo alone; the signature stays that of the
// signer.
func SPKI(der []byte) Option { return func(r *request) { r.spki = der } }

// BadSignature flips a bit of the signature.
func BadSignature() Option { return func(r *request) { r.corrupt = true } }

func content(der []byte) []byte {
	var inner, rest cryptobyte.String = nil, der
	if !rest.ReadAnyASN1(&inner, nil) {
		return nil
	}
	return inner
}
