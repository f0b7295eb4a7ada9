// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// The fields of a line, with tabs between them: the kind of line, then
//
//	realm  NAME  GROUP  SEED
//	user   REALM  NAME  SALT  VERIFIER  CREATED  REVOKED  NOTE
const (
	realmFields = 4
	userFields  = 8
)

// parseFile reads a file of ours. No message shows a verifier.
func parseFile(name string, src []byte) (directory, error) {
	d := directory{}
	for i, line := range strings.Split(string(src), "\n") {
		line = strings.TrimSuffix(line, "\r")
		if strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := d.line(strings.Split(line, "\t")); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
	}
	return d, nil
}

func (d directory) line(fields []string) error {
	switch {
	case fields[0] == "realm" && len(fields) == realmFields:
		return d.realmLine(fields)
	case fields[0] == "user" && len(fields) == userFields:
		return d.userLine(fields)
	case len(fields) == vfileFields && (fields[0] == vfileValid || fields[0] == vfileGroup || fields[0] == vfileRevoked):
		return fmt.Errorf("this is a line of OpenSSL's srp.vfile: `caddy est srp import` reads that")
	default:
		return fmt.Errorf("this is no line of `caddy est srp`: want `realm` with %d fields or `user` with %d, and tabs between them", realmFields, userFields)
	}
}

func (d directory) realmLine(fields []string) error {
	name := fields[1]
	if err := CheckRealm(name); err != nil {
		return err
	}
	if d[name] != nil {
		return fmt.Errorf("the realm %q is there twice", name)
	}
	group, err := GroupNamed(fields[2])
	if err != nil {
		return err
	}
	seed, err := hex.DecodeString(fields[3])
	if err != nil || len(seed) != SeedLength {
		return fmt.Errorf("the seed of the realm %q isn't %d hexadecimal digits: was it cut off?", name, 2*SeedLength)
	}
	d[name] = &fileRealm{group: group, seed: seed, users: map[string]User{}}
	return nil
}

func (d directory) userLine(fields []string) error {
	r := d[fields[1]]
	if r == nil {
		return fmt.Errorf("the realm %.100q has no line above", fields[1])
	}
	u := User{Note: fields[7]}
	u.Realm, u.User, u.Group = fields[1], fields[2], r.group
	if _, twice := r.users[u.User]; twice {
		return fmt.Errorf("the user %q is there twice", u.User)
	}
	var wrong [4]error
	u.Salt, wrong[0] = hex.DecodeString(fields[3])
	u.V, wrong[1] = hex.DecodeString(fields[4])
	u.Created, wrong[2] = time.Parse(time.RFC3339, fields[5])
	if fields[6] != never {
		u.Revoked, wrong[3] = time.Parse(time.RFC3339, fields[6])
	}
	for i, what := range []string{"salt", "verifier", "time of making", "time of revoking"} {
		if wrong[i] != nil { // which would show the field
			return fmt.Errorf("the %s of the user %.300q can't be read", what, u.User)
		}
	}
	if err := u.Check(); err != nil {
		return fmt.Errorf("the user %.300q: %w", u.User, err)
	}
	r.users[u.User] = u
	return nil
}
