// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
)

// RFC 3394 sections 4.1 to 4.6.
func TestKeyWrapVectors(t *testing.T) {
	const kek = "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F"
	const data = "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F"
	for _, c := range []struct {
		kek, data int
		wrapped   string
	}{
		{16, 16, "1FA68B0A8112B447 AEF34BD8FB5A7B82 9D3E862371D2CFE5"},
		{24, 16, "96778B25AE6CA435 F92B5B97C050AED2 468AB8A17AD84E5D"},
		{32, 16, "64E8C3F9CE0F5BA2 63E9777905818A2A 93C8191E7D6E8AE7"},
		{24, 24, "031D33264E15D332 68F24EC260743EDC E1C6C7DDEE725A93 6BA814915C6762D2"},
		{32, 24, "A8F9BC1612C68B3F F6E6F4FBE30E71E4 769C8B80A32CB895 8CD5D17D6B254DA1"},
		{32, 32, "28C9F404C4B810F4 CBCCB35CFB87F826 3F5786E2D80ED326 CBC7F0E71A99F43B FB988B9B7A02DD21"},
	} {
		key, want := unhex(t, data)[:c.data], unhex(t, c.wrapped)
		got, err := wrapKey(unhex(t, kek)[:c.kek], key)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes by %d: %x, %v", c.data, c.kek, got, err)
		}
		back, err := unwrapKey(unhex(t, kek)[:c.kek], want)
		if err != nil || !bytes.Equal(back, key) {
			t.Errorf("%d bytes by %d come back as %x, %v", c.data, c.kek, back, err)
		}
		want[3] ^= 1
		if back, err := unwrapKey(unhex(t, kek)[:c.kek], want); err == nil {
			t.Errorf("%d bytes by %d: a changed bit gives %x", c.data, c.kek, back)
		}
	}
	for _, n := range []int{0, 8, 16, 23, 25} {
		if _, err := unwrapKey(make([]byte, 16), make([]byte, n)); err == nil {
			t.Errorf("%d bytes: unwrapped", n)
		}
	}
	if _, err := wrapKey(make([]byte, 16), make([]byte, 8)); err == nil {
		t.Error("8 bytes: wrapped")
	}
}

// NIST CAVP, ANSI X9.63 KDF with SHA-256, the first of two groups.
func TestX963Vectors(t *testing.T) {
	for _, c := range []struct{ z, info, key string }{
		{"96c05619d56c328ab95fe84b18264b08725b85e33fd34f08", "", "443024c3dae66b95e6f5670601558f71"},
		{
			"22518b10e70f2a3f243810ae3254139efbee04aa57c7af7d", "75eef81aa3041e33b80971203d2c0c52",
			"c498af77161cc59f2962b9a713e2b215152d139766ce34a776df11866a69bf2e52a13d9c7c6fc878c50c5ea0bc7b00e0da2447cfd874f6cf92f30d0097111485500c90c3af8b487872d04685d14c8d1dc8d7fa08beb0ce0ababc11f0bd496269142d43525a78e5bc79a17f59676a5706dc54d54d4d1f0bd7e386128ec26afc21",
		},
	} {
		want := unhex(t, c.key)
		if got := x963KDF(crypto.SHA256, unhex(t, c.z), unhex(t, c.info), len(want)); !bytes.Equal(got, want) {
			t.Errorf("got %x, want %x", got, want)
		}
	}
}

// RFC 3211 section 3 has vectors for DES alone; what Bouncy Castle wraps is
// unwrapped in TestMessagesOfBouncyCastle.
func TestPasswordKeyWrapIsUndone(t *testing.T) {
	kek, iv := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16)
	for _, size := range []int{3, 12, 13, 20, 28, 32, 60} {
		key := make([]byte, size)
		if _, err := rand.Read(key); err != nil {
			t.Fatal(err)
		}
		wrapped, err := wrapPWRI(kek, iv, key)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unwrapPWRI(kek, iv, wrapped)
		if err != nil || !bytes.Equal(got, key) {
			t.Errorf("%d bytes: %x, %v", size, got, err)
		}
		if got, err := unwrapPWRI(iv, iv, wrapped); err == nil {
			t.Errorf("another key: %x", got)
		}
		if _, err := unwrapPWRI(kek, iv, wrapped[:16]); err == nil {
			t.Error("one block: unwrapped")
		}
	}
	for _, size := range []int{0, 2, 256} {
		if _, err := wrapPWRI(kek, iv, make([]byte, size)); err == nil {
			t.Errorf("%d bytes: wrapped", size)
		}
	}
}

