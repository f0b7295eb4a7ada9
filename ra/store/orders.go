// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"time"
)

// PendingOrdered is a request that no person decides about: the CA has it, and has
// yet to decide. It is asked again at Changed.
const PendingOrdered PendingState = "ordered"

// Orders are what CAs have yet to decide, among those of Pending: their Wanted is of
// the ledger, their id that of the ledger's entry.
type Orders interface {
	// Keep takes one, which is asked for again at next; one that is there stays as it
	// is. ErrFull as of Pending.Ask.
	Keep(ctx context.Context, a Asking, id string, next time.Time) error
	// Due gives some that are to be asked for, to one of several nodes alone: until
	// then nobody else gets them, and what has not been told of by then is due again.
	// What is to be asked for after latest is due as well: the clock was set back.
	Due(ctx context.Context, now, until, latest time.Time, most int) ([]Waiting, error)
	// Next says when one is asked for again; ErrUnknown: it isn't ordered any more.
	Next(ctx context.Context, id string, at time.Time) error
	// Drop forgets one. It is no error when it isn't there.
	Drop(ctx context.Context, id string) error
}

// Keep implements Orders.
func (p pending) Keep(ctx context.Context, a Asking, id string, next time.Time) error {
	if err := wantStorable("text of a request", a.Label, a.Profile, a.Who, a.Names, id); err != nil {
		return err
	}
	return p.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		var others int
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM pending`).Scan(&others); err != nil {
			return err
		}
		if others >= MostWaiting {
			return ErrFull
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO pending (`+pendingColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, 0, $7, $8, $9, $10, $11, $12, '[]', $13, $14, $15) ON CONFLICT DO NOTHING`,
			a.Request[:], id, a.Wanted[:], seconds(a.Validity), a.PolicySHA256, string(PendingOrdered), a.Op, a.Label, a.Profile, a.Who, a.Names, a.Record,
			millis(a.Now), millis(next), millis(a.Expires))
		return err
	})
}

// dueOrders are those that nobody has taken.
const dueOrders = `state = 'ordered' AND expires > $1 AND (changed <= $1 OR changed > $2)`

// Due implements Orders.
func (p pending) Due(ctx context.Context, now, until, latest time.Time, most int) ([]Waiting, error) {
	due, err := p.look(ctx, mostListed, dueOrders, millis(now), millis(latest))
	if err != nil {
		return nil, err
	}
	var mine []Waiting
	for _, w := range due[:min(len(due), most)] {
		// One statement decides, so that of several nodes one has it.
		err := p.s.writer.writeAlone(ctx, func(ctx context.Context, tx transaction) error {
			return one(tx.ExecContext(ctx, `UPDATE pending SET changed = $3 WHERE id = $4 AND `+dueOrders, millis(now), millis(latest), millis(until), w.ID))
		})
		switch {
		case errors.Is(err, ErrUnknown): // another node has
		case err != nil:
			return mine, err
		default:
			mine = append(mine, w)
		}
	}
	return mine, nil
}

// Next implements Orders.
func (p pending) Next(ctx context.Context, id string, at time.Time) error {
	return p.s.writer.writeAlone(ctx, func(ctx context.Context, tx transaction) error {
		return one(tx.ExecContext(ctx, `UPDATE pending SET changed = $2 WHERE id = $1 AND state = 'ordered'`, id, millis(at)))
	})
}

// Drop implements Orders.
func (p pending) Drop(ctx context.Context, id string) error {
	return p.s.writer.write(ctx, func(ctx context.Context, tx transaction) error {
		// What people wait for isn't among the orders.
		err := one(tx.ExecContext(ctx, `DELETE FROM pending WHERE id = $1 AND needs = 0`, id))
		if errors.Is(err, ErrUnknown) {
			return nil
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM pending_decisions WHERE id = $1`, id)
		}
		return err
	})
}
