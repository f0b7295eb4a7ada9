// SPDX-License-Identifier: Apache-2.0

// Package srp has the users of certificate-less TLS (RFC 7030 section 3.3.3, RFC
// 5054): the groups, verifiers, where they are looked up, and the files with them.
// The handshake isn't here.
package srp

import (
	"crypto/fips140"
	"crypto/sha1" //nolint:gosec // RFC 5054 section 2.4 has no other
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/caddy-est/estra/ra/secret"
)

// A Verifier is what a server has of a user's password. Who has it can pass for
// the server, and try passwords as fast as SHA-1 goes: it is kept like a key.
type Verifier struct {
	Realm, User string
	Group       *Group
	// Salt is shown to everybody who says the name of the user.
	Salt []byte
	// V is g^x, most significant byte first, as long as the prime.
	V secret.Bytes
}

// saltLength is that of OpenSSL.
const saltLength = 20

// MostName is the longest name of a user: RFC 5054 section 2.8.1 has a byte for
// the length.
const MostName = 255

// New makes the verifier of a password in a realm. It fails where the name can't
// be one, and in a FIPS mode that enforces.
func New(random io.Reader, group *Group, realm, user string, password secret.Text) (Verifier, error) {
	if err := errors.Join(CheckRealm(realm), CheckUser(user)); err != nil {
		return Verifier{}, err
	}
	if password == "" {
		return Verifier{}, errors.New("the password is empty")
	}
	salt := make([]byte, saltLength)
	if _, err := io.ReadFull(random, salt); err != nil {
		return Verifier{}, fmt.Errorf("no randomness: %w", err)
	}
	return newVerifier(group, realm, user, password, cutSalt(salt))
}

// cutSalt leaves out zeros in front. OpenSSL reads a salt as a number, and sends
// it without them; a client that hashes what was sent needs the same.
func cutSalt(salt []byte) []byte {
	if salt = trimZeros(salt); len(salt) == 0 {
		return []byte{1}
	}
	return salt
}

func newVerifier(group *Group, realm, user string, password secret.Text, salt []byte) (Verifier, error) {
	if fips140.Enforced() {
		return Verifier{}, ErrFIPS
	}
	x := exponent(salt, user, password)
	return Verifier{Realm: realm, User: user, Group: group, Salt: salt, V: group.power(x)}, nil
}

// ErrFIPS: SRP isn't an approved algorithm, and neither is SHA-1 in it.
var ErrFIPS = errors.New("SRP isn't approved by FIPS 140-3, and GODEBUG=fips140=only allows nothing else")

// exponent is x (RFC 5054 section 2.4), whose hash is SHA-1 for everybody.
func exponent(salt []byte, user string, password secret.Text) []byte {
	inner := sha1.Sum([]byte(user + ":" + string(password)))           //nolint:gosec // see the import
	outer := sha1.Sum(append(salt[:len(salt):len(salt)], inner[:]...)) //nolint:gosec // see the import
	return outer[:]
}

// passwordText is 130 bits.
const passwordText = 26

// NewPassword makes a password of 130 random bits, in small letters and digits:
// SHA-1 once makes every other kind of password cheap to find for who has the
// verifier.
func NewPassword(random io.Reader) (secret.Text, error) {
	octets := make([]byte, (passwordText*5+7)/8)
	if _, err := io.ReadFull(random, octets); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(octets)
	return secret.Text(strings.ToLower(text[:passwordText])), nil
}

// CheckUser says why a text can't be a user's name: it is ASCII that can be seen,
// of which SASLprep (RFC 5054 section 2.3) changes nothing, so that every client
// sends the same bytes. A backslash would escape something in OpenSSL's file.
func CheckUser(user string) error {
	odd := func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }
	if user == "" || len(user) > MostName || strings.ContainsFunc(user, odd) {
		return fmt.Errorf("the user can't be %.300q: want 1 to %d visible ASCII characters without a backslash", user, MostName)
	}
	return nil
}

// mostRealm is the longest name of a realm.
const mostRealm = 64

// CheckRealm says why a text can't be the name of a realm. Nobody sends it, and
// REALM/USER is one word of a command.
func CheckRealm(realm string) error {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789.-_"
	if realm == "" || len(realm) > mostRealm || strings.Trim(realm, letters) != "" {
		return fmt.Errorf("the realm can't be %.100q: want 1 to %d small letters, digits, dots, hyphens and underscores", realm, mostRealm)
	}
	return nil
}
