// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// certificate makes a self-signed certificate.
func certificate(t testing.TB, cn string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(cn))),
		Subject:      pkix.Name{CommonName: cn},
		NotBefore:    time.Unix(1700000000, 0),
		NotAfter:     time.Unix(1900000000, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func certsOnly(t testing.TB, certs ...*x509.Certificate) []byte {
	t.Helper()
	der, err := CertsOnly(certs...)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestCertsOnlyComesBack(t *testing.T) {
	a, b, c := certificate(t, "a"), certificate(t, "bb"), certificate(t, "ccc")
	for name, certs := range map[string][]*x509.Certificate{"one": {a}, "three": {a, b, c}, "three in another order": {c, a, b}} {
		got, err := ParseCertsOnly(certsOnly(t, certs...))
		if err != nil || len(got) != len(certs) {
			t.Fatalf("%s: %d certificates, %v", name, len(got), err)
		}
		for _, want := range certs {
			if !slices.ContainsFunc(got, want.Equal) {
				t.Errorf("%s: %s is lost", name, want.Subject)
			}
		}
	}
	if !bytes.Equal(certsOnly(t, a, b, c), certsOnly(t, c, b, a, b)) {
		t.Error("order or repetition of the certificates changes the message")
	}
}

// The degenerate SignedData of RFC 5652 section 5.1 as RFC 5272 section 4.1
// wants it, read by eye from the bytes around the certificate.
func TestCertsOnlyIsADegenerateSignedData(t *testing.T) {
	c := certificate(t, "device")
	der := certsOnly(t, c)
	before, after, ok := bytes.Cut(der, c.Raw)
	if !ok {
		t.Fatal("the certificate is not in the message as it is")
	}
	const (
		signedData = "06092a864886f70d010702" // id-signedData
		version    = "020101"                 // version 1: no signer, content type data
		digests    = "3100"                   // digestAlgorithms: empty SET
		content    = "300b06092a864886f70d010701"
		noCRLs     = "a100" // crls: empty SET
		noSigners  = "3100" // signerInfos: empty SET
	)
	head := hex.EncodeToString(before)
	if !strings.Contains(head, signedData) || !strings.Contains(head, version+digests+content+"a0") {
		t.Errorf("message begins %s", head)
	}
	if tail := hex.EncodeToString(after); tail != noCRLs+noSigners {
		t.Errorf("message ends %s", tail)
	}
}

func TestCertsOnlyIsReadByOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("openssl is needed for this test: ", err)
	}
	cmd := exec.CommandContext(t.Context(), openssl, "pkcs7", "-inform", "DER", "-print_certs")
	cmd.Stdin = bytes.NewReader(certsOnly(t, certificate(t, "first.example"), certificate(t, "second.example.net")))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"first.example", "second.example.net"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%s is not in openssl's output", want)
		}
	}
	if n := strings.Count(string(out), "-----BEGIN CERTIFICATE-----"); n != 2 {
		t.Errorf("openssl sees %d certificates", n)
	}
}

func TestCertsOnlyRefusesNothing(t *testing.T) {
	for name, certs := range map[string][]*x509.Certificate{
		"no certificate":                nil,
		"a nil certificate":             {certificate(t, "a"), nil},
		"a certificate without content": {{}},
	} {
		if der, err := CertsOnly(certs...); err == nil {
			t.Errorf("%s: encoded as %d bytes", name, len(der))
		}
	}
}

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
)

// tlv encodes an element.
func tlv(class, tag int, constructed bool, parts ...[]byte) []byte {
	der, _ := asn1.Marshal(asn1.RawValue{Class: class, Tag: tag, IsCompound: constructed, Bytes: bytes.Join(parts, nil)})
	return der
}

func seq(parts ...[]byte) []byte { return tlv(0, 16, true, parts...) }
func set(parts ...[]byte) []byte { return tlv(0, 17, true, parts...) }

func oid(o asn1.ObjectIdentifier) []byte {
	der, _ := asn1.Marshal(o)
	return der
}

// message builds a SignedData from its certificates element and its content.
func message(certificates, content []byte) []byte {
	sd := seq([]byte{2, 1, 1}, set(), content, certificates, set())
	return seq(oid(oidSignedData), tlv(2, 0, true, sd))
}

func TestParseCertsOnlyRefuses(t *testing.T) {
	c := certificate(t, "a")
	good, data := certsOnly(t, c), seq(oid(oidData))
	if _, err := ParseCertsOnly(message(tlv(2, 0, true, c.Raw), data)); err != nil {
		t.Fatal("the builder of this test is wrong: ", err)
	}
	cases := []struct {
		name string
		der  []byte
		says string
	}{
		{"nothing", nil, "cut short"},
		{"an empty sequence", []byte{0x30, 0}, "ContentInfo"},
		{"trailing bytes", append(bytes.Clone(good), 0), "follow"},
		{"a message cut short", good[:len(good)-1], "goes beyond"},
		{"a bare certificate", c.Raw, "ContentInfo"},
		{"another content type", bytes.Replace(good, oid(oidSignedData), oid(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 3}), 1), "want SignedData"},
		{"no SignedData in it", seq(oid(oidSignedData), tlv(2, 0, true, set())), "SignedData"},
		{"two elements in the explicit tag", seq(oid(oidSignedData), tlv(2, 0, true, seq(), seq())), "SignedData"},
		{"no certificates", message(nil, data), "no certificate"},
		{"an empty set of certificates", message(tlv(2, 0, true), data), "no certificate"},
		{"an attribute certificate", message(tlv(2, 0, true, c.Raw, tlv(2, 2, true)), data), "element 2"},
		{"a broken second certificate", message(tlv(2, 0, true, c.Raw, seq()), data), "certificate 2"},
		{"a content of another type", message(tlv(2, 0, true, c.Raw), seq(oid(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 12, 3}))), "content"},
		{"a content", message(tlv(2, 0, true, c.Raw), seq(oid(oidData), tlv(2, 0, true, []byte{4, 1, 0}))), "content"},
		{"an indefinite length without end", append([]byte{0x30, 0x80}, good[4:]...), "does not end"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			certs, err := ParseCertsOnly(c.der)
			if err == nil {
				t.Fatalf("accepted with %d certificates", len(certs))
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %q does not say %q", err, c.says)
			}
		})
	}
}

func FuzzParseCertsOnly(f *testing.F) {
	c := certificate(f, "a")
	f.Add(certsOnly(f, c))
	f.Add(certsOnly(f, c, certificate(f, "bb")))
	f.Add(message(tlv(2, 0, true), seq(oid(oidData))))
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		certs, err := ParseCertsOnly(der)
		if err != nil {
			return
		}
		again, err := ParseCertsOnly(certsOnly(t, certs...))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range certs {
			if !slices.ContainsFunc(again, want.Equal) {
				t.Fatal("a certificate is lost")
			}
		}
	})
}
