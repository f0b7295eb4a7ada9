// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/cms"
)

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

// signers are a key of each kind that signs.
func signers(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	fromRSA, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]crypto.Signer{"RSA": fromRSA, "Ed25519": ed}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		if keys[curve.Params().Name], err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// certified is a certificate over a key; signer is nil where the key signs it.
func certified(t *testing.T, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	id := sha1.Sum(der)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "device", Organization: []string{"Example Net"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), SubjectKeyId: id[:],
	}
	der, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// contents are some; in BER the long one comes in pieces.
func contents() map[string]cms.Content {
	return map[string]cms.Content{
		"a short text":    {Type: cms.IDData, Bytes: []byte("hello")},
		"a long PKIData":  {Type: cms.IDPKIData, Bytes: bytes.Repeat([]byte("0123456789"), 1000)},
		"an empty answer": {Type: cms.IDPKIResponse, Bytes: []byte{}},
	}
}

func TestBouncyCastleVerifiesWhatWeSign(t *testing.T) {
	t.Parallel()
	c := bouncyCastle(t)
	for name, key := range signers(t) {
		cert := certified(t, key.Public(), key)
		for by, id := range map[string]cms.Identifier{"issuer": cms.IssuerAndSerial(cert), "key identifier": cms.SubjectKeyID(cert.SubjectKeyId)} {
			for what, content := range contents() {
				message, err := cms.Sign(content, []*x509.Certificate{cert}, cms.Signer{Key: key, ID: id, Time: time.Now()})
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				answer := c.ask(t, "verify", form("der", b64(message)))
				if answer.Get("signer") != b64(cert.Raw) || answer.Get("type") != content.Type || !bytes.Equal(octets(t, answer.Get("content")), content.Bytes) {
					t.Errorf("%s, %s, named by %s: %v", name, what, by, answer)
				}
				message[len(message)-1] ^= 1
				if _, err := c.try(t, "verify", form("der", b64(message))); err == nil {
					t.Errorf("%s, %s, named by %s: Bouncy Castle takes a wrong signature", name, what, by)
				}
			}
		}
	}
}

func TestWeVerifyWhatBouncyCastleSigns(t *testing.T) {
	t.Parallel()
	c := bouncyCastle(t)
	for name, key := range signers(t) {
		cert := certified(t, key.Public(), key)
		question := func(content cms.Content, more ...string) []byte {
			more = append(more, "content", b64(content.Bytes), "type", content.Type, "signerKey", pkcs8(t, key), "signerCert", b64(cert.Raw))
			return octets(t, c.ask(t, "sign", form(more...)).Get("der"))
		}
		for what, content := range contents() {
			for _, encoding := range []string{"der", "ber"} {
				v, err := verified(question(content, "form", encoding))
				if err != nil {
					t.Errorf("%s, %s, %s: %v", name, what, encoding, err)
					continue
				}
				if got := v.Content(); got.Type != content.Type || !bytes.Equal(got.Bytes, content.Bytes) || !v.Signers()[0].Key.Certificate.Equal(cert) {
					t.Errorf("%s, %s, %s: got %s %x", name, what, encoding, got.Type, got.Bytes)
				}
			}
		}
		for _, fault := range []string{"signature", "content"} {
			if _, err := verified(question(contents()["a short text"], "fault", fault)); !errors.Is(err, cms.ErrVerify) {
				t.Errorf("%s, another %s: %v", name, fault, err)
			}
		}
	}
}

func verified(message []byte) (*cms.Verified, error) {
	signed, err := cms.ReadSigned(message)
	if err != nil {
		return nil, err
	}
	return signed.Verify(cms.FindCertificate())
}

func TestWeTakeNothingThatBouncyCastleHasNotSigned(t *testing.T) {
	t.Parallel()
	content := contents()["a short text"]
	message := octets(t, bouncyCastle(t).ask(t, "sign", form("content", b64(content.Bytes), "type", content.Type)).Get("der"))
	if _, err := verified(message); !errors.Is(err, cms.ErrVerify) {
		t.Errorf("nobody has signed it: %v", err)
	}
}

// RFC 5272 section 3.2: the secret is the identifier, and the shared secret
// after it.
func TestAuthenticatedDataGoesBothWays(t *testing.T) {
	t.Parallel()
	c := bouncyCastle(t)
	const identifier, shared = "device-1", "Grüße an alle"
	tcr := c.request(t, "pkcs10", newKey(t), "subject", "CN=a.example.net")
	theirs := c.ask(t, "pkidata", form("tcr", "1 "+tcr, "identification", identifier, "password", shared))
	for secret, good := range map[string]bool{identifier + shared: true, shared: false, identifier + "wrong": false} {
		message, err := cms.ReadAuthenticated(octets(t, theirs.Get("der")))
		if err != nil {
			t.Fatal(err)
		}
		v, err := message.Verify(func(cms.Content) ([]byte, error) { return []byte(secret), nil })
		if good && (err != nil || v.Content().Type != cms.IDPKIData || b64(v.Content().Bytes) != theirs.Get("pkidata")) {
			t.Errorf("%q: %v", secret, err)
		}
		if !good && !errors.Is(err, cms.ErrVerify) {
			t.Errorf("%q: %v", secret, err)
		}
	}
	for what, content := range contents() {
		for _, mac := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
			ours, err := cms.Authenticate(content, cms.Password{Secret: []byte(shared), MAC: mac, Iterations: 1000, PWRIKEK: true})
			if err != nil {
				t.Fatal(err)
			}
			answer := c.ask(t, "authenticated", form("der", b64(ours), "password", shared))
			if answer.Get("type") != content.Type || !bytes.Equal(octets(t, answer.Get("content")), content.Bytes) {
				t.Errorf("%s, %v: read as %v", what, mac, answer)
			}
			if _, err := c.try(t, "authenticated", form("der", b64(ours), "password", "wrong")); err == nil {
				t.Errorf("%s, %v: Bouncy Castle takes another password", what, mac)
			}
		}
	}
}
