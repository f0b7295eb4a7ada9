// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
)

var allCiphers = []Cipher{AES256GCM, AES128GCM, AES256CBC, AES128CBC}

// end is one end that a message is encrypted for.
type end struct {
	recipient Recipient
	key       Key
	// For OpenSSL: the files, or what stands for them.
	encrypt, decrypt []string
}

// ends are one of each kind of recipient.
func ends(t testing.TB) map[string]end {
	t.Helper()
	all := map[string]end{}
	cert := certify(t, "rsa", rsaKey())
	certFile, keyFile := opensslFiles(t, cert, rsaKey())
	key := Key{Certificate: cert, KeyID: cert.SubjectKeyId, RSA: rsaKey()}
	all["RSA"] = end{ForRSA(IssuerAndSerial(cert), &rsaKey().PublicKey), key, []string{"-recip", certFile}, []string{"-recip", certFile, "-inkey", keyFile}}
	all["RSA by key identifier"] = end{ForRSA(SubjectKeyID(cert.SubjectKeyId), &rsaKey().PublicKey), key, []string{"-keyid", "-recip", certFile}, []string{"-recip", certFile, "-inkey", keyFile}}
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		private, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		agree, err := private.ECDH()
		if err != nil {
			t.Fatal(err)
		}
		name := curve.Params().Name
		cert := certify(t, name, private)
		certFile, keyFile := opensslFiles(t, cert, private)
		key := Key{Certificate: cert, ECDH: agree}
		all[name] = end{ForECDH(IssuerAndSerial(cert), agree.PublicKey()), key, []string{"-recip", certFile}, []string{"-recip", certFile, "-inkey", keyFile}}
		if name == "P-256" {
			key := Key{KeyID: cert.SubjectKeyId, ECDH: agree}
			all["P-256 by key identifier"] = end{ForECDH(SubjectKeyID(cert.SubjectKeyId), agree.PublicKey()), key, []string{"-keyid", "-recip", certFile}, []string{"-recip", certFile, "-inkey", keyFile}}
		}
	}
	x, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all["X25519"] = end{recipient: ForECDH(SubjectKeyID([]byte("x")), x.PublicKey()), key: Key{KeyID: []byte("x"), ECDH: x}}
	all["X25519 with keying material"] = all["X25519"]
	withUKM := all["X25519"]
	withUKM.recipient.ukm = []byte("user keying material")
	all["X25519 with keying material"] = withUKM
	for _, size := range []int{16, 32} {
		kek, id := bytes.Repeat([]byte{byte(size)}, size), []byte("device 7")
		args := []string{"-secretkey", hex.EncodeToString(kek), "-secretkeyid", hex.EncodeToString(id)}
		all[fmt.Sprintf("AES-%d", 8*size)] = end{ForKEK(id, kek), Key{KeyID: id, KEK: kek}, args, args}
	}
	return all
}

// methods are the ways to encrypt for a recipient.
func (e end) methods() map[string]Algorithms {
	all := map[string]Algorithms{}
	for _, c := range allCiphers {
		switch {
		case e.recipient.rsa != nil:
			for t := range transports {
				all[fmt.Sprint(c, " ", t)] = Algorithms{Content: c, Transport: t}
			}
		case e.recipient.ecdh != nil:
			for kdf := range agreements {
				for w := range wraps {
					all[fmt.Sprint(c, " ", kdf, " ", w)] = Algorithms{Content: c, KDF: kdf, Wrap: w}
				}
			}
		default:
			for w := range wraps {
				if wraps[w].key == len(e.recipient.kek) {
					all[c.String()] = Algorithms{Content: c, Wrap: w}
				}
			}
		}
	}
	return all
}

