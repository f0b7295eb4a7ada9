// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/secret"
)

type passwords struct{ s *sqlStore }

// passwordColumns are those that scanPassword reads.
const passwordColumns = `p.id, p.label, p.subject, p.san, p.created, p.expires, p.refusals, p.revoked, ` + claimColumns

const passwordsWithClaims = ` FROM passwords p LEFT JOIN claims c ON c.kind = 'password' AND c.id = p.id `

// Create implements Passwords.
func (p passwords) Create(ctx context.Context, templates []Template, now time.Time) ([]Created, error) {
	made := make([]Created, len(templates))
	rows := make([]passwordRow, len(templates))
	for i, t := range templates {
		if err := wantStorable("label", t.Label); err != nil {
			return nil, err
		}
		var err error
		if made[i], rows[i], err = newPassword(p.s.random, t, now); err != nil {
			return nil, err
		}
	}
	err := p.s.writer.writeMany(ctx, len(rows), func(ctx context.Context, tx transaction) error {
		for i, row := range rows {
			if err := row.insert(ctx, tx, i); err != nil {
				return fmt.Errorf("password %d of %d: %w", i+1, len(rows), err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// A passwordRow is a password as it is stored.
type passwordRow struct {
	Password
	salt, hash   []byte
	subject, san []byte
	proof        []byte
}

func newPassword(random io.Reader, t Template, now time.Time) (Created, passwordRow, error) {
	row := passwordRow{salt: make([]byte, saltLength)}
	id, word, text, err := newToken(random)
	if err != nil {
		return Created{}, row, err
	}
	if _, err := io.ReadFull(random, row.salt); err != nil {
		return Created{}, row, fmt.Errorf("no randomness: %w", err)
	}
	if row.hash, err = hashOf(id, word, row.salt); err != nil {
		return Created{}, row, err
	}
	if row.subject, row.san, err = encodeNames(t.Names); err != nil {
		return Created{}, row, err
	}
	if t.Proof || t.ProofV1 {
		row.proof = proofKeys(id, text, t.ProofV1).bytes()
	}
	row.Password = Password{ID: id, Template: t, Created: fromMillis(millis(now))}
	return Created{row.Password, text}, row, nil
}

// insert fails where the id is another's, by the primary key.
func (r passwordRow) insert(ctx context.Context, tx transaction, serial int) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO passwords
		(id, salt, hash, label, subject, san, created, serial, expires, refusals, revoked, proof)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, 0, $10)`,
		r.ID, r.salt, r.hash, r.Label, nullable(r.subject), nullable(r.san), millis(r.Created), serial, millis(r.Expires), nullable(r.proof))
	return err
}

// nullable: an empty slice would be an empty value.
func nullable(b []byte) sql.Null[[]byte] { return sql.Null[[]byte]{V: b, Valid: len(b) > 0} }

// dummySalt is for ids that there are not.
var dummySalt = make([]byte, saltLength)

// Verify implements Passwords. One that there isn't costs as much as one that
// is wrong.
func (p passwords) Verify(ctx context.Context, presented secret.Text, label string, now time.Time) (Password, error) {
	id, word, ok := parseToken(presented)
	if !ok {
		return Password{}, ErrUnknown
	}
	var found Password
	var salt, hash []byte
	err := p.s.look(ctx, mostRead, func(ctx context.Context) (err error) {
		row := p.s.reads.QueryRowContext(ctx, `SELECT `+passwordColumns+`, p.salt, p.hash`+passwordsWithClaims+`WHERE p.id = $1`, id)
		found, err = scanPassword(row, &salt, &hash)
		return err
	})
	known := err == nil
	if errors.Is(err, sql.ErrNoRows) {
		salt, hash, err = dummySalt, make([]byte, hashLength), nil
	}
	if err != nil {
		return Password{}, err
	}
	got, err := hashOf(id, word, salt)
	if err != nil {
		return Password{}, err
	}
	if subtle.ConstantTimeCompare(got, hash) != 1 || !known {
		return Password{}, ErrUnknown
	}
	return found, found.usable(label, now)
}

// usable says why a password can't be used.
func (p Password) usable(label string, now time.Time) error {
	why := ""
	switch state := p.State(now); {
	case p.Label != label:
		why = fmt.Sprintf("is for the label %q", p.Label)
	case state == "unused" || state == "reserved":
		return nil
	case state == "revoked":
		why = "was revoked at " + p.Revoked.Format(time.RFC3339)
	case state == "used":
		why = "has been used: a certificate was issued at " + p.Claim.Issued.Format(time.RFC3339)
	case state == "locked":
		why = fmt.Sprintf("is locked: %d requests with it were refused", p.Refusals)
	default:
		why = "expired at " + p.Expires.Format(time.RFC3339)
	}
	return &Unusable{ID: p.ID, Why: why}
}

// Refused implements Passwords.
func (p passwords) Refused(ctx context.Context, id string) error {
	return p.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		return one(tx.ExecContext(ctx, `UPDATE passwords SET refusals = refusals + 1 WHERE id = $1`, id))
	})
}

// List implements Passwords.
func (p passwords) List(ctx context.Context, label string) ([]Password, error) {
	query, args := `SELECT `+passwordColumns+passwordsWithClaims, []any{}
	if label != "" {
		query, args = query+`WHERE p.label = $1 `, []any{label}
	}
	scan := func(r scanner) (Password, error) { return scanPassword(r) }
	return list(ctx, p.s, mostListed, scan, query+`ORDER BY p.created, p.serial, p.id`, args...)
}

// Revoke implements Passwords.
func (p passwords) Revoke(ctx context.Context, ids []string, now time.Time) error {
	return p.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		for _, id := range ids {
			// One that was revoked before keeps its time.
			err := one(tx.ExecContext(ctx, `UPDATE passwords
				SET revoked = CASE WHEN revoked = 0 THEN $2 ELSE revoked END WHERE id = $1`, id, millis(now)))
			if err != nil {
				return fmt.Errorf("%s: %w", id, err)
			}
		}
		return nil
	})
}

func scanPassword(row scanner, more ...any) (p Password, err error) {
	var subject, san []byte
	var created, expires, revoked int64
	var c claimRow
	into := append([]any{&p.ID, &p.Label, &subject, &san, &created, &expires, &p.Refusals, &revoked}, c.columns()...)
	if err := row.Scan(append(into, more...)...); err != nil {
		return p, err
	}
	p.Created, p.Expires, p.Revoked, p.Claim = fromMillis(created), fromMillis(expires), fromMillis(revoked), c.claim()
	if p.Names, err = decodeNames(subject, san); err != nil {
		return p, fmt.Errorf("the names of the password %s can't be read: %w", p.ID, err)
	}
	return p, nil
}

// Proven is the password as the policy is told of it.
func (p Password) Proven(via string) policy.OneTimePassword {
	return policy.OneTimePassword{ID: p.ID, Via: via, Bound: p.Names, Expires: p.Expires}
}
