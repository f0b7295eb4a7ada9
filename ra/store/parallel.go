// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// mostWritten bounds a change, with its repetitions, and rowTime what each
	// of many rows may add to it.
	mostWritten = 10 * time.Second
	rowTime     = 5 * time.Millisecond
)

// parallel is the committer for a server that has many connections. Each
// change is a transaction of its own, and the server flushes those together
// that commit while a flush is under way. So a change that waits for another
// node's lock holds nobody up, and the way to the server is paid in parallel.
type parallel struct {
	db    *sql.DB
	slots chan struct{}
	clean cleaner
	stop  chan struct{}
	once  sync.Once
}

func newParallel(db *sql.DB, clean cleaner) *parallel {
	return &parallel{db: db, slots: make(chan struct{}, writers), clean: clean, stop: make(chan struct{})}
}

// write implements committer.
func (p *parallel) write(ctx context.Context, do change) error { return p.writeMany(ctx, 1, do) }

// writeAlone implements committer. Each change is alone in its transaction.
func (p *parallel) writeAlone(ctx context.Context, do change) error { return p.writeMany(ctx, 1, do) }

// writeMany implements committer.
func (p *parallel) writeMany(ctx context.Context, rows int, do change) error {
	select {
	case <-p.stop:
		return errClosed
	default:
	}
	select {
	case p.slots <- struct{}{}:
	case <-p.stop:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-p.slots }()
	// Once begun, the change doesn't end with the one who asks: nobody would
	// know whether it is there.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), mostWritten+time.Duration(rows)*rowTime)
	defer cancel()
	return p.clean.repeat(bounded, func() (bool, error) {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		return p.attempt(bounded, do)
	})
}

// attempt makes a change in a transaction. again tells that it certainly isn't
// there, and that another attempt may go well.
func (p *parallel) attempt(ctx context.Context, do change) (again bool, err error) {
	tx, err := p.db.BeginTx(ctx, nil)
	if err != nil {
		return transient(err), err
	}
	if err := guarded(ctx, tx, do); err != nil {
		_ = tx.Rollback() // the connection may have ended
		return transient(err), err
	}
	if err := tx.Commit(); err != nil {
		// Without an answer of the server nobody knows.
		var answer *pgconn.PgError
		return errors.As(err, &answer) && conflict(answer), err
	}
	return false, nil
}

// close implements committer.
func (p *parallel) close() {
	p.once.Do(func() { close(p.stop) })
	for range cap(p.slots) {
		p.slots <- struct{}{}
	}
}