func capabilities(t *testing.T, list ...algorithm) []byte {
	t.Helper()
	var all [][]byte
	for _, a := range list {
		all = append(all, seq(oid(parseOID(t, a.oid)), a.params))
	}
	return seq(all...)
}

func TestChooseTakesOurFirstOfTheirs(t *testing.T) {
	ec := func(curve ecdh.Curve) Recipient {
		key, err := curve.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return ForECDH(SubjectKeyID([]byte{1}), key.PublicKey())
	}
	forRSA, p256, p384 := ForRSA(SubjectKeyID([]byte{1}), &rsaKey().PublicKey), ec(ecdh.P256()), ec(ecdh.P384())
	kek16, kek32 := ForKEK([]byte{1}, make([]byte, 16)), ForKEK([]byte{1}, make([]byte, 32))
	content := func(c Cipher) algorithm { return algorithm{oid: ciphers[c].oid} }
	wrap := func(w Wrap) algorithm { return algorithm{oid: wraps[w].oid} }
	agree := func(kdf crypto.Hash, w Wrap) algorithm {
		a := algorithm{oid: agreements[kdf]}
		if w != 0 {
			a.params = seq(oid(parseOID(t, wraps[w].oid)))
		}
		return a
	}
	transport := func(tr Transport) algorithm {
		a, err := tr.algorithm()
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	des := algorithm{oid: "1.2.840.113549.3.7"}
	for _, c := range []struct {
		name string
		to   Recipient
		list []algorithm
		want Algorithms
		says string // of an error
	}{
		{"GCM before CBC, and OAEP", forRSA, []algorithm{content(AES256CBC), content(AES128GCM), transport(PKCS1v15), transport(OAEPSHA1), transport(OAEPSHA512)}, Algorithms{Content: AES128GCM, Transport: OAEPSHA512}, ""},
		{"the longer key, and PKCS #1 v1.5 where there is nothing else", forRSA, []algorithm{content(AES128CBC), content(AES256CBC), transport(PKCS1v15)}, Algorithms{Content: AES256CBC, Transport: PKCS1v15}, ""},
		{"OAEP without parameters", forRSA, []algorithm{content(AES128CBC), {oid: idOAEP}}, Algorithms{Content: AES128CBC, Transport: OAEPSHA1}, ""},
		{"no content cipher of ours", forRSA, []algorithm{des, transport(OAEPSHA256)}, Algorithms{}, "content cipher"},
		{"no transport", forRSA, []algorithm{content(AES128CBC), wrap(AES128Wrap)}, Algorithms{}, "key transport"},
		{"OAEP by a hash that is unknown", forRSA, []algorithm{content(AES128CBC), {oid: idOAEP, params: seq(tlv(2, 0, true, seq(oid(parseOID(t, "1.2.840.113549.2.5")))))}}, Algorithms{}, "key transport"},
		{"an agreement with its wrap", p256, []algorithm{content(AES128CBC), agree(crypto.SHA256, AES128Wrap)}, Algorithms{Content: AES128CBC, KDF: crypto.SHA256, Wrap: AES128Wrap}, ""},
		{"the better of two wraps", p256, []algorithm{content(AES128CBC), agree(crypto.SHA256, AES128Wrap), agree(crypto.SHA256, AES256Wrap)}, Algorithms{Content: AES128CBC, KDF: crypto.SHA256, Wrap: AES256Wrap}, ""},
		{"the hash of the curve", p384, []algorithm{content(AES128CBC), agree(crypto.SHA256, AES256Wrap), agree(crypto.SHA384, AES128Wrap)}, Algorithms{Content: AES128CBC, KDF: crypto.SHA384, Wrap: AES128Wrap}, ""},
		{"another hash where the curve's is missing", p256, []algorithm{content(AES128CBC), agree(crypto.SHA512, AES256Wrap)}, Algorithms{Content: AES128CBC, KDF: crypto.SHA512, Wrap: AES256Wrap}, ""},
		{"a wrap that is named by itself", p256, []algorithm{content(AES128CBC), wrap(AES128Wrap), agree(crypto.SHA256, 0)}, Algorithms{Content: AES128CBC, KDF: crypto.SHA256, Wrap: AES128Wrap}, ""},
		{"an agreement without wrap", p256, []algorithm{content(AES128CBC), agree(crypto.SHA256, 0)}, Algorithms{}, "key agreement"},
		{"an agreement with SHA-1", p256, []algorithm{content(AES128CBC), {oid: "1.3.133.16.840.63.0.2", params: seq(oid(parseOID(t, wraps[AES128Wrap].oid)))}}, Algorithms{}, "key agreement"},
		{"the wrap of the key's length", kek16, []algorithm{content(AES128CBC), wrap(AES256Wrap), wrap(AES128Wrap)}, Algorithms{Content: AES128CBC, Wrap: AES128Wrap}, ""},
		{"no wrap of the key's length", kek32, []algorithm{content(AES128CBC), wrap(AES128Wrap)}, Algorithms{}, "AES-256 key wrap"},
		{"nothing", kek32, nil, Algorithms{}, "content cipher"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.to.Choose(capabilities(t, c.list...))
			if c.says != "" {
				if !errors.Is(err, ErrAlgorithm) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("error %v does not say %q", err, c.says)
				}
				return
			}
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v", got, err)
			}
			if _, err := Encrypt(pkiData, got, c.to); err != nil {
				t.Error("what was chosen doesn't serve: ", err)
			}
		})
	}
	for name, der := range map[string][]byte{"no DER": {0x30}, "no sequence": {5, 0}, "no algorithm": seq([]byte{5, 0}), "65 capabilities": seq(bytes.Repeat(seq(oid(oidData)), 65))} {
		if _, err := forRSA.Choose(der); err == nil {
			t.Errorf("%s: chosen", name)
		}
	}
}

