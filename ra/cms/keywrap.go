// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto"
	"crypto/aes"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
)

// wrapIV is the default initial value (RFC 3394 section 2.2.3.1).
const wrapIV = 0xa6a6a6a6a6a6a6a6

var errUnwrap = errors.New("the key does not unwrap")

// wrapKey wraps a key of at least two blocks of 8 bytes with an AES key (RFC
// 3394 section 2.2.1).
func wrapKey(kek, key []byte) ([]byte, error) {
	if len(key) < 16 || len(key)%8 != 0 {
		return nil, fmt.Errorf("a key of %d bytes can't be wrapped", len(key))
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 8+len(key))
	copy(out[8:], key)
	var b [aes.BlockSize]byte // A and the block, as B in the text
	defer clear(b[:])
	binary.BigEndian.PutUint64(b[:8], wrapIV)
	n := len(key) / 8
	for t := range 6 * n {
		r := out[8+t%n*8:][:8]
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		copy(r, b[8:])
		xorCounter(b[:8], t+1)
	}
	copy(out, b[:8])
	return out, nil
}

// unwrapKey undoes wrapKey (RFC 3394 section 2.2.2).
func unwrapKey(kek, wrapped []byte) ([]byte, error) {
	if len(wrapped) < 24 || len(wrapped)%8 != 0 {
		return nil, errUnwrap
	}
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	key := append([]byte(nil), wrapped[8:]...)
	var b [aes.BlockSize]byte
	defer clear(b[:])
	copy(b[:8], wrapped)
	n := len(key) / 8
	for t := 6*n - 1; t >= 0; t-- {
		r := key[t%n*8:][:8]
		xorCounter(b[:8], t+1)
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(r, b[8:])
	}
	var iv [8]byte
	binary.BigEndian.PutUint64(iv[:], wrapIV)
	if subtle.ConstantTimeCompare(iv[:], b[:8]) != 1 {
		clear(key)
		return nil, errUnwrap
	}
	return key, nil
}

func xorCounter(a []byte, t int) {
	binary.BigEndian.PutUint64(a, binary.BigEndian.Uint64(a)^uint64(t)) //nolint:gosec // t counts from 1
}

// x963KDF is the key derivation of SEC 1 section 3.6.1, which RFC 5753 section
// 7.1.8 calls for.
func x963KDF(hash crypto.Hash, z, info []byte, size int) []byte {
	out := make([]byte, 0, size+hash.Size())
	var counter [4]byte
	for n := uint32(1); len(out) < size; n++ {
		binary.BigEndian.PutUint32(counter[:], n)
		h := hash.New()
		h.Write(z)
		h.Write(counter[:])
		h.Write(info)
		out = h.Sum(out)
	}
	clear(out[size:])
	return out[:size]
}
