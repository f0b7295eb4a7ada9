// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/srp"
)

// srpUsers are srp.Users.
type srpUsers struct{ s *sqlStore }

// Find implements srp.Source. A realm that nobody has asked for gets its seed:
// from then on it answers the same for ever.
func (u srpUsers) Find(ctx context.Context, realm, user string) (found srp.Entry, err error) {
	if !storable(user) { // nobody has such a name
		user = ""
	}
	if err := srp.CheckRealm(realm); err != nil {
		return found, err
	}
	found, err = u.find(ctx, realm, user)
	if !errors.Is(err, sql.ErrNoRows) {
		return found, err
	}
	err = u.s.writer.write(ctx, func(ctx context.Context, tx transaction) error { return u.makeRealm(ctx, tx, realm, srp.DefaultGroup) })
	if err != nil {
		return found, err
	}
	return u.find(ctx, realm, user)
}

func (u srpUsers) find(ctx context.Context, realm, user string) (found srp.Entry, err error) {
	err = u.s.look(ctx, mostRead, func(ctx context.Context) error {
		var seed, verifier []byte
		var revoked int64
		// One query for those that are there and those that aren't.
		err := u.s.reads.QueryRowContext(ctx, `SELECT r.prime, r.seed, u.salt, u.verifier, COALESCE(u.revoked, 0)
			FROM srp_realms r LEFT JOIN srp_users u ON u.realm = r.realm AND u.username = $2 WHERE r.realm = $1`, realm, user).
			Scan(&found.Group, &seed, &found.Salt, &verifier, &revoked)
		found.Seed, found.V, found.Revoked = seed, secret.Bytes(verifier), revoked != 0
		return err
	})
	return found, err
}

// makeRealm makes a realm where there is none.
func (u srpUsers) makeRealm(ctx context.Context, tx transaction, realm, group string) error {
	seed, err := srp.NewSeed(u.s.random)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO srp_realms (realm, prime, seed) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, realm, group, []byte(seed))
	return err
}

// Add implements srp.Users.
func (u srpUsers) Add(ctx context.Context, users []srp.User, replace bool, now time.Time) error {
	for _, user := range users {
		if err := user.Check(); err != nil {
			return fmt.Errorf("%.300q: %w", user.User, err)
		}
	}
	// In one order, as claims are reserved.
	users = slices.SortedFunc(slices.Values(users), func(a, b srp.User) int {
		return strings.Compare(a.Realm+"/"+a.User, b.Realm+"/"+b.User)
	})
	return u.s.writer.writeMany(ctx, len(users), func(ctx context.Context, tx transaction) error {
		for i, user := range users {
			if i == 0 || user.Realm != users[i-1].Realm {
				if err := u.lockRealm(ctx, tx, user); err != nil {
					return err
				}
			}
			if i > 0 && user.Realm == users[i-1].Realm && user.Group != users[i-1].Group {
				return srp.OtherGroup(user, users[i-1].Group.Name())
			}
			if err := insertSRP(ctx, tx, user, replace, now); err != nil {
				return err
			}
		}
		return nil
	})
}

// lockRealm makes the realm of a user, and lets only one node at a time add to
// it. As long as it has no user, it takes the group of the first.
func (u srpUsers) lockRealm(ctx context.Context, tx transaction, user srp.User) error {
	if err := u.makeRealm(ctx, tx, user.Realm, user.Group.Name()); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `UPDATE srp_realms SET prime =
		CASE WHEN EXISTS (SELECT 1 FROM srp_users u WHERE u.realm = srp_realms.realm) THEN prime ELSE $2 END WHERE realm = $1`,
		user.Realm, user.Group.Name())
	if err != nil {
		return err
	}
	var group string
	if err := tx.QueryRowContext(ctx, `SELECT prime FROM srp_realms WHERE realm = $1`, user.Realm).Scan(&group); err != nil {
		return err
	}
	if group != user.Group.Name() {
		return srp.OtherGroup(user, group)
	}
	return nil
}

func insertSRP(ctx context.Context, tx transaction, user srp.User, replace bool, now time.Time) error {
	onConflict := `ON CONFLICT DO NOTHING`
	if replace {
		onConflict = `ON CONFLICT (realm, username) DO UPDATE SET salt = excluded.salt, verifier = excluded.verifier,
			created = excluded.created, revoked = 0, note = excluded.note`
	}
	err := one(tx.ExecContext(ctx, `INSERT INTO srp_users (realm, username, salt, verifier, created, revoked, note)
		VALUES ($1, $2, $3, $4, $5, 0, $6) `+onConflict, user.Realm, user.User, user.Salt, []byte(user.V), millis(now), user.Note))
	if errors.Is(err, ErrUnknown) {
		return fmt.Errorf("%s: %w", user.User, srp.ErrTaken)
	}
	return err
}

// List implements srp.Users.
func (u srpUsers) List(ctx context.Context, realm string) ([]srp.User, error) {
	query, args := `SELECT u.realm, u.username, r.prime, u.created, u.revoked, u.note FROM srp_users u JOIN srp_realms r ON r.realm = u.realm `, []any{}
	if realm != "" {
		query, args = query+`WHERE u.realm = $1 `, []any{realm}
	}
	return list(ctx, u.s, mostListed, scanSRP, query+`ORDER BY u.realm, u.username`, args...)
}

func scanSRP(row scanner) (user srp.User, err error) {
	var group string
	var created, revoked int64
	if err := row.Scan(&user.Realm, &user.User, &group, &created, &revoked, &user.Note); err != nil {
		return user, err
	}
	user.Created, user.Revoked = fromMillis(created), fromMillis(revoked)
	user.Group, err = srp.GroupNamed(group)
	return user, err
}

// Revoke implements srp.Users.
func (u srpUsers) Revoke(ctx context.Context, realm string, users []string, now time.Time) error {
	if err := wantStorable("user", users...); err != nil {
		return err
	}
	return u.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		for _, name := range users {
			// One that was revoked before keeps its time.
			err := one(tx.ExecContext(ctx, `UPDATE srp_users
				SET revoked = CASE WHEN revoked = 0 THEN $3 ELSE revoked END WHERE realm = $1 AND username = $2`, realm, name, millis(now)))
			if errors.Is(err, ErrUnknown) {
				return fmt.Errorf("%s/%s: %w", realm, name, srp.ErrUnknown)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
