// SPDX-License-Identifier: Apache-2.0

package store

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"strings"

	"github.com/caddy-est/estra/ra/secret"
)

// A one-time password is "otp-", an id and a secret, in base32 of RFC 4648
// without capitals: otp-k3q7a2mlfw-… The id finds the row; the secret has 130
// bits. Of the letters none is like a digit that occurs.
const (
	tokenPrefix = "otp-"
	idLength    = 10 // 50 bits: it must be unlike others, not hard to guess
	secretText  = 26 // 130 bits
)

const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

// IsToken tells whether a text has the form of a one-time password.
func IsToken(text secret.Text) bool {
	_, _, ok := parseToken(text)
	return ok
}

// parseToken takes a password apart. Capitals count as small letters: people
// type.
func parseToken(text secret.Text) (id string, word secret.Text, ok bool) {
	if len(text) != len(tokenPrefix)+idLength+1+secretText {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(strings.ToLower(string(text)), tokenPrefix)
	if !ok {
		return "", "", false
	}
	id, plain, ok := strings.Cut(rest, "-")
	if !ok || len(id) != idLength || len(plain) != secretText || strings.Trim(id+plain, alphabet) != "" {
		return "", "", false
	}
	return id, secret.Text(plain), true
}

// newToken makes a password.
func newToken(random io.Reader) (id string, word, text secret.Text, err error) {
	made, err := randomText(random, idLength+secretText)
	if err != nil {
		return "", "", "", err
	}
	id, word = made[:idLength], secret.Text(made[idLength:])
	return id, word, secret.Text(tokenPrefix + id + "-" + string(word)), nil
}

func randomText(random io.Reader, n int) (string, error) {
	octets := make([]byte, (n*5+7)/8)
	if _, err := io.ReadFull(random, octets); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	return base32.NewEncoding(alphabet).WithPadding(base32.NoPadding).EncodeToString(octets)[:n], nil
}

const (
	saltLength = 16
	hashLength = sha256.Size
)

// hashOf is what is stored of a secret: HKDF with SHA-256 (RFC 5869), whose
// input has the entropy of a key. Nothing is gained by a slow hash there (see
// the decision on one-time passwords in docs/adr).
func hashOf(id string, word secret.Text, salt []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(word), salt, "estra one-time password 1 "+id, hashLength)
}
