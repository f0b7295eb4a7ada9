// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// OpenSSL's srp.vfile, which `openssl srp` writes, is a table with tabs: the kind
// of line, the verifier, the salt, the user, the name of the group, a note. A line
// of the kind I has a group of its own: prime, generator, name.
const (
	vfileFields  = 6
	vfileValid   = "V"
	vfileRevoked = "R"
	vfileGroup   = "I"
)

// vfileAlphabet is base64's in the order of SRP, which counts from 0. A number
// is filled up on its left side.
var vfileAlphabet = base64.NewEncoding("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz./").WithPadding(base64.NoPadding).Strict()

// mostWrong is how many lines an error names.
const mostWrong = 10

// ReadVFile reads a srp.vfile of OpenSSL: users that were not revoked. name is for
// messages, which show no verifier. Groups with fewer than 2048 bits are refused,
// and those that aren't in RFC 5054.
func ReadVFile(name, realm string, src []byte) ([]User, error) {
	r := vfileReader{realm: realm, groups: map[string]*Group{}, seen: map[string]int{}}
	for i, line := range strings.Split(string(src), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := r.line(i+1, line); err != nil {
			r.wrong = append(r.wrong, fmt.Errorf("%s:%d: %w", name, i+1, err))
		}
	}
	if more := len(r.wrong) - mostWrong; more > 0 {
		r.wrong = append(r.wrong[:mostWrong], fmt.Errorf("%s: %d more lines are wrong", name, more))
	}
	if err := errors.Join(r.wrong...); err != nil {
		return nil, err
	}
	if len(r.users) == 0 {
		return nil, fmt.Errorf("%s: there is no user in it", name)
	}
	return r.users, nil
}

type vfileReader struct {
	realm  string
	groups map[string]*Group // of this file; nil: one we don't take
	seen   map[string]int
	users  []User
	wrong  []error
}

func (r *vfileReader) line(number int, line string) error {
	fields := strings.Split(line, "\t")
	if len(fields) != vfileFields {
		return fmt.Errorf("this is no line of OpenSSL's srp.vfile: it has %d fields with tabs between them, want %d", len(fields), vfileFields)
	}
	switch fields[0] {
	case vfileRevoked:
		return nil
	case vfileGroup:
		return r.group(fields)
	case vfileValid:
		return r.user(number, fields)
	default:
		return fmt.Errorf("the line begins with %.20q, want %s, %s or %s", fields[0], vfileValid, vfileRevoked, vfileGroup)
	}
}

// group reads a line that names a group. One that nobody uses may be any.
func (r *vfileReader) group(fields []string) error {
	n, err := vfileNumber("prime", fields[1])
	if err != nil {
		return err
	}
	g, err := vfileNumber("generator", fields[2])
	if err != nil {
		return err
	}
	same := func(group *Group) bool {
		return bytes.Equal(group.prime(), trimZeros(n)) && bytes.Equal(group.G(), trimZeros(g))
	}
	r.groups[fields[3]] = nil
	if i := slices.IndexFunc(groups, same); i >= 0 {
		r.groups[fields[3]] = groups[i]
	}
	return nil
}

func (r *vfileReader) user(number int, fields []string) (err error) {
	u := User{Note: fields[5]}
	u.Realm, u.User = r.realm, fields[3]
	if err := CheckUser(u.User); err != nil {
		return err
	}
	if before, twice := r.seen[u.User]; twice {
		return fmt.Errorf("the user %q is on line %d already", u.User, before)
	}
	r.seen[u.User] = number
	if u.Group, err = r.named(fields[4]); err != nil {
		return fmt.Errorf("the user %q: %w", u.User, err)
	}
	if u.V, err = vfileNumber("verifier", fields[1]); err == nil {
		u.V, err = u.Group.element(u.V)
	}
	if err != nil {
		return fmt.Errorf("the user %q: %w", u.User, err)
	}
	salt, err := vfileNumber("salt", fields[2])
	if err != nil {
		return fmt.Errorf("the user %q: %w", u.User, err)
	}
	u.Salt = cutSalt(salt)
	if err := u.Check(); err != nil {
		return fmt.Errorf("the user %q: %w", u.User, err)
	}
	r.users = append(r.users, u)
	return nil
}

func (r *vfileReader) named(name string) (*Group, error) {
	own, written := r.groups[name]
	switch {
	case !written:
		return GroupNamed(name)
	case own == nil:
		return nil, fmt.Errorf("the group %.40q of this file is none of RFC 5054 with 2048 bits or more", name)
	default:
		return own, nil
	}
}

// vfileNumber reads base64 of SRP. What fills it up has no weight.
func vfileNumber(what, text string) ([]byte, error) {
	fill := (4 - len(text)%4) % 4
	octets, err := vfileAlphabet.DecodeString(strings.Repeat("0", fill) + text)
	if err != nil || text == "" || fill == 3 || len(trimZeros(octets[:fill])) > 0 {
		return nil, fmt.Errorf("the %s is not base64 in SRP's alphabet", what)
	}
	return octets[fill:], nil
}
