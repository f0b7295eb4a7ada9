// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Messages that Bouncy Castle 1.72 has made of pkiData, in BER, of kinds that
// OpenSSL 3.0 doesn't have.
func TestMessagesOfBouncyCastle(t *testing.T) {
	read := func(name string) []byte {
		message, err := os.ReadFile(filepath.Join("testdata", "bouncycastle", name))
		if err != nil {
			t.Fatal(err)
		}
		return message
	}
	want := func(name string, c Content, err error) {
		if err != nil || c.Type != pkiData.Type || !bytes.Equal(c.Bytes, pkiData.Bytes) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	v, err := verify(read("ed25519.ber"), FindCertificate())
	if err != nil || v.Signers()[0].Algorithm != "Ed25519" {
		t.Fatal(v, err)
	}
	want("SignedData with Ed25519", v.Content(), nil)
	// AuthenticatedData with PWRI-KEK, the MAC and PBKDF2 by either hash.
	for _, name := range []string{"auth-sha1.ber", "auth-sha256.ber"} {
		if v, err = verifyMAC(read(name), secret); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want(name, v.Content(), nil)
		if _, err := verifyMAC(read(name), []byte("another")); err == nil {
			t.Errorf("%s verifies by another secret", name)
		}
	}
	// AuthEnvelopedData with attributes and a key of 16 zeros.
	c, err := opened(read("gcm.ber"), Key{KeyID: []byte("device 7"), KEK: make([]byte, 16)})
	want("AuthEnvelopedData", c, err)
}
