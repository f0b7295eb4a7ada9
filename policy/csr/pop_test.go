// SPDX-License-Identifier: Apache-2.0

package csr_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"

	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

func TestCheckPOPAcceptsEveryGoodScheme(t *testing.T) {
	tests := map[string]struct {
		key       string
		algorithm x509.SignatureAlgorithm
	}{
		"RSA with SHA-256":     {"rsa2048", x509.SHA256WithRSA},
		"RSA with SHA-384":     {"rsa2048", x509.SHA384WithRSA},
		"RSA with SHA-512":     {"rsa2048", x509.SHA512WithRSA},
		"RSA-PSS with SHA-256": {"rsa2048", x509.SHA256WithRSAPSS},
		"RSA-PSS with SHA-384": {"rsa2048", x509.SHA384WithRSAPSS},
		"RSA-PSS with SHA-512": {"rsa2048", x509.SHA512WithRSAPSS},
		"P-256 with SHA-256":   {"P-256", x509.ECDSAWithSHA256},
		"P-256 with SHA-512":   {"P-256", x509.ECDSAWithSHA512},
		"P-384 with SHA-384":   {"P-384", x509.ECDSAWithSHA384},
		"P-521 with SHA-512":   {"P-521", x509.ECDSAWithSHA512},
		"Ed25519":              {"ed25519", x509.PureEd25519},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			opts := []Option{Signer(Key(t, test.key)), Signature(test.algorithm)}
			r := parse(t, New(t, opts...))
			if err := r.CheckPOP(); err != nil {
				t.Error(err)
			}
			if got := r.SignatureName(); got != test.algorithm.String() {
				t.Errorf("SignatureName is %s, want %s", got, test.algorithm)
			}
			wantPOPError(t, New(t, append(opts, BadSignature())...), "the signature does not verify with the key in the request")
			other, err := x509.MarshalPKIXPublicKey(Key(t, test.key+"/other").Public())
			if err != nil {
				t.Fatal(err)
			}
			wantPOPError(t, New(t, append(opts, SPKI(other))...), "the signature does not verify with the key in the request")
		})
	}
}

func wantPOPError(t *testing.T, der []byte, want string) {
	t.Helper()
	if err := parse(t, der).CheckPOP(); err == nil || err.Error() != want {
		t.Errorf("error is %v, want %s", err, want)
	}
}

func TestCheckPOPRefuses(t *testing.T) {
	const advice = " is not accepted: sign with SHA-256, SHA-384 or SHA-512, or with Ed25519"
	rsaKey, ecKey := Signer(Key(t, "rsa2048")), Signer(Key(t, "P-256"))
	spki := func(kind string) Option {
		der, err := x509.MarshalPKIXPublicKey(Key(t, kind).Public())
		if err != nil {
			t.Fatal(err)
		}
		return SPKI(der)
	}
	tests := map[string]struct {
		opts []Option
		want string
	}{
		"RSA with SHA-1":           {[]Option{rsaKey, Signature(x509.SHA1WithRSA)}, "signature algorithm SHA1-RSA" + advice},
		"RSA with MD5":             {[]Option{rsaKey, Signature(x509.MD5WithRSA)}, "signature algorithm MD5-RSA" + advice},
		"ECDSA with SHA-1":         {[]Option{ecKey, Signature(x509.ECDSAWithSHA1)}, "signature algorithm ECDSA-SHA1" + advice},
		"an RSA key of 512 bits":   {[]Option{rsaKey, SPKI(rsaSPKI(512, 65537))}, "RSA key of 512 bits is not accepted: it must have 1024 to 16384"},
		"an RSA key of 20000 bits": {[]Option{rsaKey, SPKI(rsaSPKI(20000, 65537))}, "RSA key of 20000 bits is not accepted: it must have 1024 to 16384"},
		"an exponent of 2^33":      {[]Option{rsaKey, SPKI(rsaSPKI(2048, 1<<33))}, "the key in the request cannot verify a signature"},
		"an exponent of 1":         {[]Option{rsaKey, SPKI(rsaSPKI(2048, 1))}, "the signature does not verify with the key in the request"},
		"another kind of key":      {[]Option{ecKey, spki("rsa2048")}, "signature algorithm ECDSA-SHA256 does not belong to the key in the request"},
		"a key that is unknown":    {[]Option{ecKey, spki("P-224")}, "signature algorithm ECDSA-SHA256 does not belong to the key in the request"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { wantPOPError(t, New(t, test.opts...), test.want) })
	}
}