func encrypted(t testing.TB, c Content, a Algorithms, r Recipient) []byte {
	t.Helper()
	message, err := Encrypt(c, a, r)
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func opened(message []byte, k Key) (Content, error) {
	e, err := ReadEnveloped(message)
	if err != nil {
		return Content{}, err
	}
	return e.Open(k)
}

func TestWhatWasEncryptedOpens(t *testing.T) {
	strangers := ends(t)
	for name, end := range ends(t) {
		for method, a := range end.methods() {
			t.Run(name+" "+method, func(t *testing.T) {
				for _, size := range []int{0, 1, 15, 16, 17, 1000} {
					want := Content{IDSignedData, bytes.Repeat([]byte{byte(size)}, size)}
					message := encrypted(t, want, a, end.recipient)
					got, err := opened(message, end.key)
					if err != nil || got.Type != want.Type || !bytes.Equal(got.Bytes, want.Bytes) {
						t.Fatalf("%d bytes: got %+v, %v", size, got, err)
					}
				}
				message := encrypted(t, pkiData, a, end.recipient)
				e, err := ReadEnveloped(message)
				if err != nil || len(e.Recipients()) != 1 || e.Recipients()[0].ID.String() != end.recipient.id.String() {
					t.Fatalf("recipients %v, %v", e.Recipients(), err)
				}
				for other, stranger := range strangers {
					same := end.recipient.rsa != nil && stranger.recipient.rsa != nil || end.recipient.kek != nil && other == name
					if _, err := e.Open(stranger.key); !errors.Is(err, ErrOpen) && !same {
						t.Errorf("a stranger with %s: %v", other, err)
					}
				}
			})
		}
	}
}

// RFC 5652 sections 6.1 to 6.2.3, RFC 5083 section 2.1.
func TestVersionsOfEncryptedMessages(t *testing.T) {
	want := map[string][2]int{
		"RSA": {0, 0}, "RSA by key identifier": {2, 2}, "P-256": {2, 3}, "P-384": {2, 3}, "P-521": {2, 3}, "P-256 by key identifier": {2, 3},
		"X25519": {2, 3}, "X25519 with keying material": {2, 3}, "AES-128": {2, 4}, "AES-256": {2, 4},
	}
	for name, end := range ends(t) {
		for method, a := range end.methods() {
			var info struct {
				Type    asn1.ObjectIdentifier
				Content struct {
					Version    int
					Recipients []asn1.RawValue `asn1:"set"`
				} `asn1:"explicit,tag:0"`
			}
			var version int
			if _, err := asn1.Unmarshal(encrypted(t, pkiData, a, end.recipient), &info); err != nil {
				t.Fatal(err)
			}
			if _, err := asn1.Unmarshal(info.Content.Recipients[0].Bytes, &version); err != nil {
				t.Fatal(err)
			}
			message, kind := want[name][0], IDEnvelopedData
			if ciphers[a.Content].gcm {
				message, kind = 0, IDAuthEnvelopedData
			}
			if info.Content.Version != message || version != want[name][1] || info.Type.String() != kind {
				t.Errorf("%s %s: %v of version %d, recipient of version %d", name, method, info.Type, info.Content.Version, version)
			}
		}
	}
}

func TestOpenSSLOpensWhatWasEncrypted(t *testing.T) {
	want := Content{IDData, []byte("for your eyes only")}
	for name, end := range ends(t) {
		if end.decrypt == nil {
			continue // OpenSSL 3.0 has no X25519 in CMS
		}
		for method, a := range end.methods() {
			t.Run(name+" "+method, func(t *testing.T) {
				args := append([]string{"-decrypt", "-binary", "-inform", "DER"}, end.decrypt...)
				if got := openssl(t, encrypted(t, want, a, end.recipient), args...); !bytes.Equal(got, want.Bytes) {
					t.Errorf("openssl reads %q", got)
				}
			})
		}
	}
}

func TestWhatOpenSSLEncryptsOpens(t *testing.T) {
	want := bytes.Repeat([]byte("for your eyes only "), 1000)
	options := func(e end) [][]string {
		switch {
		case e.recipient.rsa != nil:
			return [][]string{
				nil, {"-keyopt", "rsa_padding_mode:oaep"},
				{"-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256"},
				{"-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha512"},
			}
		case e.recipient.ecdh != nil:
			return [][]string{
				{"-keyopt", "ecdh_kdf_md:sha256", "-aes128-wrap"}, {"-keyopt", "ecdh_kdf_md:sha384", "-aes256-wrap"},
				{"-keyopt", "ecdh_kdf_md:sha512", "-aes256-wrap"},
			}
		}
		return [][]string{nil}
	}
	for name, end := range ends(t) {
		if end.encrypt == nil {
			continue
		}
		for _, cipher := range []string{"-aes-128-cbc", "-aes-256-cbc", "-aes-128-gcm", "-aes-256-gcm"} {
			for _, option := range options(end) {
				for _, form := range [][]string{nil, {"-stream", "-indef"}} {
					t.Run(fmt.Sprint(name, cipher, option, form), func(t *testing.T) {
						args := append([]string{"-encrypt", "-binary", "-outform", "DER", cipher}, form...)
						args = append(append(args, end.encrypt...), option...)
						got, err := opened(openssl(t, want, args...), end.key)
						if err != nil || !bytes.Equal(got.Bytes, want) {
							t.Errorf("got %d bytes, %v", len(got.Bytes), err)
						}
					})
				}
			}
		}
	}
}

// Every byte of a message that is changed makes it unreadable, not its own
// kind of failure; with CBC nothing protects the content, and it may open.
func TestOneErrorForEveryFailureOfOpening(t *testing.T) {
	for name, end := range ends(t) {
		for method, a := range end.methods() {
			if a.Transport == OAEPSHA384 || a.KDF == crypto.SHA384 {
				continue
			}
			message := encrypted(t, pkiData, a, end.recipient)
			for at := len(message) - 1; at > 0; at -= 13 {
				changed := bytes.Clone(message)
				changed[at] ^= 4
				e, err := ReadEnveloped(changed)
				if err != nil {
					continue
				}
				if c, err := e.Open(end.key); err != nil && !errors.Is(err, ErrOpen) || err != nil && err.Error() != ErrOpen.Error() {
					t.Errorf("%s %s: byte %d: %v", name, method, at, err)
				} else if err == nil && ciphers[a.Content].gcm && !bytes.Equal(c.Bytes, pkiData.Bytes) {
					t.Errorf("%s %s: byte %d: opens as something else", name, method, at)
				}
			}
		}
	}
}

// TestAWrongPaddingIsNoOracle: RFC 3218 section 2.3.2.
func TestAWrongPaddingIsNoOracle(t *testing.T) {
	all := ends(t)
	rsaEnd := all["RSA"]
	message := encrypted(t, pkiData, Algorithms{Content: AES256GCM, Transport: PKCS1v15}, rsaEnd.recipient)
	e, err := ReadEnveloped(message)
	if err != nil {
		t.Fatal(err)
	}
	info := e.recipients[0]
	good := bytes.Clone(info.encrypted)
	short, err := rsa.EncryptPKCS1v15(rand.Reader, rsaEnd.recipient.rsa, make([]byte, 16)) //nolint:staticcheck // what is tested
	if err != nil {
		t.Fatal(err)
	}
	for name, encrypted := range map[string][]byte{"a wrong padding": append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1), "a key of another length": short, "no ciphertext": nil, "a long ciphertext": append(good, 0)} {
		info.encrypted = encrypted
		first, err := rsaEnd.key.transported(&info, 32)
		if err != nil || len(first) != 32 {
			t.Fatalf("%s: %d bytes, %v", name, len(first), err)
		}
		if second, _ := rsaEnd.key.transported(&info, 32); bytes.Equal(first, second) {
			t.Errorf("%s: the key is not random", name)
		}
	}
}

