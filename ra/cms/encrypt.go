// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// gcmTag is the length of the tag; the default of RFC 5084 section 3.2 is 12.
const gcmTag = 16

// Encrypt makes an EnvelopedData (RFC 5652 section 6.1), or with AES-GCM an
// AuthEnvelopedData (RFC 5083 section 2.1), in DER. The content key is fresh,
// and cleared afterwards.
func Encrypt(c Content, a Algorithms, r Recipient) ([]byte, error) {
	message, err := encrypt(c, a, r)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return message, nil
}

func encrypt(c Content, a Algorithms, r Recipient) ([]byte, error) {
	known, ok := ciphers[a.Content]
	if !ok {
		return nil, fmt.Errorf("%w: there is no content cipher", ErrAlgorithm)
	}
	key := make([]byte, known.key)
	defer clear(key)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	info, err := r.info(a, key)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	if known.gcm {
		return encryptGCM(c, known.oid, block, info)
	}
	return encryptCBC(c, known.oid, block, info, r.version())
}

func encryptCBC(c Content, oid string, block cipher.Block, info []byte, version int64) ([]byte, error) {
	iv := make([]byte, aes.BlockSize)
	if _, err := rand.Read(iv); err != nil {
		return nil, err
	}
	// RFC 5652 section 6.3.
	pad := aes.BlockSize - len(c.Bytes)%aes.BlockSize
	encrypted := make([]byte, 0, len(c.Bytes)+pad)
	encrypted = append(encrypted, c.Bytes...)
	encrypted = append(encrypted, bytes.Repeat([]byte{byte(pad & 0xff)}, pad)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(encrypted, encrypted)
	return contentInfo(IDEnvelopedData, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(version)
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) { b.AddBytes(info) })
		addEncrypted(b, c.Type, algorithm{oid: oid, params: octetString(iv)}, encrypted)
	})
}

func encryptGCM(c Content, oid string, block cipher.Block, info []byte) ([]byte, error) {
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	attributes, err := authenticatedAttributes(c.Type)
	if err != nil {
		return nil, err
	}
	var additional []byte
	if len(attributes) > 0 {
		additional = asSet(attributes)
	}
	sealed := aead.Seal(nil, nonce, c.Bytes, additional) //nolint:gosec // the nonce is random
	encrypted, tag := sealed[:len(c.Bytes)], sealed[len(c.Bytes):]
	var b cryptobyte.Builder
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1OctetString(nonce)
		b.AddASN1Int64(gcmTag)
	})
	params, err := b.Bytes()
	if err != nil {
		return nil, err
	}
	return contentInfo(IDAuthEnvelopedData, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		b.AddASN1(der.SET, func(b *cryptobyte.Builder) { b.AddBytes(info) })
		addEncrypted(b, c.Type, algorithm{oid: oid, params: params}, encrypted)
		if len(attributes) > 0 {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) { b.AddBytes(attributes) })
		}
		b.AddASN1OctetString(tag)
	})
}

// authenticatedAttributes are needed for a content that is not data (RFC 5083
// section 2.1).
func authenticatedAttributes(kind string) ([]byte, error) {
	if kind == IDData {
		return nil, nil
	}
	a, err := contentType(kind)
	if err != nil {
		return nil, err
	}
	return marshalAttributes([]Attribute{a})
}

// addEncrypted writes an EncryptedContentInfo (RFC 5652 section 6.1).
func addEncrypted(b *cryptobyte.Builder, kind string, a algorithm, encrypted []byte) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		addOID(b, kind)
		a.add(b, der.SEQUENCE)
		b.AddASN1(implicit(0), func(b *cryptobyte.Builder) { b.AddBytes(encrypted) })
	})
}