func FuzzChoose(f *testing.F) {
	f.Add(seq(seq(oid(oidData)), seq(oid(oidSignedData), []byte{5, 0})))
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	all := []Recipient{ForRSA(SubjectKeyID([]byte{1}), &rsaKey().PublicKey), ForECDH(SubjectKeyID([]byte{1}), key.PublicKey()), ForKEK([]byte{1}, make([]byte, 16))}
	f.Fuzz(func(t *testing.T, capabilities []byte) {
		for _, r := range all {
			if a, err := r.Choose(capabilities); err == nil {
				if _, err := Encrypt(pkiData, a, r); err != nil {
					t.Error("what was chosen doesn't serve: ", err)
				}
			}
		}
	})
}

func TestKeyPackagesComeBack(t *testing.T) {
	var keys [][]byte
	for _, key := range signingKeys(t) {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, der)
	}
	for n := 1; n <= len(keys); n++ {
		content, err := KeyPackage(keys[:n]...)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadKeyPackage(content)
		if err != nil || len(got) != n {
			t.Fatalf("%d keys: %d, %v", n, len(got), err)
		}
		for i := range got {
			if !bytes.Equal(got[i], keys[i]) {
				t.Errorf("key %d of %d is another", i+1, n)
			}
		}
	}
}

// RFC 5958 section 2: version 2 has the public key, and attributes may come.
func TestAKeyPackageOfVersion2IsRead(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Replace(der[bytes.IndexByte(der, 2):], []byte{2, 1, 0}, []byte{2, 1, 1}, 1)
	v2 := seq(fields, tlv(2, 0, true, seq(oid(oidData), set(asn1NULL))), tlv(2, 1, false, []byte{0, 4, 1}))
	keys, err := ReadKeyPackage(seq(v2))
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0], v2) {
		t.Errorf("%d keys, %v", len(keys), err)
	}
}

func TestKeyPackagesThatAreRefused(t *testing.T) {
	for name, der := range map[string][]byte{"nothing": nil, "no keys": seq(), "no key": seq(seq()), "bytes after it": append(seq(), 0), "no sequence": {5, 0}} {
		if _, err := ReadKeyPackage(der); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	for name, keys := range map[string][][]byte{"none": nil, "no key": {{5, 0}}} {
		if _, err := KeyPackage(keys...); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}

func FuzzReadKeyPackage(f *testing.F) {
	f.Add(seq(seq([]byte{2, 1, 0})))
	f.Fuzz(func(t *testing.T, content []byte) {
		keys, err := ReadKeyPackage(content)
		if err != nil {
			return
		}
		if again, err := KeyPackage(keys...); err != nil {
			t.Errorf("%x: %v", again, err)
		}
	})
}
