// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

var pkiData = Content{Type: IDPKIData, Bytes: []byte{0x30, 8, 0x30, 0, 0x30, 0, 0x30, 0, 0x30, 0}}

// hardware is a key that only its methods show, as one in a KMS.
type hardware struct{ key crypto.Signer }

func (h hardware) Public() crypto.PublicKey { return h.key.Public() }
func (h hardware) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return h.key.Sign(r, digest, opts)
}

func sign(t testing.TB, c Content, certs []*x509.Certificate, signers ...Signer) []byte {
	t.Helper()
	message, err := Sign(c, certs, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func verify(message []byte, find FindKey) (*Verified, error) {
	s, err := ReadSigned(message)
	if err != nil {
		return nil, err
	}
	return s.Verify(find)
}

func TestWhatWasSignedVerifies(t *testing.T) {
	at := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	want := map[string]string{"RSA": "SHA256-RSA", "P-256": "ECDSA-SHA256", "P-384": "ECDSA-SHA384", "P-521": "ECDSA-SHA512", "Ed25519": "Ed25519"}
	extra := Attribute{Type: IDUnsignedData, Values: [][]byte{{0x30, 0}}}
	for name, key := range signingKeys(t) {
		cert := certify(t, name, key)
		for form, id := range map[string]Identifier{"issuer and serial number": IssuerAndSerial(cert), "key identifier": SubjectKeyID(cert.SubjectKeyId)} {
			t.Run(name+" by "+form, func(t *testing.T) {
				message := sign(t, pkiData, []*x509.Certificate{cert}, Signer{Key: hardware{key}, ID: id, Time: at, Unsigned: []Attribute{extra}})
				v, err := verify(message, FindCertificate())
				if err != nil {
					t.Fatal(err)
				}
				got := v.Signers()
				if v.Content().Type != IDPKIData || !bytes.Equal(v.Content().Bytes, pkiData.Bytes) || len(got) != 1 || len(v.Certificates()) != 1 {
					t.Fatalf("got %+v", v)
				}
				if got[0].Algorithm != want[name] || !got[0].Time.Equal(at) || !got[0].Key.Certificate.Equal(cert) || got[0].ID.String() != id.String() {
					t.Errorf("signer is %+v", got[0])
				}
				if len(v.Unsigned()) != 1 || v.Unsigned()[0].Type != IDUnsignedData || !bytes.Equal(v.Unsigned()[0].Values[0], extra.Values[0]) {
					t.Errorf("unsigned attributes are %v", v.Unsigned())
				}
			})
		}
	}
}

// RFC 5652 section 5.1 for the message, section 5.3 for signers.
func TestVersionsAreThoseOfTheText(t *testing.T) {
	key := rsaKey()
	cert := certify(t, "a", key)
	byName, byKey := Signer{Key: key, ID: IssuerAndSerial(cert)}, Signer{Key: key, ID: SubjectKeyID(cert.SubjectKeyId)}
	for _, c := range []struct {
		name            string
		content         string
		signer          Signer
		message, signed int
	}{
		{"data by issuer and serial number", IDData, byName, 1, 1},
		{"data by key identifier", IDData, byKey, 3, 3},
		{"PKIData by issuer and serial number", IDPKIData, byName, 3, 1},
		{"a key package by key identifier", IDKeyPackage, byKey, 3, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			var info struct {
				Type    asn1.ObjectIdentifier
				Content struct {
					Version          int
					Digests, Content asn1.RawValue
					Certificates     asn1.RawValue           `asn1:"optional,tag:0"`
					Signers          []struct{ Version int } `asn1:"set"`
				} `asn1:"explicit,tag:0"`
			}
			if _, err := asn1.Unmarshal(sign(t, Content{c.content, []byte{5, 0}}, []*x509.Certificate{cert}, c.signer), &info); err != nil {
				t.Fatal(err)
			}
			if info.Content.Version != c.message || info.Content.Signers[0].Version != c.signed {
				t.Errorf("versions are %d and %d", info.Content.Version, info.Content.Signers[0].Version)
			}
		})
	}
}

func TestEverySignerMustVerify(t *testing.T) {
	a, b := rsaKey(), signingKeys(t)["P-256"]
	certA, certB := certify(t, "a", a), certify(t, "b", b)
	signerA, signerB := Signer{Key: a, ID: IssuerAndSerial(certA)}, Signer{Key: b, ID: SubjectKeyID(certB.SubjectKeyId)}
	both := sign(t, pkiData, []*x509.Certificate{certA, certB}, signerA, signerB)
	v, err := verify(both, FindCertificate())
	if err != nil || len(v.Signers()) != 2 {
		t.Fatalf("two good signatures: %v", err)
	}
	forged := sign(t, pkiData, []*x509.Certificate{certA, certB}, signerA, Signer{Key: signingKeys(t)["P-256"], ID: signerB.ID})
	if v, err := verify(forged, FindCertificate()); !errors.Is(err, ErrVerify) || v != nil {
		t.Errorf("one good signature of two: %v", err)
	}
}

// opensslKeys are those that OpenSSL 3.0 knows in CMS: Ed25519 came later.
func opensslKeys(t *testing.T) map[string]crypto.Signer {
	keys := signingKeys(t)
	delete(keys, "Ed25519")
	return keys
}

func TestOpenSSLVerifiesWhatWasSigned(t *testing.T) {
	for name, key := range opensslKeys(t) {
		t.Run(name, func(t *testing.T) {
			cert := certify(t, name, key)
			certFile, _ := opensslFiles(t, cert, key)
			for _, id := range []Identifier{IssuerAndSerial(cert), SubjectKeyID(cert.SubjectKeyId)} {
				message := sign(t, pkiData, []*x509.Certificate{cert}, Signer{Key: key, ID: id, Time: time.Unix(1750000000, 0)})
				got := openssl(t, message, "-verify", "-inform", "DER", "-binary", "-CAfile", certFile, "-purpose", "any", "-no_check_time")
				if !bytes.Equal(got, pkiData.Bytes) {
					t.Errorf("openssl reads %x", got)
				}
			}
		})
	}
}

func TestWhatOpenSSLSignsVerifies(t *testing.T) {
	want := map[string]string{"RSA": "SHA256-RSA", "P-256": "ECDSA-SHA256", "P-384": "ECDSA-SHA256", "P-521": "ECDSA-SHA256"}
	content := bytes.Repeat([]byte("some content that fills more than one piece "), 200)
	for name, key := range opensslKeys(t) {
		cert := certify(t, name, key)
		certFile, keyFile := opensslFiles(t, cert, key)
		forms := map[string][]string{
			"DER":                {"-md", "sha256"},
			"key identifier":     {"-md", "sha256", "-keyid"},
			"BER in pieces":      {"-md", "sha256", "-stream", "-indef"},
			"another type":       {"-md", "sha256", "-econtent_type", IDPKIData},
			"without attributes": {"-md", "sha256", "-noattr"},
		}
		if name == "RSA" {
			forms["PSS"] = []string{"-md", "sha384", "-keyopt", "rsa_padding_mode:pss", "-keyopt", "rsa_pss_saltlen:32"}
		}
		for form, args := range forms {
			t.Run(name+" "+form, func(t *testing.T) {
				args := append([]string{"-sign", "-binary", "-nodetach", "-nosmimecap", "-outform", "DER", "-signer", certFile, "-inkey", keyFile}, args...)
				v, err := verify(openssl(t, content, args...), FindCertificate())
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(v.Content().Bytes, content) {
					t.Errorf("content has %d bytes", len(v.Content().Bytes))
				}
				if got := v.Signers()[0].Algorithm; form != "PSS" && got != want[name] || form == "PSS" && got != "SHA384-RSAPSS" {
					t.Errorf("algorithm is %s", got)
				}
			})
		}
	}
}

func TestSHA1IsRefused(t *testing.T) {
	cert := certify(t, "a", rsaKey())
	certFile, keyFile := opensslFiles(t, cert, rsaKey())
	message := openssl(t, []byte("content"), "-sign", "-binary", "-nodetach", "-outform", "DER", "-md", "sha1", "-signer", certFile, "-inkey", keyFile)
	if _, err := verify(message, FindCertificate()); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("got %v", err)
	}
}

