// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// Bounds of a key derivation: one takes some hundredths of a second at most.
const (
	maxIterations     = 100_000
	defaultIterations = maxIterations
	maxSalt           = 128
	saltSize          = 16
)

const (
	idPBKDF2         = "1.2.840.113549.1.5.12"     // RFC 8018 appendix A.2
	idHMACWithSHA1   = "1.2.840.113549.2.7"        // RFC 8018 appendix B.1
	idHMACWithSHA256 = "1.2.840.113549.2.9"        // RFC 8018 appendix B.1
	idHMACSHA1       = "1.3.6.1.5.5.8.1.2"         // RFC 3370 section 3.1
	idPWRIKEK        = "1.2.840.113549.1.9.16.3.9" // RFC 3211 section 2.3
)

// passwordInfo is a PasswordRecipientInfo (RFC 5652 section 6.2.4).
type passwordInfo struct {
	salt       []byte
	iterations int
	prf        crypto.Hash
	kekSize    int
	iv         []byte // of PWRI-KEK, or nil: AES key wrap
	encrypted  []byte
}

// readPasswordInfo reads what is in [3] of a RecipientInfo.
func readPasswordInfo(body cryptobyte.String) (*passwordInfo, error) {
	var version int64
	var encrypted cryptobyte.String
	if !body.ReadASN1Integer(&version) || version != 0 {
		return nil, errors.New("pwri: its version is not 0")
	}
	derivation, ok := readAlgorithm(&body, explicit(0))
	if !ok {
		return nil, errors.New("pwri: it has no key derivation")
	}
	info := new(passwordInfo)
	size, err := info.readDerivation(derivation)
	if err != nil {
		return nil, fmt.Errorf("pwri: %w", err)
	}
	wrap, ok := readAlgorithm(&body, der.SEQUENCE)
	if !ok || !body.ReadASN1(&encrypted, der.OCTET_STRING) || !body.Empty() {
		return nil, errors.New("pwri: its algorithm or key is malformed")
	}
	info.encrypted = encrypted
	if err := info.readWrap(wrap); err != nil {
		return nil, fmt.Errorf("pwri: %w", err)
	}
	if size != 0 && size != info.kekSize {
		return nil, errors.New("pwri: the derived key has another length than its algorithm")
	}
	return info, nil
}

// readDerivation reads PBKDF2-params (RFC 8018 appendix A.2). size is 0 where
// it is not said.
func (info *passwordInfo) readDerivation(a algorithm) (size int, err error) {
	if a.oid != idPBKDF2 {
		return 0, fmt.Errorf("%w: key derivation %s, want PBKDF2", ErrAlgorithm, a.oid)
	}
	params := cryptobyte.String(a.params)
	var body, salt cryptobyte.String
	if !params.ReadASN1(&body, der.SEQUENCE) || !params.Empty() || !body.ReadASN1(&salt, der.OCTET_STRING) || !body.ReadASN1Integer(&info.iterations) ||
		body.PeekASN1Tag(der.INTEGER) && !body.ReadASN1Integer(&size) || len(salt) > maxSalt {
		return 0, errors.New("the parameters of PBKDF2 are malformed")
	}
	if info.iterations < 1 || info.iterations > maxIterations {
		return 0, fmt.Errorf("%w: PBKDF2 with %d iterations, want 1 to %d", ErrAlgorithm, info.iterations, maxIterations)
	}
	info.salt, info.prf = salt, crypto.SHA1
	if body.Empty() {
		return size, nil
	}
	prf, ok := readAlgorithm(&body, der.SEQUENCE)
	if !ok || !body.Empty() {
		return 0, errors.New("the parameters of PBKDF2 are malformed")
	}
	info.prf, err = prf.hmac()
	return size, err
}

// readWrap takes AES key wrap (RFC 5274 section 4.1) and PWRI-KEK with AES-CBC
// (RFC 3211 section 2.3), which Bouncy Castle writes.
func (info *passwordInfo) readWrap(a algorithm) error {
	if w, ok := wrapOf(a); ok {
		info.kekSize = wraps[w].key
		return nil
	}
	params := cryptobyte.String(a.params)
	inner, ok := readAlgorithm(&params, der.SEQUENCE)
	known, isCipher := cipherOf(inner.oid)
	if a.oid != idPWRIKEK || !ok || !isCipher || ciphers[known].gcm {
		return fmt.Errorf("%w: key encryption %s", ErrAlgorithm, a.oid)
	}
	ivField := cryptobyte.String(inner.params)
	var iv cryptobyte.String
	if !ivField.ReadASN1(&iv, der.OCTET_STRING) || !ivField.Empty() || len(iv) != aes.BlockSize {
		return errors.New("the parameters of PWRI-KEK are malformed")
	}
	info.iv, info.kekSize = iv, ciphers[known].key
	return nil
}

// hmac reads a MAC, or a pseudo-random function.
func (a algorithm) hmac() (crypto.Hash, error) {
	if a.plain() {
		switch a.oid {
		case idHMACSHA1, idHMACWithSHA1:
			return crypto.SHA1, nil
		case idHMACWithSHA256:
			return crypto.SHA256, nil
		}
	}
	return 0, fmt.Errorf("%w: MAC %s, want HMAC with SHA-1 or SHA-256", ErrAlgorithm, a.oid)
}

