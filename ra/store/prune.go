// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"
)

// A Retention says how long the store keeps what has ended.
type Retention struct {
	// Certificates is how long an entry of the inventory is kept once its
	// certificate has ended, with the marks that it is revoked or blocked; 0: for
	// ever.
	Certificates time.Duration
	// Passwords is how long a one-time password is kept once it was used, revoked or
	// has expired, with what it was reserved for; 0: for ever.
	Passwords time.Duration
	// Pause is how long others have the store between two batches.
	Pause time.Duration
}

// Pruned counts what was removed.
type Pruned struct {
	Certificates, Passwords int
	// Approvals are requests whose time to be approved, or to be fetched, is over.
	Approvals int
	// Authority are records of a CA of this process that it needs no more.
	Authority int
	// Elsewhere says that another node is at it, so that nothing was done.
	Elsewhere bool
}

// Any tells whether something was removed.
func (p Pruned) Any() bool { return p.Certificates+p.Passwords+p.Approvals+p.Authority > 0 }

// prunedAtOnce bounds what one write removes: requests may wait for it.
const prunedAtOnce = 200

// Prune implements Upkeep.
func (u upkeep) Prune(ctx context.Context, r Retention, now time.Time) (p Pruned, err error) {
	done, mine, err := u.s.turn(ctx)
	if err != nil || !mine {
		p.Elsewhere = err == nil
		return p, u.s.clean.error(err)
	}
	defer done()
	for _, kind := range []struct {
		keep  time.Duration
		asked bool
		batch func(ctx context.Context, before time.Time) (int, error)
		into  *int
	}{
		{0, true, u.pruneApprovals, &p.Approvals},
		{0, true, u.pruneAuthority, &p.Authority},
		{r.Passwords, r.Passwords > 0, u.prunePasswords, &p.Passwords},
		{r.Certificates, r.Certificates > 0, u.pruneCertificates(now), &p.Certificates},
	} {
		if !kind.asked {
			continue
		}
		if err := batches(ctx, r.Pause, kind.into, func() (int, error) { return kind.batch(ctx, now.Add(-kind.keep)) }); err != nil {
			return p, u.s.clean.error(err)
		}
	}
	return p, nil
}

// batches removes until nothing is left, and counts.
func batches(ctx context.Context, pause time.Duration, total *int, batch func() (int, error)) error {
	for {
		n, err := batch()
		*total += n
		if err != nil || n == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// remove runs a statement that removes a batch.
func (u upkeep) remove(ctx context.Context, query string, args ...any) (n int, err error) {
	err = u.s.writer.writeMany(ctx, prunedAtOnce, func(ctx context.Context, tx transaction) error {
		result, err := tx.ExecContext(ctx, query, args...)
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		n = int(rows)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// pruneCertificates removes what has ended, revoked or not. What nobody knows the
// outcome of stays until its planned end, and what the CA has yet to decide stays:
// its certificate may end later than it was planned.
func (u upkeep) pruneCertificates(now time.Time) func(context.Context, time.Time) (int, error) {
	return func(ctx context.Context, before time.Time) (int, error) {
		return u.remove(ctx, `DELETE FROM certificates WHERE id IN (SELECT id FROM certificates
			WHERE not_after > 0 AND not_after < $1 AND state <> 'pending' AND NOT (state = 'asked' AND lease > $2)
			ORDER BY not_after LIMIT $3)`, millis(before), millis(now), prunedAtOnce)
	}
}

// pruneAuthority removes what a CA of this process keeps no longer, as a new CRL
// does it.
func (u upkeep) pruneAuthority(ctx context.Context, before time.Time) (int, error) {
	return u.remove(ctx, `DELETE FROM ca_certificates WHERE (issuer, serial) IN
		(SELECT issuer, serial FROM ca_certificates WHERE until < $1 ORDER BY until LIMIT $2)`, millis(before), prunedAtOnce)
}

// pruneApprovals removes requests that nobody can approve or fetch any more.
func (u upkeep) pruneApprovals(ctx context.Context, now time.Time) (n int, err error) {
	err = u.s.writer.writeMany(ctx, mostForgotten, func(ctx context.Context, tx transaction) (err error) {
		n, err = forget(ctx, tx, now)
		return err
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// pastUse gives the passwords that are of no use to anybody since $1. One that is reserved
// for a request that waits for approval has its use, whenever it expires.
const pastUse = `SELECT p.id FROM passwords p LEFT JOIN claims c ON c.kind = 'password' AND c.id = p.id
	WHERE (c.issued > 0 AND (c.until < $1 OR c.collected > 0 AND c.collected < $1)
		OR (c.id IS NULL OR c.issued = 0 AND c.until < $1 AND NOT EXISTS (SELECT 1 FROM pending w WHERE w.uses LIKE '%"' || p.id || '"%'))
			AND (p.expires < $1 OR p.revoked > 0 AND p.revoked < $1))`

// prunePasswords looks for them outside of the write: no index has them in their
// order, and a write is what others wait for.
func (u upkeep) prunePasswords(ctx context.Context, before time.Time) (n int, err error) {
	scan := func(r scanner) (id string, err error) { return id, r.Scan(&id) }
	ids, err := list(ctx, u.s, mostListed, scan, pastUse+` ORDER BY p.id LIMIT $2`, millis(before), prunedAtOnce)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	err = u.s.writer.writeMany(ctx, len(ids), func(ctx context.Context, tx transaction) error {
		n = 0
		for _, id := range ids {
			switch err := one(tx.ExecContext(ctx, `DELETE FROM passwords WHERE id IN (`+pastUse+` AND p.id = $2)`, millis(before), id)); {
			case errors.Is(err, ErrUnknown): // it has changed since
				continue
			case err != nil:
				return err
			}
			if _, err := tx.ExecContext(ctx, `DELETE FROM claims WHERE kind = 'password' AND id = $1`, id); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// turnOne gives everybody a turn: one process has the file.
func turnOne(context.Context) (done func(), mine bool, err error) { return func() {}, true, nil }

// pruneLock is the advisory lock of the node that prunes, for each schema.
const pruneLock = applicationID

// turnOfMany gives a node its turn, unless another one has it. It ends with the
// connection, whatever becomes of the node.
func turnOfMany(db *sql.DB) func(ctx context.Context) (done func(), mine bool, err error) {
	return func(ctx context.Context) (done func(), mine bool, err error) {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, false, err
		}
		err = conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1, hashtext(current_schema()))`, pruneLock).Scan(&mine)
		if err != nil || !mine {
			return nil, false, errors.Join(err, conn.Close())
		}
		return func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), mostRead)
			defer cancel()
			if _, err := conn.ExecContext(ctx, `SELECT pg_advisory_unlock($1, hashtext(current_schema()))`, pruneLock); err != nil {
				_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // it isn't used again
			}
			_ = conn.Close() // back to the others
		}, true, nil
	}
}
