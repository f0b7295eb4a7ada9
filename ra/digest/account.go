// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-est/estra/ra/secret"
)

// Realm is that of our own challenges.
const Realm = "estra"

// An Account is one line of a store: USER:REALM:ALGORITHM:HASH. The hash is
// H(user:realm:password). It isn't the password, but as good as it is for this
// realm (RFC 7616 section 5.13).
type Account struct {
	User, Realm string
	Algorithm   Algorithm
	Hash        secret.Text // lower-case hexadecimal
}

// NewAccount makes the account of a password.
func NewAccount(user, realm string, algorithm Algorithm, password secret.Text) (Account, error) {
	a := Account{User: user, Realm: realm, Algorithm: algorithm}
	for _, field := range []struct{ what, text string }{{"user", user}, {"realm", realm}} {
		if err := checkName(field.what, field.text); err != nil {
			return a, err
		}
	}
	if password == "" {
		return a, fmt.Errorf("the password is empty")
	}
	a.Hash = secret.Text(algorithm.hash(user, realm, string(password)))
	if a.Hash == "" {
		return a, fmt.Errorf("the algorithm %q is neither SHA-256 nor MD5", algorithm)
	}
	return a, nil
}

// Line gives the account as Parse reads it. It holds the hash.
func (a Account) Line() string {
	return a.User + ":" + a.Realm + ":" + string(a.Algorithm) + ":" + string(a.Hash) + "\n"
}

// checkName: a colon ends a field of the store and of what is hashed, and a
// quote or a backslash is written in two ways in a header.
func checkName(what, text string) error {
	odd := func(r rune) bool { return r == ':' || r == '"' || r == '\\' || unicode.IsControl(r) }
	if text == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, odd) {
		return fmt.Errorf("the %s can't be %q: it is UTF-8 without colons, quotes, backslashes and control characters, and not empty", what, text)
	}
	return nil
}

// Parse reads a store: a line for each account and algorithm. Empty lines and
// those that begin with # are left out. No message shows a hash.
func Parse(name string, src []byte) ([]Account, error) {
	var accounts []Account
	seen := map[string]int{}
	for i, line := range strings.Split(string(src), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		a, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		key := a.User + ":" + string(a.Algorithm)
		if before, twice := seen[key]; twice {
			return nil, fmt.Errorf("%s:%d: the user %q has a hash for %s already on line %d", name, i+1, a.User, a.Algorithm, before)
		}
		seen[key] = i + 1
		if len(accounts) > 0 && a.Realm != accounts[0].Realm {
			return nil, fmt.Errorf("%s:%d: the realm is %q, and in the lines before it %q: a challenge has one", name, i+1, a.Realm, accounts[0].Realm)
		}
		accounts = append(accounts, a)
	}
	if len(accounts) == 0 {
		return nil, fmt.Errorf("%s: there is no account in it; `caddy est digest USER` makes one", name)
	}
	return accounts, nil
}

func parseLine(line string) (Account, error) {
	fields := strings.Split(line, ":")
	if len(fields) != 4 {
		return Account{}, fmt.Errorf("this is no line of `caddy est digest`, which is USER:REALM:ALGORITHM:HASH")
	}
	a := Account{User: fields[0], Realm: fields[1], Algorithm: Algorithm(fields[2]), Hash: secret.Text(strings.ToLower(fields[3]))}
	if err := checkName("user", a.User); err != nil {
		return a, err
	}
	if err := checkName("realm", a.Realm); err != nil {
		return a, err
	}
	want := len(a.Algorithm.hash())
	if want == 0 {
		return a, fmt.Errorf("the algorithm %q is neither SHA-256 nor MD5", a.Algorithm)
	}
	if raw, err := hex.DecodeString(string(a.Hash)); err != nil || len(raw)*2 != want {
		return a, fmt.Errorf("the hash of the user %q isn't %d hexadecimal digits: was it cut off?", a.User, want)
	}
	return a, nil
}
