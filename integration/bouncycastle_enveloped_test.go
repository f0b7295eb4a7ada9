// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/caddy-est/estra/ra/cms"
)

// A receiver opens messages: its key as Bouncy Castle has it, as we have it, and
// what it can.
type receiver struct {
	name     string
	kind     string // of the RecipientInfo
	secret   []string
	key      cms.Key
	to       func(cms.Identifier) cms.Recipient
	choices  []cms.Algorithms
	named    []cms.Identifier
	sealing  []string // what Bouncy Castle is to seal for; none: it can't
	identity string   // of the second name
}

var contentCiphers = []cms.Cipher{cms.AES128CBC, cms.AES256CBC, cms.AES128GCM, cms.AES256GCM}

// receivers are one for each kind and curve.
func receivers(t *testing.T) []receiver {
	t.Helper()
	all := []receiver{rsaReceiver(t)}
	for _, curve := range []ecdh.Curve{ecdh.P256(), ecdh.P384(), ecdh.P521(), ecdh.X25519()} {
		all = append(all, agreeing(t, curve))
	}
	for _, size := range []int{16, 32} {
		all = append(all, keyed(t, size))
	}
	return all
}

func rsaReceiver(t *testing.T) receiver {
	t.Helper()
	key, err := rsaKey()
	if err != nil {
		t.Fatal(err)
	}
	cert := certified(t, &key.PublicKey, key)
	r := receiver{
		name: "RSA", kind: "ktri", secret: []string{"key", pkcs8(t, key)}, key: cms.Key{Certificate: cert, KeyID: cert.SubjectKeyId, RSA: key},
		to:    func(id cms.Identifier) cms.Recipient { return cms.ForRSA(id, key.Public().(*rsa.PublicKey)) },
		named: []cms.Identifier{cms.IssuerAndSerial(cert), cms.SubjectKeyID(cert.SubjectKeyId)}, identity: b64(cert.SubjectKeyId),
		sealing: []string{"ktri", b64(cert.Raw), "oaep", b64(cert.Raw)},
	}
	for _, transport := range []cms.Transport{cms.PKCS1v15, cms.OAEPSHA1, cms.OAEPSHA256, cms.OAEPSHA384, cms.OAEPSHA512} {
		r.choices = append(r.choices, cms.Algorithms{Transport: transport})
	}
	return r
}

func agreeing(t *testing.T, curve ecdh.Curve) receiver {
	t.Helper()
	key, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := []byte("the key of a device")
	r := receiver{
		name: fmt.Sprint(curve), kind: "kari", secret: []string{"key", pkcs8(t, key)}, key: cms.Key{KeyID: id, ECDH: key},
		to:    func(id cms.Identifier) cms.Recipient { return cms.ForECDH(id, key.PublicKey()) },
		named: []cms.Identifier{cms.SubjectKeyID(id)}, identity: b64(id),
	}
	if curve != ecdh.X25519() { // Go certifies none, and Bouncy Castle 1.72 seals for none
		cert := certified(t, ofCurve(t, key.PublicKey()), newKey(t))
		r.key = cms.Key{Certificate: cert, KeyID: cert.SubjectKeyId, ECDH: key}
		r.named, r.identity = []cms.Identifier{cms.IssuerAndSerial(cert), cms.SubjectKeyID(cert.SubjectKeyId)}, b64(cert.SubjectKeyId)
		r.sealing = []string{"kari", b64(cert.Raw)}
	}
	for _, kdf := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		for _, wrap := range []cms.Wrap{cms.AES128Wrap, cms.AES256Wrap} {
			r.choices = append(r.choices, cms.Algorithms{KDF: kdf, Wrap: wrap})
		}
	}
	return r
}

// ofCurve is a key as certificates have it.
func ofCurve(t *testing.T, key *ecdh.PublicKey) crypto.PublicKey {
	t.Helper()
	public, err := x509.ParsePKIXPublicKey(octets(t, spki(t, key)))
	if err != nil {
		t.Fatal(err)
	}
	return public
}