func TestTheFinderSeesWhatMayHoldTheKey(t *testing.T) {
	key := rsaKey()
	id := SubjectKeyID([]byte("new key"))
	message := sign(t, pkiData, nil, Signer{Key: key, ID: id})
	v, err := verify(message, func(u Unverified) (SignerKey, error) {
		if u.Signer.String() != id.String() || u.Content.Type != IDPKIData || !bytes.Equal(u.Content.Bytes, pkiData.Bytes) || len(u.Certificates) > 0 {
			t.Errorf("finder gets %+v", u)
		}
		return SignerKey{Public: key.Public()}, nil
	})
	if err != nil || v.Signers()[0].Key.Certificate != nil {
		t.Errorf("got %v", err)
	}
	nobody := errors.New("nobody")
	if _, err := verify(message, func(Unverified) (SignerKey, error) { return SignerKey{}, nobody }); !errors.Is(err, nobody) {
		t.Errorf("the finder's error is lost: %v", err)
	}
	if _, err := verify(message, func(Unverified) (SignerKey, error) { return SignerKey{}, nil }); !errors.Is(err, ErrAlgorithm) {
		t.Errorf("a finder that finds no key: %v", err)
	}
	if _, err := verify(message, FindCertificate(certify(t, "a", key))); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("no certificate of the signer: %v", err)
	}
}

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

// What a message costs grows as it does: with the content, and with what
// stands beside it.
func BenchmarkReadSigned(b *testing.B) {
	key := rsaKey()
	cert := certify(b, "a", key)
	for _, size := range []int{1 << 10, 4 << 10, 16 << 10, 60 << 10} {
		signer := Signer{Key: key, ID: IssuerAndSerial(cert)}
		nest := Attribute{IDUnsignedData, [][]byte{seq(bytes.Repeat(seq(seq(seq([]byte{5, 0}))), min(size/8, 1900)))}}
		for name, message := range map[string][]byte{
			"content":    sign(b, Content{IDPKIData, make([]byte, size)}, nil, signer),
			"attributes": sign(b, pkiData, nil, Signer{Key: key, ID: signer.ID, Unsigned: []Attribute{nest}}),
		} {
			b.Run(fmt.Sprintf("%s/%d", name, len(message)), func(b *testing.B) {
				b.SetBytes(int64(len(message)))
				for b.Loop() {
					if _, err := ReadSigned(message); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func FuzzReadSigned(f *testing.F) {
	key := rsaKey()
	cert := certify(f, "a", key)
	f.Add(sign(f, pkiData, []*x509.Certificate{cert}, Signer{Key: key, ID: IssuerAndSerial(cert)}))
	f.Fuzz(func(t *testing.T, message []byte) {
		s, err := ReadSigned(message)
		if err != nil {
			return
		}
		v, err := s.Verify(FindCertificate())
		if err == nil && (len(v.Signers()) == 0 || len(v.Signers()) != len(s.Signers())) {
			t.Error("verified with nobody's signature")
		}
	})
}