func TestReadEnvelopedRefuses(t *testing.T) {
	all := ends(t)
	kekri := encrypted(t, pkiData, Algorithms{Content: AES128GCM, Wrap: AES128Wrap}, all["AES-128"].recipient)
	cbc := encrypted(t, pkiData, Algorithms{Content: AES128CBC, Wrap: AES128Wrap}, all["AES-128"].recipient)
	swap := func(message, from, to []byte) []byte {
		if !bytes.Contains(message, from) || len(from) != len(to) {
			t.Fatalf("nothing to swap: %x", from)
		}
		return bytes.Replace(message, from, to, 1)
	}
	gcm, cbcOID := oid(parseOID(t, ciphers[AES128GCM].oid)), oid(parseOID(t, ciphers[AES128CBC].oid))
	many := func(info []byte, n int) []byte {
		body := seq([]byte{2, 1, 2}, set(bytes.Repeat(info, n)), seq(oid(oidData), seq(cbcOID, tlv(0, 4, false, make([]byte, 16))), tlv(2, 0, false, make([]byte, 16))))
		return seq(oid(parseOID(t, IDEnvelopedData)), tlv(2, 0, true, body))
	}
	other := tlv(2, 4, true, oid(oidData), []byte{5, 0})
	if _, err := ReadEnveloped(many(other, 2)); err != nil {
		t.Fatal("the builder of this test is wrong: ", err)
	}
	for _, c := range []struct {
		name string
		der  []byte
		says string
	}{
		{"nothing", nil, "cut short"},
		{"a SignedData", signedWith(nil, nil), "SignedData"},
		{"AES-GCM in EnvelopedData", swap(cbc, cbcOID, gcm), "AES-128-GCM"},
		{"AES-CBC in AuthEnvelopedData", swap(kekri, gcm, cbcOID), "AES-128-CBC"},
		{"another cipher", swap(cbc, cbcOID, oid(parseOID(t, "2.16.840.1.101.3.4.1.22"))), "2.16.840.1.101.3.4.1.22"},
		{"a tag of 8 bytes", swap(kekri, []byte{2, 1, 16, 0x80}, []byte{2, 1, 8, 0x80}), "parameters"},
		{"a tag of another length than named", swap(kekri, []byte{2, 1, 16, 0x80}, []byte{2, 1, 12, 0x80}), "what follows"},
		{"attributes of another content", bytes.Replace(kekri, oid(parseOID(t, IDPKIData)), oid(parseOID(t, IDPKIResponse)), 1), "content-type"},
		{"kekri of version 3", swap(kekri, []byte{2, 1, 4, 0x30}, []byte{2, 1, 3, 0x30}), "version"},
		{"nobody", many(other, 0), "nobody"},
		{"17 recipients", many(other, 17), "more than 16"},
		{"8,000 recipients", many([]byte{0xa4, 0}, 8000), "more than 16"},
		{"an empty ktri", many(seq(), 1), "ktri"},
		{"an empty kari", many(tlv(2, 1, true), 1), "kari"},
		{"an empty kekri", many(tlv(2, 2, true), 1), "kekri"},
		{"a kari with 8,000 keys", many(tlv(2, 1, true, []byte{2, 1, 3}, tlv(2, 0, true, seq()), seq(oid(oidData)), seq(bytes.Repeat([]byte{0x30, 0}, 8000))), 1), "kari"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := ReadEnveloped(c.der); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %q", err, c.says)
			}
		})
	}
}

