// SPDX-License-Identifier: Apache-2.0

package cms

import (
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"
)

// maxKeys bounds a key package.
const maxKeys = 16

// KeyPackage makes an AsymmetricKeyPackage (RFC 5958 section 2), the content of
// type [IDKeyPackage], of private keys as x509.MarshalPKCS8PrivateKey makes them:
// a PrivateKeyInfo is a OneAsymmetricKey of version 1. Whoever calls clears the
// keys and the package when they are done with.
func KeyPackage(pkcs8 ...[]byte) ([]byte, error) {
	if len(pkcs8) == 0 {
		return nil, errors.New("key package: there is no key")
	}
	size := 0
	for i, key := range pkcs8 {
		if _, err := x509.ParsePKCS8PrivateKey(key); err != nil {
			return nil, fmt.Errorf("key package: key %d is no PKCS #8 private key", i+1)
		}
		size += len(key)
	}
	// A builder that grows would leave copies behind.
	out := appendHeader(make([]byte, 0, headerSize(size)+size), tagSequence, size)
	for _, key := range pkcs8 {
		out = append(out, key...)
	}
	return out, nil
}

// ReadKeyPackage gives the keys of an AsymmetricKeyPackage, each for
// x509.ParsePKCS8PrivateKey; it takes OneAsymmetricKey of version 2 as well.
// Attributes and public keys in it are left where they are.
func ReadKeyPackage(content []byte) ([][]byte, error) {
	content, err := DER(content)
	if err != nil {
		return nil, fmt.Errorf("key package: %w", err)
	}
	input, body := cryptobyte.String(content), cryptobyte.String(nil)
	if !input.ReadASN1(&body, der.SEQUENCE) {
		return nil, errors.New("key package: it is no SEQUENCE")
	}
	var keys [][]byte
	for !body.Empty() {
		var key cryptobyte.String
		if len(keys) == maxKeys || !body.ReadASN1Element(&key, der.SEQUENCE) {
			return nil, fmt.Errorf("key package: key %d is malformed, or there are more than %d", len(keys)+1, maxKeys)
		}
		if _, err := x509.ParsePKCS8PrivateKey(key); err != nil {
			return nil, fmt.Errorf("key package: key %d is no private key that is known", len(keys)+1)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("key package: it holds no key")
	}
	return keys, nil
}
