// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/caddy-est/estra/ra/srp"
)

// A transaction is one of the database, or the connection that one is open on.
type transaction interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// A change is one write: all of it or nothing. It may be run again.
type change func(ctx context.Context, tx transaction) error

// A committer makes changes durable: when write gives no error, what it has
// changed survives a loss of power. Changes that come at once share flushes.
type committer interface {
	// write makes a change. A context that ends too late to keep the change out
	// is no error.
	write(ctx context.Context, do change) error
	// writeAlone makes a change whose last statement alone changes anything.
	writeAlone(ctx context.Context, do change) error
	// writeMany makes one change of so many rows, which may take longer.
	writeMany(ctx context.Context, rows int, do change) error
	// close ends it. What has been begun is ended.
	close()
}

// mostRead bounds a look-up: a server that no longer answers must not hold
// requests. A list may take longer.
const (
	mostRead   = 10 * time.Second
	mostListed = 10 * time.Minute
)

// A sqlStore is a Store in SQL.
type sqlStore struct {
	random io.Reader
	writes *sql.DB
	reads  *sql.DB // may be the same
	writer committer
	lock   io.Closer // nil: several processes may have it
	clean  cleaner

	// prepared are statements of the connection that writes, where there is one.
	prepared map[string]*sql.Stmt
	// settled waits until what can be read is on the disk; nil: it always is.
	settled func()
	// readied are statements that read, where the driver doesn't keep them.
	readied map[string]*sql.Stmt

	engine   string // for people
	was      int    // the schema before it was opened
	restored int    // rows
	// examine finds what is wrong with the engine's part.
	examine func(ctx context.Context, tx transaction) ([]string, error)
	// turn gives one process at a time its turn to prune.
	turn     func(ctx context.Context) (done func(), mine bool, err error)
	snapshot *sql.TxOptions // of a transaction whose reads are of one instant; nil: of any
}

// Passwords implements Store.
func (s *sqlStore) Passwords() Passwords { return passwords{s} }

// Devices implements Store.
func (s *sqlStore) Devices() Devices { return devices{s} }

// Claims implements Store.
func (s *sqlStore) Claims() Claims { return claims{s} }

// Renewals implements Store.
func (s *sqlStore) Renewals() Renewals { return renewals{s} }

// Certificates implements Store.
func (s *sqlStore) Certificates() Certificates { return certificates{s} }

// Authorities implements Store.
func (s *sqlStore) Authorities() Authorities { return authorities{s} }

// Made implements Store.
func (s *sqlStore) Made() Made { return made{s} }

// SRP implements Store.
func (s *sqlStore) SRP() srp.Users { return srpUsers{s} }

// Pending implements Store.
func (s *sqlStore) Pending() Pending { return pending{s} }

// Orders implements Store.
func (s *sqlStore) Orders() Orders { return pending{s} }

// Upkeep implements Store.
func (s *sqlStore) Upkeep() Upkeep { return upkeep{s} }

// Close implements Store.
func (s *sqlStore) Close() error {
	var errs []error
	if s.writer != nil {
		s.writer.close()
	}
	for _, db := range []*sql.DB{s.reads, s.writes} {
		if db != nil {
			errs = append(errs, db.Close()) // closing it twice is nothing
		}
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// look reads, once more where the connection was broken.
func (s *sqlStore) look(ctx context.Context, most time.Duration, do func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	return s.clean.repeat(ctx, func() (bool, error) {
		err := do(ctx)
		return transient(err), err
	})
}

// ready prepares statements. A connection must be free.
func ready(ctx context.Context, db interface {
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}, queries []string) (map[string]*sql.Stmt, error) {
	prepared := make(map[string]*sql.Stmt, len(queries))
	for _, query := range queries {
		statement, err := db.PrepareContext(ctx, query)
		if err != nil {
			return nil, err
		}
		prepared[query] = statement // closed with the database
	}
	return prepared, nil
}

// row reads one row. From a file it comes at once or not at all, so the context
// isn't watched there: that would cost two goroutines, each longer than the look-up.
func (s *sqlStore) row(ctx context.Context, query string, args ...any) *sql.Row {
	if statement := s.readied[query]; statement != nil {
		return statement.QueryRowContext(context.WithoutCancel(ctx), args...)
	}
	return s.reads.QueryRowContext(ctx, query, args...)
}

// exec changes something within a transaction.
func (s *sqlStore) exec(ctx context.Context, tx transaction, query string, args ...any) (sql.Result, error) {
	if statement := s.prepared[query]; statement != nil {
		return statement.ExecContext(ctx, args...)
	}
	return tx.ExecContext(ctx, query, args...)
}

// query reads within a transaction.
func (s *sqlStore) query(ctx context.Context, tx transaction, query string, args ...any) (*sql.Rows, error) {
	if statement := s.prepared[query]; statement != nil {
		return statement.QueryContext(ctx, args...)
	}
	return tx.QueryContext(ctx, query, args...)
}

// A scanner is a row.
type scanner interface{ Scan(into ...any) error }

// list reads all rows of a query.
func list[T any](ctx context.Context, s *sqlStore, most time.Duration, scan func(scanner) (T, error), query string, args ...any) (all []T, err error) {
	err = s.look(ctx, most, func(ctx context.Context) error {
		rows, err := s.reads.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		all, err = collect(rows, scan)
		return err
	})
	return all, err
}

// collect reads all rows, and closes them.
func collect[T any](rows *sql.Rows, scan func(scanner) (T, error)) (all []T, err error) {
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, row)
	}
	return all, rows.Err()
}

// one makes ErrUnknown of a change that changed nothing.
func one(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if n == 0 {
		return ErrUnknown
	}
	return nil
}

// millis is how a time is stored; the zero time is 0.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// storable tells whether every engine can have a text: PostgreSQL takes UTF-8
// without NUL.
func storable(text string) bool { return utf8.ValidString(text) && !strings.Contains(text, "\x00") }

// wantStorable refuses what one engine would take and another not.
func wantStorable(what string, texts ...string) error {
	for _, text := range texts {
		if !storable(text) {
			return fmt.Errorf("the %s %q is no text in UTF-8 without NUL", what, text)
		}
	}
	return nil
}