func TestEncryptRefuses(t *testing.T) {
	all := ends(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		a Algorithms
		r Recipient
	}{
		"nobody":                   {Algorithms{Content: AES128CBC}, Recipient{}},
		"no cipher":                {Algorithms{Transport: OAEPSHA256}, all["RSA"].recipient},
		"no transport":             {Algorithms{Content: AES128CBC}, all["RSA"].recipient},
		"no agreement":             {Algorithms{Content: AES128CBC, Wrap: AES128Wrap}, all["P-256"].recipient},
		"SHA-1 for the agreement":  {Algorithms{Content: AES128CBC, Wrap: AES128Wrap, KDF: crypto.SHA1}, all["P-256"].recipient},
		"no wrap":                  {Algorithms{Content: AES128CBC, KDF: crypto.SHA256}, all["P-256"].recipient},
		"no wrap for a key":        {Algorithms{Content: AES128CBC}, all["AES-128"].recipient},
		"a wrap of another length": {Algorithms{Content: AES128CBC, Wrap: AES256Wrap}, all["AES-128"].recipient},
		"a key without name":       {Algorithms{Content: AES128CBC, Wrap: AES128Wrap}, ForKEK(nil, make([]byte, 16))},
		"RSA of 1024 bits":         {Algorithms{Content: AES128CBC, Transport: OAEPSHA256}, ForRSA(SubjectKeyID([]byte{1}), &small.PublicKey)},
	} {
		if _, err := Encrypt(pkiData, c.a, c.r); err == nil {
			t.Errorf("%s: encrypted", name)
		}
	}
}

func TestTheCertificatesUsageCounts(t *testing.T) {
	keys := signingKeys(t)
	for _, c := range []struct {
		key   string
		usage x509.KeyUsage
		ok    bool
	}{
		{"RSA", 0, true},
		{"RSA", x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature, true},
		{"RSA", x509.KeyUsageDigitalSignature, false},
		{"RSA", x509.KeyUsageKeyAgreement, false},
		{"P-256", 0, true},
		{"P-256", x509.KeyUsageKeyAgreement, true},
		{"P-256", x509.KeyUsageKeyEncipherment, false},
		{"Ed25519", 0, false},
	} {
		cert := certify(t, "a", keys[c.key])
		cert.KeyUsage = c.usage
		if _, err := ForCertificate(cert, IssuerAndSerial(cert)); (err == nil) != c.ok {
			t.Errorf("%s with usage %b: %v", c.key, c.usage, err)
		}
	}
}

func FuzzReadEnveloped(f *testing.F) {
	kek := bytes.Repeat([]byte{16}, 16)
	key := Key{KeyID: []byte("device 7"), KEK: kek, RSA: rsaKey()}
	f.Add(encrypted(f, pkiData, Algorithms{Content: AES128GCM, Wrap: AES128Wrap}, ForKEK(key.KeyID, kek)))
	f.Fuzz(func(t *testing.T, message []byte) {
		e, err := ReadEnveloped(message)
		if err != nil {
			return
		}
		for _, r := range e.Recipients() {
			if r.Kind == "ktri" { // RSA is slow, and crypto/rsa's own
				return
			}
		}
		if _, err := e.Open(key); err != nil && !errors.Is(err, ErrOpen) {
			t.Error(err)
		}
	})
}
