// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/sha1" //nolint:gosec // what RFC 5272 section 6.2.2 fixes; only where it is asked for
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra/secret"
)

// proofKeys are those of a password. RFC 5272 section 6.2.3 puts the value of
// the identification control behind the secret; that is its id.
func proofKeys(id string, text secret.Text, v1 bool) ProofKeys {
	proof := []byte(string(text) + id)
	keys := ProofKeys{Identity: sha256.Sum256(proof), Link: sha256.Sum256([]byte(text))}
	if v1 {
		keys.IdentityV1 = sha1.Sum(proof) //nolint:gosec // what RFC 5272 section 6.2.2 fixes
	}
	return keys
}

// bytes are what is stored. Those of the first version stand at the end, and only
// where the password was made for it.
func (k ProofKeys) bytes() []byte {
	b := append(k.Identity[:], k.Link[:]...)
	if k.V1() {
		b = append(b, k.IdentityV1[:]...)
	}
	return b
}

// readProofKeys is the reverse of bytes.
func readProofKeys(id string, b []byte) (keys ProofKeys, err error) {
	without := len(keys.Identity) + len(keys.Link)
	if len(b) != without && len(b) != without+len(keys.IdentityV1) {
		return keys, fmt.Errorf("the password %s has %d bytes for identity proofs", id, len(b))
	}
	copy(keys.IdentityV1[:], b[without:])
	copy(keys.Identity[:], b)
	copy(keys.Link[:], b[len(keys.Identity):])
	return keys, nil
}

// Proof implements Passwords.
func (p passwords) Proof(ctx context.Context, id, label string, now time.Time) (Password, ProofKeys, error) {
	if len(id) != idLength || strings.Trim(id, alphabet) != "" {
		return Password{}, ProofKeys{}, ErrUnknown // no engine has to take it
	}
	var found Password
	var keys ProofKeys
	var kept sql.Null[[]byte]
	err := p.s.look(ctx, mostRead, func(ctx context.Context) (err error) {
		row := p.s.reads.QueryRowContext(ctx, `SELECT `+passwordColumns+`, p.proof`+passwordsWithClaims+`WHERE p.id = $1`, id)
		found, err = scanPassword(row, &kept)
		return err
	})
	switch {
	case errors.Is(err, sql.ErrNoRows) || err == nil && !kept.Valid:
		return Password{}, keys, ErrUnknown
	case err != nil:
		return Password{}, keys, err
	}
	if keys, err = readProofKeys(id, kept.V); err != nil {
		return Password{}, keys, err
	}
	return found, keys, found.usable(label, now)
}
