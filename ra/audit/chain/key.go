// SPDX-License-Identifier: Apache-2.0

package chain

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

const (
	privateBlock = "PRIVATE KEY"
	publicBlock  = "PUBLIC KEY"
)

// ReadKey reads the private key that signs checkpoints: Ed25519 in PKCS #8, PEM.
func ReadKey(name string) (ed25519.PrivateKey, error) {
	parsed, err := readPEM(name, privateBlock, func(der []byte) (ed25519.PrivateKey, error) {
		key, err := x509.ParsePKCS8PrivateKey(der)
		if err != nil {
			return nil, err
		}
		private, ok := key.(ed25519.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("it is a key of the type %T", key)
		}
		return private, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w; want an Ed25519 key in PKCS #8, as `openssl genpkey -algorithm ed25519` makes it", err)
	}
	return parsed, nil
}

// ReadPublicKey reads the public half of it, in PEM.
func ReadPublicKey(name string) (ed25519.PublicKey, error) {
	parsed, err := readPEM(name, publicBlock, func(der []byte) (ed25519.PublicKey, error) {
		key, err := x509.ParsePKIXPublicKey(der)
		if err != nil {
			return nil, err
		}
		public, ok := key.(ed25519.PublicKey)
		if !ok {
			return nil, fmt.Errorf("it is a key of the type %T", key)
		}
		return public, nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w; want the public half of an Ed25519 key, as `openssl pkey -pubout` prints it", err)
	}
	return parsed, nil
}

// The errors that are returned hold nothing of the file.
func readPEM[T any](name, block string, parse func([]byte) (T, error)) (key T, err error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return key, err
	}
	found, _ := pem.Decode(text)
	if found == nil || found.Type != block {
		return key, fmt.Errorf("%s has no PEM block %q first", name, block)
	}
	if key, err = parse(found.Bytes); err != nil {
		return key, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

// Public is the public half of a key.
func Public(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

// KeptKey reads the key of a file, and makes it where it isn't there, with its
// public half beside it: NAME.pub.
func KeptKey(name string) (ed25519.PrivateKey, error) {
	if _, err := os.Stat(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return ReadKey(name)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(name+".pub", pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	if der, err = x509.MarshalPKCS8PrivateKey(private); err != nil {
		return nil, err
	}
	// Beside and renamed: half a key would keep the server from starting.
	part := name + ".new"
	if err := os.WriteFile(part, pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), 0o600); err != nil {
		return nil, err
	}
	return private, os.Rename(part, name)
}
