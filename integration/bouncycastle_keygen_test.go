// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	asn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/wire"
)

const keygenPolicy = `version: 1
name: keygen
default: sensors
profiles:
  sensors:
    serverkeygen:
      enabled: true
      who: [{client_cert: {anchor: partner}}]
      key: P-384
    subject: {CN: {require: true, allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

// capabilities are SMIMECapabilities: dotted OIDs, or an OID with that of its
// parameter behind a space.
func capabilities(t *testing.T, list ...string) string {
	t.Helper()
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, text := range list {
			outer, inner, has := strings.Cut(text, " ")
			addCapability(t, b, outer, inner, has)
		}
	})
	return b64(b.BytesOrPanic())
}

func addCapability(t *testing.T, b *cryptobyte.Builder, outer, inner string, has bool) {
	t.Helper()
	oid, ok := csr.TypeOID(outer)
	if !ok {
		t.Fatal(outer)
	}
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1ObjectIdentifier(oid)
		if has {
			addCapability(t, b, inner, "", false)
		}
	})
}

// bearing is a certificate of a factory for a key that private keys can be
// encrypted for.
func (f *factory) bearing(key crypto.Signer) tls.Certificate {
	f.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "sensor"}, SubjectKeyId: []byte("the key of sensor 7"),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}, f.root, key.Public(), f.key)
	if err != nil {
		f.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Bouncy Castle makes the request, and alone can open the answer: with the key of
// the device's client certificate.
func TestBouncyCastleOpensAKeyThatNobodyElseCan(t *testing.T) {
	t.Parallel()
	c, partner := bouncyCastle(t), newFactory(t)
	s := serve(t, config{
		site:   strings.Replace(brokeredSite, "\t\t\tvendor vendor.pem\n", "", 1),
		policy: keygenPolicy, files: map[string]string{"partner.pem": armour("CERTIFICATE", partner.root.Raw)},
	})
	const (
		aes128, aes256, gcm256        = "2.16.840.1.101.3.4.1.2", "2.16.840.1.101.3.4.1.42", "2.16.840.1.101.3.4.1.46"
		wrap128, wrap256              = "2.16.840.1.101.3.4.1.5", "2.16.840.1.101.3.4.1.45"
		ecdh256, pkcs1, oaep, unknown = "1.3.132.1.11.1", "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7", "1.2.3.4"
	)
	fromRSA, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		key       crypto.Signer
		able      []string
		recipient string // "": refused
		wrap      string
		auth      bool
	}{
		"RSA, with what is old":      {fromRSA, []string{aes128, pkcs1}, "ktri", pkcs1, false},
		"RSA, with OAEP":             {fromRSA, []string{pkcs1, oaep, aes256}, "ktri", oaep, false},
		"RSA, with AES-GCM":          {fromRSA, []string{aes256, gcm256, oaep}, "ktri", oaep, true},
		"EC":                         {newKey(t), []string{aes256, ecdh256 + " " + wrap256}, "kari", ecdh256, false},
		"EC, with AES-GCM":           {newKey(t), []string{gcm256, ecdh256 + " " + wrap128}, "kari", ecdh256, true},
		"EC, and RSA's algorithms":   {newKey(t), []string{aes256, oaep}, "", "", false},
		"RSA, and nothing of ours":   {fromRSA, []string{unknown}, "", "", false},
		"nothing that it says of it": {fromRSA, nil, "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			cert := partner.bearing(test.key)
			dummy := newKey(t)
			pairs := []string{"subject", "CN=a.example.net", "attribute", csr.OIDAsymmDecryptKeyID + " " + b64(append([]byte{4, byte(len(cert.Leaf.SubjectKeyId))}, cert.Leaf.SubjectKeyId...))}
			if test.able != nil {
				pairs = append(pairs, "attribute", csr.OIDSMIMECapabilities+" "+capabilities(t, test.able...))
			}
			request := c.request(t, "pkcs10", dummy, pairs...)
			client := s.client(func(c *tls.Config) { c.Certificates = []tls.Certificate{cert} })
			res, err := client.Post(s.url("serverkeygen"), wire.TypePKCS10, strings.NewReader(request))
			if err != nil {
				t.Fatal(err)
			}
			text := body(t, res)
			if test.recipient == "" {
				if res.StatusCode != http.StatusForbidden {
					t.Errorf("%s %q", res.Status, text)
				}
				return
			}
			answer, err := wire.DecodeParts(res.Header.Get("Content-Type"), []byte(text))
			if err != nil || !answer.Encrypted {
				t.Fatalf("%s %q: %v\n%s", res.Status, text, err, s.log)
			}
			certs, err := cms.ParseCertsOnly(answer.Certificates)
			if err != nil {
				t.Fatal(err)
			}
			opened := c.ask(t, "open", form("der", b64(answer.Key), "key", pkcs8(t, test.key)))
			if opened.Get("recipient") != test.recipient || opened.Get("wrap") != test.wrap || opened.Has("auth") != test.auth ||
				opened.Get("id") != b64(cert.Leaf.SubjectKeyId) || opened.Get("type") != cms.IDSignedData {
				t.Errorf("sealed as %v", opened)
			}
			delivered(t, c.ask(t, "verify", form("bare", opened.Get("content"))), dummy, certs[0])
		})
	}
}

// delivered holds a signed key package to the certificate that came with it.
func delivered(t *testing.T, inside url.Values, asked *ecdsa.PrivateKey, cert *x509.Certificate) {
	t.Helper()
	if inside.Get("type") != cms.IDKeyPackage || len(inside["key"]) != 1 {
		t.Fatalf("inside is %v", inside)
	}
	key, err := x509.ParsePKCS8PrivateKey(octets(t, inside.Get("key")))
	if err != nil {
		t.Fatal(err)
	}
	if made, is := key.(*ecdsa.PrivateKey); !is || !made.PublicKey.Equal(cert.PublicKey) || made.PublicKey.Equal(&asked.PublicKey) {
		t.Error("the certificate is not of the key that came with it")
	}
	if by := certificatesOf(t, form("certificate", inside.Get("signer")))[0]; !slices.Contains(by.DNSNames, "localhost") {
		t.Errorf("the server's own certificate doesn't sign the key package, but %s", by.Subject)
	}
}
