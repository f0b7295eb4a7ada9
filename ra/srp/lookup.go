// SPDX-License-Identifier: Apache-2.0

package srp

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/caddy-est/estra/ra/secret"
)

// A Lookup gives a verifier for every name of a user.
type Lookup interface {
	// Verifier gives that of a user; known tells whether there is one who may log
	// in. Else it is one that fits no password and is the same each time, so that
	// a handshake goes on and ends as with a wrong password (RFC 5054 section
	// 2.5.1.3). With an error there is none, whoever it is.
	Verifier(ctx context.Context, realm, user string) (v Verifier, known bool, err error)
}

// A Source is where verifiers are kept: the store, or a file.
type Source interface {
	// Find looks a user up, at the same cost whether there is one or not.
	Find(ctx context.Context, realm, user string) (Entry, error)
}

// An Entry is what a source has of a user.
type Entry struct {
	// Group is the realm's, and there also where the user isn't. "" is DefaultGroup.
	Group string
	// Seed is that of the realm: secret, the same for all nodes, and never changed.
	Seed secret.Bytes
	// Salt and V are the user's; empty where there is none.
	Salt []byte
	V    secret.Bytes
	// Revoked users can't log in. Their salt stays, so that nobody can tell.
	Revoked bool
}

// SeedLength is that of a Seed.
const SeedLength = 32

// NewSeed makes one.
func NewSeed(random io.Reader) (secret.Bytes, error) {
	seed := make([]byte, SeedLength)
	if _, err := io.ReadFull(random, seed); err != nil {
		return nil, fmt.Errorf("no randomness: %w", err)
	}
	return seed, nil
}

// NewLookup gives the Lookup over a source. It makes up a verifier for those that
// are known as well, and costs the same for everybody.
func NewLookup(s Source) Lookup { return lookup{s} }

type lookup struct{ source Source }

// Verifier implements Lookup.
func (l lookup) Verifier(ctx context.Context, realm, user string) (v Verifier, known bool, err error) {
	found, err := l.source.Find(ctx, realm, user)
	if err != nil {
		return Verifier{}, false, err
	}
	if found.Group == "" {
		found.Group = DefaultGroup
	}
	group, err := GroupNamed(found.Group)
	if err != nil {
		return Verifier{}, false, fmt.Errorf("the realm %q: %w", realm, err)
	}
	v, err = simulate(found.Seed, group, realm, user)
	if err != nil {
		return Verifier{}, false, err
	}
	if len(found.Salt) > 0 {
		v.Salt = found.Salt
	}
	if known = len(found.V) > 0 && !found.Revoked; known {
		v.V = found.V
	}
	return v, known, nil
}

// simulate makes the verifier of a user that isn't there: salt and verifier are
// what somebody without the seed would take for random. The verifier is no power of
// g that anybody has computed: g generates the whole group, so that each number is
// one, and a client sees it through g^b alone.
func simulate(seed secret.Bytes, group *Group, realm, user string) (Verifier, error) {
	if len(seed) != SeedLength {
		return Verifier{}, fmt.Errorf("the realm %q has a seed of %d bytes, want %d", realm, len(seed), SeedLength)
	}
	// A realm has no zero byte in it.
	made, err := hkdf.Expand(sha256.New, seed, "estra srp 1\x00"+realm+"\x00"+user, saltLength+group.size())
	if err != nil {
		return Verifier{}, err
	}
	v, err := group.number(made[saltLength:])
	if err != nil {
		return Verifier{}, err
	}
	return Verifier{Realm: realm, User: user, Group: group, Salt: cutSalt(made[:saltLength]), V: v}, nil
}