// RFC 7030 section 4.2.1: a key that is certified for enciphering alone still
// signs its own request.
func TestCheckPOPIsTheSameForAKeyThatAsksForNoSignature(t *testing.T) {
	for name, usage := range map[string]x509.KeyUsage{
		"rsa2048": x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment, "P-256": x509.KeyUsageKeyAgreement,
	} {
		value, err := csr.MarshalKeyUsage(usage)
		if err != nil {
			t.Fatal(err)
		}
		opts := []Option{Signer(Key(t, name)), Extension(csr.OIDKeyUsage, true, value)}
		r := parse(t, New(t, opts...))
		if got, _, err := r.RequestedKeyUsage(); got != usage || err != nil {
			t.Errorf("%s: the request asks for %b: %v", name, got, err)
		}
		if err := r.CheckPOP(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		wantPOPError(t, New(t, append(opts, BadSignature())...), "the signature does not verify with the key in the request")
	}
}

func TestCheckPOPOfTheZeroValueRefuses(t *testing.T) {
	if new(csr.Request).CheckPOP() == nil {
		t.Error("it proves possession")
	}
	if (&csr.Request{SignatureOID: oid(t, "1.3.101.112"), Key: csr.Key{Algorithm: csr.Ed25519}}).CheckPOP() == nil {
		t.Error("a key without a public key proves possession")
	}
}

// resigned makes a request with an AlgorithmIdentifier of the test's choice
// over the same CertificationRequestInfo.
func resigned(t *testing.T, key crypto.Signer, algorithm []byte, opts crypto.SignerOpts) []byte {
	t.Helper()
	r := parse(t, New(t, Signer(key)))
	message := r.RawInfo
	if h := opts.HashFunc(); h != 0 {
		hash := h.New()
		hash.Write(message)
		message = hash.Sum(nil)
	}
	signature, err := key.Sign(rand.Reader, message, opts)
	if err != nil {
		t.Fatal(err)
	}
	return SEQ(r.RawInfo, algorithm, TLV(asn1.BIT_STRING, []byte{0}, signature))
}

func TestParametersOfTheSignatureAlgorithm(t *testing.T) {
	null := []byte{5, 0}
	rsaKey, ecKey, edKey := Key(t, "rsa2048"), Key(t, "P-256"), Key(t, "ed25519")
	tests := map[string]struct {
		key       crypto.Signer
		algorithm []byte
		hash      crypto.Hash
		want      string
	}{
		"RSA without parameters": {rsaKey, SEQ(OID("1.2.840.113549.1.1.11")), crypto.SHA256, ""},
		"RSA with an INTEGER":    {rsaKey, SEQ(OID("1.2.840.113549.1.1.11"), INTEGER(1)), crypto.SHA256, "signature algorithm SHA256-RSA has parameters that are not NULL"},
		"ECDSA with NULL":        {ecKey, SEQ(OID("1.2.840.10045.4.3.2"), null), crypto.SHA256, "signature algorithm ECDSA-SHA256 has parameters"},
		"Ed25519 with NULL":      {edKey, SEQ(OID("1.3.101.112"), null), 0, "signature algorithm Ed25519 has parameters"},
		"an unknown algorithm":   {ecKey, SEQ(OID("1.2.3")), crypto.SHA256, "signature algorithm 1.2.3 is not accepted: sign with SHA-256, SHA-384 or SHA-512, or with Ed25519"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			der := resigned(t, test.key, test.algorithm, test.hash)
			if test.want != "" {
				wantPOPError(t, der, test.want)
			} else if err := parse(t, der).CheckPOP(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestParametersOfPSS(t *testing.T) {
	const refusal = "signature algorithm RSASSA-PSS is not accepted: "
	explicit := func(n uint8, der []byte) []byte {
		return TLV(asn1.Tag(n).ContextSpecific().Constructed(), der)
	}
	sha256 := SEQ(OID("2.16.840.1.101.3.4.2.1"))
	sha384 := SEQ(OID("2.16.840.1.101.3.4.2.2"))
	mgf1 := func(hash []byte) []byte { return explicit(1, SEQ(OID("1.2.840.113549.1.1.8"), hash)) }
	hash, mask, salt := explicit(0, sha256), mgf1(sha256), explicit(2, INTEGER(32))
	tests := map[string]struct {
		params []byte
		want   string
	}{
		"hashes without NULL":      {SEQ(hash, mask, salt), ""},
		"a written trailer":        {SEQ(hash, mask, salt, explicit(3, INTEGER(1))), ""},
		"another trailer":          {SEQ(hash, mask, salt, explicit(3, INTEGER(2))), "its parameters are malformed"},
		"no parameters":            {nil, "its parameters are malformed"},
		"all defaults":             {SEQ(), "its hash is SHA-1"},
		"the default mask":         {SEQ(hash, salt), "its hash is SHA-1"},
		"another mask":             {SEQ(hash, explicit(1, SEQ(OID("1.2.3"))), salt), "its mask generation function is not MGF1"},
		"two hashes":               {SEQ(hash, mgf1(sha384), salt), "hash and mask generation use different hashes"},
		"SHA-1 by name":            {SEQ(explicit(0, SEQ(OID("1.3.14.3.2.26"))), mask, salt), "its hash is 1.3.14.3.2.26, not SHA-256, SHA-384 or SHA-512"},
		"a mask of nothing":        {SEQ(hash, explicit(1, SEQ(OID("1.2.840.113549.1.1.8"))), salt), "its hash is malformed"},
		"a hash with parameters":   {SEQ(explicit(0, SEQ(OID("2.16.840.1.101.3.4.2.1"), INTEGER(1))), mask, salt), "its hash is malformed"},
		"no salt":                  {SEQ(hash, mask, explicit(2, INTEGER(0))), "its salt has 0 bytes"},
		"a negative salt":          {SEQ(hash, mask, explicit(2, INTEGER(-1))), "its salt has -1 bytes"},
		"a salt of a thousand":     {SEQ(hash, mask, explicit(2, INTEGER(1000))), "its salt has 1000 bytes"},
		"fields in a wrong order":  {SEQ(mask, hash, salt), "its parameters are malformed"},
		"bytes after the SEQUENCE": {SEQ(hash, mask, salt, INTEGER(1)), "its parameters are malformed"},
	}
	opts := &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			der := resigned(t, Key(t, "rsa2048"), SEQ(OID("1.2.840.113549.1.1.10"), test.params), opts)
			if test.want != "" {
				wantPOPError(t, der, refusal+test.want)
			} else if err := parse(t, der).CheckPOP(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("a salt of another length than said", func(t *testing.T) {
		params := SEQ(hash, mask, explicit(2, INTEGER(33)))
		der := resigned(t, Key(t, "rsa2048"), SEQ(OID("1.2.840.113549.1.1.10"), params), opts)
		wantPOPError(t, der, "the signature does not verify with the key in the request")
	})
}

// rsaSPKI has a modulus of that many one bits, which nobody can sign with.
func rsaSPKI(bits int, exponent int64) []byte {
	modulus := append([]byte{0}, bytes.Repeat([]byte{0xff}, bits/8)...)
	return rsaKeyInfo([]byte{5, 0}, SEQ(TLV(asn1.INTEGER, modulus), INTEGER(exponent)))
}

func rsaKeyInfo(params, key []byte) []byte {
	return SEQ(SEQ(OID("1.2.840.113549.1.1.1"), params), BITS(0, key...))
}
