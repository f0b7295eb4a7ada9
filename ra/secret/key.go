// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
)

// Bytes are bytes that no format verb and no encoder shows. A conversion to
// []byte is the only way to them, so that a reader finds every use.
type Bytes []byte

// Format implements fmt.Formatter, for every verb.
func (Bytes) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText implements encoding.TextMarshaler, and so JSON and YAML.
func (Bytes) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalBinary implements encoding.BinaryMarshaler, and so gob.
func (Bytes) MarshalBinary() ([]byte, error) { return []byte(hidden), nil }

// Clear overwrites the bytes.
func (b Bytes) Clear() { clear(b) }

// A Key is a private key that no format verb and no encoder shows, also where
// it stands in a field that isn't exported: fmt asks no method of such a field,
// and prints what a pointer there leads to, but of a function no more than its
// address. The zero value is none.
type Key struct{ held func() *held }

type held struct {
	signer crypto.Signer
	pkcs8  Bytes
}

// NewKey takes a private key, and encodes it as PKCS #8.
func NewKey(signer crypto.Signer) (Key, error) {
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		return Key{}, err
	}
	h := &held{signer, der}
	return Key{func() *held { return h }}, nil
}

// Signer signs with the key; nil where there is none.
func (k Key) Signer() crypto.Signer {
	if k.held == nil {
		return nil
	}
	return k.held().signer
}

// PKCS8 is the key as PrivateKeyInfo in DER (RFC 5958). It is cleared with the
// key.
func (k Key) PKCS8() Bytes {
	if k.held == nil {
		return nil
	}
	return k.held().pkcs8
}

// Clear overwrites what of the key is in memory that is ours. What the crypto
// packages have copied for themselves stays until it is overwritten by chance.
// The key can't be used any more.
func (k Key) Clear() {
	if k.held == nil {
		return
	}
	k.held().pkcs8.Clear()
	switch key := k.held().signer.(type) {
	case *ecdsa.PrivateKey:
		clearNumbers(key.D) //nolint:staticcheck // nothing else reaches the bytes to be overwritten
	case *rsa.PrivateKey:
		clearNumbers(append(key.Primes, key.D, key.Precomputed.Dp, key.Precomputed.Dq, key.Precomputed.Qinv)...)
	case ed25519.PrivateKey:
		clear(key)
	}
	k.held().signer, k.held().pkcs8 = nil, nil
}

func clearNumbers(numbers ...*big.Int) {
	for _, n := range numbers {
		if n != nil {
			clear(n.Bits())
		}
	}
}

// Format implements fmt.Formatter, for every verb.
func (Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText implements encoding.TextMarshaler, and so JSON and YAML.
func (Key) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// MarshalBinary implements encoding.BinaryMarshaler, and so gob.
func (Key) MarshalBinary() ([]byte, error) { return []byte(hidden), nil }
