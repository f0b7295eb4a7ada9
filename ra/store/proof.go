// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
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
func proofKeys(id string, text secret.Text) ProofKeys {
	return ProofKeys{Identity: sha256.Sum256([]byte(string(text) + id)), Link: sha256.Sum256([]byte(text))}
}

func (k ProofKeys) bytes() []byte { return append(k.Identity[:], k.Link[:]...) }

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
	case len(kept.V) != len(keys.Identity)+len(keys.Link):
		return Password{}, keys, fmt.Errorf("the password %s has %d bytes for identity proofs", id, len(kept.V))
	}
	copy(keys.Identity[:], kept.V)
	copy(keys.Link[:], kept.V[len(keys.Identity):])
	return found, keys, found.usable(label, now)
}
