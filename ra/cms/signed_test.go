// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
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
