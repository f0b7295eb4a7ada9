// SPDX-License-Identifier: Apache-2.0

package csrtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	_ "crypto/md5" // so that a request can be signed with what must be refused
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"
)

// keys has the keys that Key has made in this process: an RSA key takes too
// long to make for each test.
var keys sync.Map

// Key gives the process's shared key of a kind: "P-224", "P-256", "P-384",
// "P-521", "ed25519", or "rsa" with a number of bits, such as "rsa2048". A
// name after a slash makes it another key of that kind: "P-256/second".
func Key(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	if k, ok := keys.Load(kind); ok {
		return k.(crypto.Signer)
	}
	k, _ := keys.LoadOrStore(kind, NewKey(t, kind))
	return k.(crypto.Signer)
}

// NewKey makes a fresh key of a kind, as Key names them.
func NewKey(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	base, _, _ := strings.Cut(kind, "/")
	key, err := generate(base)
	if err != nil {
		t.Fatalf("csrtest: key %q: %v", kind, err)
	}
	return key
}

func generate(kind string) (crypto.Signer, error) {
	curves := map[string]elliptic.Curve{
		"P-224": elliptic.P224(), "P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521(),
	}
	if curve, ok := curves[kind]; ok {
		return ecdsa.GenerateKey(curve, rand.Reader)
	}
	if kind == "ed25519" {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	bits, err := strconv.Atoi(strings.TrimPrefix(kind, "rsa"))
	if err != nil {
		return nil, err
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

type scheme struct {
	oid    string
	hash   crypto.Hash
	params []byte // of the AlgorithmIdentifier; nil is absent
	pss    bool
}

var null = []byte{5, 0}

var schemes = map[x509.SignatureAlgorithm]scheme{
	x509.MD5WithRSA:       {oid: "1.2.840.113549.1.1.4", hash: crypto.MD5, params: null},
	x509.SHA1WithRSA:      {oid: "1.2.840.113549.1.1.5", hash: crypto.SHA1, params: null},
	x509.SHA256WithRSA:    {oid: "1.2.840.113549.1.1.11", hash: crypto.SHA256, params: null},
	x509.SHA384WithRSA:    {oid: "1.2.840.113549.1.1.12", hash: crypto.SHA384, params: null},
	x509.SHA512WithRSA:    {oid: "1.2.840.113549.1.1.13", hash: crypto.SHA512, params: null},
	x509.SHA256WithRSAPSS: {oid: "1.2.840.113549.1.1.10", hash: crypto.SHA256, pss: true},
	x509.SHA384WithRSAPSS: {oid: "1.2.840.113549.1.1.10", hash: crypto.SHA384, pss: true},
	x509.SHA512WithRSAPSS: {oid: "1.2.840.113549.1.1.10", hash: crypto.SHA512, pss: true},
	x509.ECDSAWithSHA1:    {oid: "1.2.840.10045.4.1", hash: crypto.SHA1},
	x509.ECDSAWithSHA256:  {oid: "1.2.840.10045.4.3.2", hash: crypto.SHA256},
	x509.ECDSAWithSHA384:  {oid: "1.2.840.10045.4.3.3", hash: crypto.SHA384},
	x509.ECDSAWithSHA512:  {oid: "1.2.840.10045.4.3.4", hash: crypto.SHA512},
	x509.PureEd25519:      {oid: "1.3.101.112"},
}

// sign gives the AlgorithmIdentifier and the signature over info.
func sign(t testing.TB, key crypto.Signer, a x509.SignatureAlgorithm, info []byte) (algorithm, signature []byte) {
	t.Helper()
	if a == x509.UnknownSignatureAlgorithm {
		a = fitting(key)
	}
	s, ok := schemes[a]
	if !ok {
		t.Fatalf("csrtest: no signature algorithm %v", a)
	}
	digest, opts := info, crypto.SignerOpts(s.hash)
	if s.hash != 0 {
		h := s.hash.New()
		h.Write(info)
		digest = h.Sum(nil)
	}
	if s.pss {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: s.hash}
		s.params = PSSParams(s.hash, s.hash.Size())
	}
	signature, err := key.Sign(rand.Reader, digest, opts)
	if err != nil {
		t.Fatalf("csrtest: sign: %v", err)
	}
	return SEQ(OID(s.oid), s.params), signature
}

func fitting(key crypto.Signer) x509.SignatureAlgorithm {
	switch k := key.Public().(type) {
	case *rsa.PublicKey:
		return x509.SHA256WithRSA
	case ed25519.PublicKey:
		return x509.PureEd25519
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P384():
			return x509.ECDSAWithSHA384
		case elliptic.P521():
			return x509.ECDSAWithSHA512
		default:
			return x509.ECDSAWithSHA256
		}
	default:
		return x509.UnknownSignatureAlgorithm
	}
}

// PSSParams is RSASSA-PSS-params (RFC 4055 section 3.1) with MGF1 over the
// same hash. A hash that isn't SHA-2 gives nil.
func PSSParams(hash crypto.Hash, salt int) []byte {
	oid, ok := map[crypto.Hash]string{
		crypto.SHA256: "2.16.840.1.101.3.4.2.1",
		crypto.SHA384: "2.16.840.1.101.3.4.2.2",
		crypto.SHA512: "2.16.840.1.101.3.4.2.3",
	}[hash]
	if !ok {
		return nil
	}
	digest := SEQ(OID(oid), null)
	explicit := func(n uint8, der []byte) []byte {
		return TLV(asn1.Tag(n).ContextSpecific().Constructed(), der)
	}
	return SEQ(explicit(0, digest),
		explicit(1, SEQ(OID("1.2.840.113549.1.1.8"), digest)),
		explicit(2, INTEGER(int64(salt))))
}
