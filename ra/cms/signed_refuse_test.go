// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
)

// rebuild makes a SignedData with one signer by hand, to be wrong in one place.
type rebuild struct {
	kind       string // eContentType
	content    []byte
	attributes []Attribute
	unordered  bool
	bare       bool
	digest     string
	signature  algorithm
	signers    int
	unsigned   []Attribute
	change     func([]byte) []byte // of the signature
}

func (r rebuild) message(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	var attributes []byte
	for _, a := range r.attributes {
		one, err := marshalAttributes([]Attribute{a})
		if err != nil {
			t.Fatal(err)
		}
		attributes = append(attributes, one...)
	}
	if !r.unordered {
		ordered, err := marshalAttributes(r.attributes)
		if err != nil {
			t.Fatal(err)
		}
		attributes = ordered
	}
	signed, field := asSet(attributes), tlv(2, 0, true, attributes)
	if r.bare {
		signed, field = r.content, nil
	}
	value, err := ecdsa.SignASN1(rand.Reader, key, digest(crypto.SHA256, signed))
	if err != nil {
		t.Fatal(err)
	}
	if r.change != nil {
		value = r.change(value)
	}
	var unsigned []byte
	for _, a := range r.unsigned {
		one, _ := marshalAttributes([]Attribute{a})
		unsigned = append(unsigned, one...)
	}
	if len(unsigned) > 0 {
		unsigned = tlv(2, 1, true, unsigned)
	}
	dotted := func(s string) []byte { return oid(parseOID(t, s)) }
	info := seq([]byte{2, 1, 3}, tlv(2, 0, false, []byte("id of a")), seq(dotted(r.digest)), field,
		seq(dotted(r.signature.oid), r.signature.params), tlv(0, 4, false, value), unsigned)
	content := seq(dotted(r.kind), tlv(2, 0, true, tlv(0, 4, false, r.content)))
	sd := seq([]byte{2, 1, 3}, set(), content, set(bytes.Repeat(info, r.signers)))
	return seq(oid(oidSignedData), tlv(2, 0, true, sd))
}