func keyed(t *testing.T, size int) receiver {
	t.Helper()
	id, key := []byte("wrap key 1"), make([]byte, size)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	wrap := map[int]cms.Wrap{16: cms.AES128Wrap, 32: cms.AES256Wrap}[size]
	return receiver{
		name: wrap.String(), kind: "kekri", secret: []string{"kek", b64(key)}, key: cms.Key{KeyID: id, KEK: key},
		to:      func(cms.Identifier) cms.Recipient { return cms.ForKEK(id, key) },
		choices: []cms.Algorithms{{Wrap: wrap}}, named: []cms.Identifier{cms.SubjectKeyID(id)}, identity: b64(id),
		sealing: []string{"kekri", b64(id) + " " + b64(key)},
	}
}

// delivery is a key for a device, as /serverkeygen sends it.
func delivery(t *testing.T) (device string, content cms.Content) {
	t.Helper()
	device = pkcs8(t, newKey(t))
	pack, err := cms.KeyPackage(octets(t, device))
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	cert := certified(t, &key.PublicKey, key)
	signed, err := cms.Sign(cms.Content{Type: cms.IDKeyPackage, Bytes: pack}, []*x509.Certificate{cert}, cms.Signer{Key: key, ID: cms.IssuerAndSerial(cert)})
	if err != nil {
		t.Fatal(err)
	}
	return device, cms.Content{Type: cms.IDSignedData, Bytes: signed}
}

func TestBouncyCastleOpensTheKeysThatWeSeal(t *testing.T) {
	t.Parallel()
	c := bouncyCastle(t)
	device, content := delivery(t)
	for _, r := range receivers(t) {
		for i, choice := range r.choices {
			for _, id := range r.named {
				choice.Content = contentCiphers[i%len(contentCiphers)]
				for _, cipher := range []cms.Cipher{choice.Content, contentCiphers[(i+2)%len(contentCiphers)]} {
					choice.Content = cipher
					message, err := cms.Encrypt(content, choice, r.to(id))
					if err != nil {
						t.Fatalf("%s %+v: %v", r.name, choice, err)
					}
					opened, err := c.try(t, "open", form(with(r.secret, "der", b64(message))...))
					if err != nil {
						t.Errorf("%s, %v, %+v: %v", r.name, id, choice, err)
						continue
					}
					gcm := cipher == cms.AES128GCM || cipher == cms.AES256GCM
					if opened.Get("recipient") != r.kind || opened.Get("type") != cms.IDSignedData || gcm != opened.Has("auth") ||
						len(id.KeyID) > 0 != (opened.Get("id") == r.identity) {
						t.Errorf("%s, %v, %+v: read as %v", r.name, id, choice, opened)
					}
					if got := c.ask(t, "verify", form("der", opened.Get("content")))["key"]; !slices.Equal(got, []string{device}) {
						t.Errorf("%s, %v, %+v: the device gets another key", r.name, id, choice)
					}
				}
			}
		}
	}
}

func TestWeOpenWhatBouncyCastleSeals(t *testing.T) {
	t.Parallel()
	c := bouncyCastle(t)
	other := keyed(t, 16)
	for _, r := range receivers(t) {
		for i := 0; i+1 < len(r.sealing); i += 2 {
			for _, cipher := range []string{"aes128-cbc", "aes256-cbc", "aes128-gcm", "aes256-gcm"} {
				for _, encoding := range []string{"der", "ber"} {
					for what, content := range contents() {
						name := fmt.Sprintf("%s, %s, %s, %s, %s", r.name, r.sealing[i], cipher, encoding, what)
						message := octets(t, c.ask(t, "seal", form("content", b64(content.Bytes), "type", content.Type,
							"cipher", cipher, "form", encoding, r.sealing[i], r.sealing[i+1])).Get("der"))
						got, err := opened(message, r.key)
						if err != nil || got.Type != content.Type || !bytes.Equal(got.Bytes, content.Bytes) {
							t.Errorf("%s: %s %x, %v", name, got.Type, got.Bytes, err)
						}
						if _, err := opened(message, other.key); !errors.Is(err, cms.ErrOpen) {
							t.Errorf("%s: with another key: %v", name, err)
						}
					}
				}
			}
		}
	}
}

func opened(message []byte, key cms.Key) (cms.Content, error) {
	e, err := cms.ReadEnveloped(message)
	if err != nil {
		return cms.Content{}, err
	}
	return e.Open(key)
}