// derive gives the key-encryption key.
func (info *passwordInfo) derive(secret []byte) ([]byte, error) {
	prf := info.prf
	return pbkdf2.Key(prf.New, string(secret), info.salt, info.iterations, info.kekSize)
}

// key gives the key in the info.
func (info *passwordInfo) key(secret []byte) ([]byte, error) {
	kek, err := info.derive(secret)
	if err != nil {
		return nil, err
	}
	defer clear(kek)
	if info.iv == nil {
		return unwrapKey(kek, info.encrypted)
	}
	return unwrapPWRI(kek, info.iv, info.encrypted)
}

// unwrapPWRI undoes the key wrap of RFC 3211 section 2.3.1: CBC twice over
// length, check value, key and padding.
func unwrapPWRI(kek, iv, wrapped []byte) ([]byte, error) {
	const size = aes.BlockSize
	if len(wrapped) < 2*size || len(wrapped)%size != 0 || len(wrapped) > 16*size {
		return nil, errUnwrap
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	// Section 2.3.2: the last block first, which is the IV of the others.
	out, last := make([]byte, len(wrapped)), len(wrapped)-size
	defer clear(out)
	cipher.NewCBCDecrypter(block, wrapped[last-size:last]).CryptBlocks(out[last:], wrapped[last:])
	cipher.NewCBCDecrypter(block, out[last:]).CryptBlocks(out[:last], wrapped[:last])
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(out, out)
	length := int(out[0])
	check := [3]byte{^out[4], ^out[5], ^out[6]}
	if subtle.ConstantTimeCompare(check[:], out[1:4]) != 1 || length < 3 || length > len(out)-4 {
		return nil, errUnwrap
	}
	return append([]byte(nil), out[4:4+length]...), nil
}

// wrapPWRI is the key wrap of RFC 3211 section 2.3.1.
func wrapPWRI(kek, iv, key []byte) ([]byte, error) {
	const size = aes.BlockSize
	if len(key) < 3 || len(key) > 255 {
		return nil, fmt.Errorf("a key of %d bytes can't be wrapped", len(key))
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	out := make([]byte, max(2*size, (4+len(key)+size-1)/size*size))
	if _, err := rand.Read(out); err != nil {
		return nil, err
	}
	copy(out, []byte{byte(len(key)), ^key[0], ^key[1], ^key[2]}) //nolint:gosec // up to 255
	copy(out[4:], key)
	mode := cipher.NewCBCEncrypter(block, iv)
	mode.CryptBlocks(out, out)
	mode.CryptBlocks(out, out) // its IV is the last block
	return out, nil
}

// wrap encrypts a key, and names the algorithm.
func (info *passwordInfo) wrap(secret, key []byte) (algorithm, []byte, error) {
	kek, err := info.derive(secret)
	if err != nil {
		return algorithm{}, nil, err
	}
	defer clear(kek)
	if info.iv == nil {
		encrypted, err := wrapKey(kek, key)
		return algorithm{oid: wraps[AES256Wrap].oid}, encrypted, err
	}
	var b cryptobyte.Builder
	algorithm{oid: ciphers[AES256CBC].oid, params: octetString(info.iv)}.add(&b, der.SEQUENCE)
	params, err := b.Bytes()
	if err != nil {
		return algorithm{}, nil, err
	}
	encrypted, err := wrapPWRI(kek, info.iv, key)
	return algorithm{oid: idPWRIKEK, params: params}, encrypted, err
}

// add writes a PasswordRecipientInfo for a key.
func (info *passwordInfo) add(b *cryptobyte.Builder, secret, key []byte) {
	wrapped, encrypted, err := info.wrap(secret, key)
	if err != nil {
		b.SetError(err)
		return
	}
	var params cryptobyte.Builder
	params.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1OctetString(info.salt)
		b.AddASN1Int64(int64(info.iterations))
		if info.prf == crypto.SHA256 { // the default is SHA-1
			algorithm{oid: idHMACWithSHA256, params: asn1NULL}.add(b, der.SEQUENCE)
		}
	})
	derivation := algorithm{oid: idPBKDF2, params: params.BytesOrPanic()}
	b.AddASN1(explicit(3), func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0)
		derivation.add(b, explicit(0))
		wrapped.add(b, der.SEQUENCE)
		b.AddASN1OctetString(encrypted)
	})
}

// newPasswordInfo has a fresh salt.
func newPasswordInfo(p Password, prf crypto.Hash) (*passwordInfo, error) {
	if p.Iterations == 0 {
		p.Iterations = defaultIterations
	}
	if p.Iterations < 1 || p.Iterations > maxIterations {
		return nil, fmt.Errorf("%w: PBKDF2 with %d iterations, want 1 to %d", ErrAlgorithm, p.Iterations, maxIterations)
	}
	info := &passwordInfo{salt: make([]byte, saltSize), iterations: p.Iterations, prf: prf, kekSize: wraps[AES256Wrap].key}
	if _, err := rand.Read(info.salt); err != nil {
		return nil, err
	}
	if p.PWRIKEK {
		info.iv = make([]byte, aes.BlockSize)
		if _, err := rand.Read(info.iv); err != nil {
			return nil, err
		}
	}
	return info, nil
}