func TestVerifyRefuses(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := certify(t, "a", key)
	kind := Attribute{idContentType, [][]byte{oid(parseOID(t, IDPKIData))}}
	sum := Attribute{idMessageDigest, [][]byte{octetString(digest(crypto.SHA256, pkiData.Bytes))}}
	at := Attribute{idSigningTime, [][]byte{tlv(0, 23, false, []byte("261125120000Z"))}}
	other := Attribute{IDUnsignedData, [][]byte{{5, 0}}}
	good := rebuild{
		kind: IDPKIData, content: pkiData.Bytes, attributes: []Attribute{kind, at, sum},
		digest: idSHA256, signature: algorithm{oid: "1.2.840.10045.4.3.2"}, signers: 1,
	}
	if _, err := verify(good.message(t, key), FindCertificate(cert)); err != nil {
		t.Fatal("the builder of this test is wrong: ", err)
	}
	attributes := func(list ...Attribute) func(*rebuild) { return func(r *rebuild) { r.attributes = list } }
	cases := []struct {
		name   string
		change func(*rebuild)
		is     error // or nil: malformed
		says   string
	}{
		{"another content", func(r *rebuild) { r.content = []byte{0x30, 0} }, ErrVerify, "message digest"},
		{"another content type", func(r *rebuild) { r.kind = IDPKIResponse }, ErrVerify, "content-type"},
		{"a wrong signature", func(r *rebuild) { r.change = func(b []byte) []byte { b[len(b)-1] ^= 1; return b } }, ErrVerify, "signature"},
		{"an empty signature", func(r *rebuild) { r.change = func([]byte) []byte { return nil } }, ErrVerify, "signature"},
		{"no signer", func(r *rebuild) { r.signers = 0 }, ErrVerify, "nobody"},
		{"nine signers", func(r *rebuild) { r.signers = 9 }, nil, "more than 8"},
		{"no signed attributes", func(r *rebuild) { r.bare = true }, nil, "needs signed attributes"},
		{"empty signed attributes", attributes(), nil, "empty"},
		{"no content-type", attributes(at, sum), nil, "content-type attribute is missing"},
		{"no message-digest", attributes(kind, at), nil, "message-digest attribute is missing"},
		{"message-digest twice", attributes(kind, sum, sum), nil, "twice"},
		{"another attribute twice", attributes(kind, sum, other, other), nil, "twice"},
		{"two content types", attributes(Attribute{idContentType, [][]byte{kind.Values[0], kind.Values[0]}}, sum), nil, "2 values"},
		{"no digest in message-digest", attributes(kind, Attribute{idMessageDigest, nil}), nil, "0 values"},
		{"message-digest of another type", attributes(kind, Attribute{idMessageDigest, [][]byte{{5, 0}}}), nil, "malformed"},
		{"content-type of another type", attributes(Attribute{idContentType, [][]byte{{5, 0}}}, sum), nil, "malformed"},
		{"signing-time of another type", attributes(kind, sum, Attribute{idSigningTime, [][]byte{{5, 0}}}), nil, "signing-time"},
		{"attributes in another order", func(r *rebuild) { r.unordered, r.attributes = true, []Attribute{sum, at, kind} }, nil, "order"},
		{"unsigned attributes twice", func(r *rebuild) { r.unsigned = []Attribute{other, other} }, nil, "twice"},
		{"digest SHA-1", func(r *rebuild) { r.digest = "1.3.14.3.2.26" }, ErrAlgorithm, "1.3.14.3.2.26"},
		{"signature with SHA-1", func(r *rebuild) { r.signature.oid = "1.2.840.10045.4.1" }, ErrAlgorithm, "ECDSA-SHA1"},
		{"digest and signature with different hashes", func(r *rebuild) { r.signature.oid = "1.2.840.10045.4.3.3" }, ErrAlgorithm, "another digest"},
		{"Ed25519 with SHA-256", func(r *rebuild) { r.signature.oid = idEd25519 }, ErrAlgorithm, "another digest"},
		{"RSA by an ECDSA key", func(r *rebuild) { r.signature.oid = idRSAEncryption }, ErrAlgorithm, "does not belong"},
		{"parameters of ECDSA", func(r *rebuild) { r.signature.params = asn1NULL }, ErrAlgorithm, "parameters"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bad := good
			c.change(&bad)
			v, err := verify(bad.message(t, key), FindCertificate(cert))
			if err == nil || v != nil {
				t.Fatal("it verifies")
			}
			for _, kind := range []error{ErrVerify, ErrAlgorithm} {
				if errors.Is(err, kind) != errors.Is(c.is, kind) {
					t.Errorf("error %q, want kind %v", err, c.is)
				}
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
}

// The signature over signed attributes is one over bytes: shown as a content
// without attributes, they would be taken as signed.
func TestSignedAttributesAreNoContent(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r := rebuild{
		kind: IDData, bare: true, digest: idSHA256, signature: algorithm{oid: "1.2.840.10045.4.3.2"}, signers: 1,
		content: asSet(seq(oid(parseOID(t, idContentType)), set(oid(oidData)))),
	}
	if _, err := verify(r.message(t, key), FindCertificate(certify(t, "a", key))); !errors.Is(err, ErrVerify) {
		t.Errorf("got %v", err)
	}
	r.content = []byte("a text")
	if _, err := verify(r.message(t, key), FindCertificate(certify(t, "a", key))); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestSignRefuses(t *testing.T) {
	key := signingKeys(t)
	id := SubjectKeyID([]byte{1})
	for name, signer := range map[string]Signer{
		"no key":               {ID: id},
		"SHA-1":                {Key: key["RSA"], ID: id, Hash: crypto.SHA1},
		"Ed25519 with SHA-256": {Key: key["Ed25519"], ID: id, Hash: crypto.SHA256},
		"no identifier":        {Key: key["RSA"]},
		"both identifiers":     {Key: key["RSA"], ID: Identifier{Issuer: []byte{0x30, 0}, Serial: certificate(t, "a").SerialNumber, KeyID: []byte{1}}},
	} {
		if _, err := Sign(pkiData, nil, signer); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := Sign(pkiData, nil); err == nil {
		t.Error("nobody: signed")
	}
	if _, err := Sign(Content{Type: "data"}, nil, Signer{Key: key["RSA"], ID: id}); err == nil {
		t.Error("a type that is no OID: signed")
	}
}

func TestManySignersAndCertificatesAreRefusedEarly(t *testing.T) {
	for name, message := range map[string][]byte{
		"10,000 signers":               signedWith(nil, bytes.Repeat([]byte{0x30, 0}, 10000)),
		"8,000 signers":                signedWith(nil, bytes.Repeat([]byte{0x30, 0}, 8000)),
		"8,000 attribute certificates": signedWith(tlv(2, 0, true, bytes.Repeat([]byte{0xa2, 0}, 8000)), nil),
	} {
		allocs := testing.AllocsPerRun(2, func() {
			if _, err := ReadSigned(message); err == nil {
				t.Errorf("%s: read", name)
			}
		})
		if allocs > 100 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func signedWith(certificates, signers []byte) []byte {
	content := seq(oid(oidData), tlv(2, 0, true, []byte{4, 1, 0}))
	return seq(oid(oidSignedData), tlv(2, 0, true, seq([]byte{2, 1, 1}, set(), content, certificates, set(signers))))
}
