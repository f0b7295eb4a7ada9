// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"testing"
)

func TestAMessageIsNestedWithoutItsContentInfo(t *testing.T) {
	bag, err := CertsOnly(certify(t, "a", signingKeys(t)["P-256"]))
	if err != nil {
		t.Fatal(err)
	}
	inner, err := Nested(bag)
	if err != nil || inner.Type != IDSignedData || len(inner.Bytes) >= len(bag) {
		t.Fatalf("%s, %d of %d bytes, %v", inner.Type, len(inner.Bytes), len(bag), err)
	}
	for name, c := range map[string]Content{"as it is nested": inner, "as some nest it": {IDSignedData, bag}} {
		if got, err := c.Message(); err != nil || !bytes.Equal(got, bag) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	for _, wrong := range [][]byte{nil, {0x30, 0}, {5, 0}, append(bytes.Clone(bag), 0)} {
		if _, err := Nested(wrong); err == nil {
			t.Errorf("%x is nested", wrong)
		}
	}
}

// What a key says that it can is what is chosen for it, and what it opens.
func TestAKeyOpensWhatItsCapabilitiesLead(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	id := []byte("id")
	keys := map[string]struct {
		key Key
		to  Recipient
	}{
		"rsa":     {Key{KeyID: id, RSA: rsaKey}, ForRSA(SubjectKeyID(id), &rsaKey.PublicKey)},
		"aes-128": {Key{KeyID: id, KEK: make([]byte, 16)}, ForKEK(id, make([]byte, 16))},
		"aes-256": {Key{KeyID: id, KEK: make([]byte, 32)}, ForKEK(id, make([]byte, 32))},
	}
	for name, curve := range map[string]ecdh.Curve{"p-256": ecdh.P256(), "p-384": ecdh.P384(), "p-521": ecdh.P521(), "x25519": ecdh.X25519()} {
		key, err := curve.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = struct {
			key Key
			to  Recipient
		}{Key{KeyID: id, ECDH: key}, ForECDH(SubjectKeyID(id), key.PublicKey())}
	}
	for name, c := range keys {
		list, err := c.key.Capabilities()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		chosen, err := c.to.Choose(list)
		if err != nil || chosen.Content != AES256GCM {
			t.Fatalf("%s: %+v, %v", name, chosen, err)
		}
		message, err := Encrypt(Content{IDData, []byte("x")}, chosen, c.to)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		read, err := ReadEnveloped(message)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got, err := read.Open(c.key); err != nil || string(got.Bytes) != "x" {
			t.Errorf("%s: %q, %v", name, got.Bytes, err)
		}
	}
	for name, key := range map[string]Key{"none": {}, "of 24 bytes": {KEK: make([]byte, 24)}} {
		if _, err := key.Capabilities(); err == nil {
			t.Errorf("a key that is %s can something", name)
		}
	}
}

func TestAKeyIdentifierIsThereWithoutTheExtension(t *testing.T) {
	key := signingKeys(t)["P-256"]
	cert := certify(t, "a", key)
	if got := KeyIdentifier(cert); !bytes.Equal(got, cert.SubjectKeyId) {
		t.Errorf("%x, and the certificate has %x", got, cert.SubjectKeyId)
	}
	without := *cert
	without.SubjectKeyId = nil
	public, err := key.Public().(*ecdsa.PublicKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha1.Sum(public); !bytes.Equal(KeyIdentifier(&without), sum[:]) {
		t.Errorf("%x", KeyIdentifier(&without))
	}
	if KeyIdentifier(&x509.Certificate{}) != nil {
		t.Error("no key has an identifier")
	}
}
