// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"errors"
)

// ErrOpen is every failure to open a message: no recipient with that key, a
// key or a content that doesn't decrypt, a wrong tag. Who sends messages must
// not learn which (RFC 3218 section 2; to CMC: badMessageCheck).
var ErrOpen = errors.New("the encrypted message can't be opened")

// Key opens messages: a private key with the certificate or the subject key
// identifier that messages name it by, or a symmetric key with its
// keyIdentifier.
type Key struct {
	Certificate *x509.Certificate
	KeyID       []byte

	RSA  crypto.Decrypter // which may be in a KMS
	ECDH *ecdh.PrivateKey
	KEK  []byte
}

// Open decrypts the content. Its error is [ErrOpen] alone. The content of an
// AuthEnvelopedData is what somebody who knows the recipient's key has
// encrypted; that of an EnvelopedData may be anything, and what is in it must be
// verified by itself. Open does the same work for a wrong PKCS #1 v1.5 padding
// as for a right one: it goes on with a random key (RFC 3218 section 2.3.2).
func (e *Enveloped) Open(k Key) (Content, error) {
	for i := range e.recipients {
		info := &e.recipients[i]
		if !k.fits(info) {
			continue
		}
		key, err := k.contentKey(info, ciphers[e.cipher].key)
		if err != nil {
			return Content{}, ErrOpen
		}
		defer clear(key)
		content, err := e.decrypt(key)
		if err != nil {
			return Content{}, ErrOpen
		}
		return Content{Type: e.kind, Bytes: content}, nil
	}
	return Content{}, ErrOpen
}

func (k Key) fits(info *recipientInfo) bool {
	switch {
	case info.Kind == "ktri" && k.RSA != nil, info.Kind == "kari" && k.ECDH != nil:
		if len(info.ID.KeyID) > 0 && subtle.ConstantTimeCompare(info.ID.KeyID, k.KeyID) == 1 {
			return true
		}
		return k.Certificate != nil && info.ID.Names(k.Certificate)
	case info.Kind == "kekri" && len(k.KEK) > 0:
		return subtle.ConstantTimeCompare(info.ID.KeyID, k.KeyID) == 1
	}
	return false
}

// contentKey decrypts the content key, which has size bytes.
func (k Key) contentKey(info *recipientInfo, size int) ([]byte, error) {
	var key []byte
	var err error
	switch info.Kind {
	case "ktri":
		return k.transported(info, size)
	case "kari":
		key, err = k.agreed(info)
	default:
		wrap, ok := wrapOf(info.algorithm)
		if !ok || wraps[wrap].key != len(k.KEK) {
			return nil, ErrOpen
		}
		key, err = unwrapKey(k.KEK, info.encrypted)
	}
	if err == nil && len(key) != size {
		return nil, ErrOpen
	}
	return key, err
}

// transported decrypts by RSA. A wrong padding, or a key of another length,
// gives a random key: the content tells, as it does for a key that is merely
// wrong.
func (k Key) transported(info *recipientInfo, size int) ([]byte, error) {
	transport, err := transportOf(info.algorithm)
	if err != nil {
		return nil, err
	}
	key := make([]byte, size)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	var opts crypto.DecrypterOpts = &rsa.PKCS1v15DecryptOptions{SessionKeyLen: size} //nolint:staticcheck // with a session key: it is no oracle
	if transport != PKCS1v15 {
		opts = &rsa.OAEPOptions{Hash: transports[transport].hash}
	}
	decrypted, err := k.RSA.Decrypt(rand.Reader, info.encrypted, opts)
	defer clear(decrypted)
	if err == nil && len(decrypted) == size {
		copy(key, decrypted)
	}
	return key, nil
}

// agreed derives the key-encryption key and unwraps.
func (k Key) agreed(info *recipientInfo) ([]byte, error) {
	kdf, wrap, err := info.agreement()
	if err != nil {
		return nil, err
	}
	curve := k.ECDH.Curve()
	want, err := curveAlgorithm(curve)
	if err != nil {
		return nil, err
	}
	// RFC 5753 section 7.1.2: the parameters may be absent, NULL or the curve.
	got := info.originatorAlgorithm
	if got.oid != want.oid || !got.plain() && !bytes.Equal(got.params, want.params) {
		return nil, ErrOpen
	}
	originator, err := curve.NewPublicKey(info.originator)
	if err != nil {
		return nil, err
	}
	kek, err := agreedKey(k.ECDH, originator, kdf, wrap, info.algorithm.params, info.ukm)
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	return unwrapKey(kek, info.encrypted)
}

// decrypt gives the content, or an error that says nothing.
func (e *Enveloped) decrypt(key []byte) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if ciphers[e.cipher].gcm {
		aead, err := cipher.NewGCMWithTagSize(block, e.tag)
		if err != nil {
			return nil, err
		}
		return aead.Open(nil, e.iv, e.encrypted, e.additional)
	}
	if len(e.encrypted) == 0 || len(e.encrypted)%aes.BlockSize != 0 {
		return nil, ErrOpen
	}
	content := make([]byte, len(e.encrypted))
	cipher.NewCBCDecrypter(block, e.iv).CryptBlocks(content, e.encrypted)
	return unpad(content)
}

// unpad removes the padding of RFC 5652 section 6.3, in a time that doesn't
// depend on it.
func unpad(content []byte) ([]byte, error) {
	pad := int(content[len(content)-1])
	good := subtle.ConstantTimeLessOrEq(1, pad) & subtle.ConstantTimeLessOrEq(pad, aes.BlockSize)
	for i := 1; i <= aes.BlockSize; i++ {
		inPad := subtle.ConstantTimeLessOrEq(i, pad)
		same := subtle.ConstantTimeByteEq(content[len(content)-i], content[len(content)-1])
		good &= same | (1 ^ inPad)
	}
	if good != 1 {
		clear(content)
		return nil, ErrOpen
	}
	return content[:len(content)-pad], nil
}
