// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/caddy-est/estra/ra/filelock"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Options of OpenSQLite and OpenPostgres.
type Options struct {
	// Create makes the file and its folder where they aren't there. A database
	// in PostgreSQL is there already.
	Create bool
	// Rand is the randomness of passwords; nil: crypto/rand.
	Rand io.Reader
	// restore is a backup that an empty store is filled from.
	restore io.Reader
}

// readers is how many connections read at once. A reader sees the last commit
// and waits for nobody, so few are enough.
const readers = 4

// applicationID marks the file as a store of Estra: "Estr".
const applicationID = 0x45737472

// OpenSQLite opens a store in a file, brings its schema up to date, and locks
// it: another process that opens the file gets an error, since each node's
// claims are its own.
func OpenSQLite(ctx context.Context, path string, o Options) (_ Store, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := prepare(path, o.Create); err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	lock, err := filelock.Take(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", path, err)
	}
	s := &sqlStore{random: o.Rand, lock: lock, engine: "SQLite", examine: examineSQLite, turn: turnOne}
	if s.random == nil {
		s.random = rand.Reader
	}
	if err := s.open(ctx, path, o.restore); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", path, err), s.Close())
	}
	return s, nil
}

// prepare sees to it that the file is there, for its owner alone. SQLite gives
// its other files the same mode.
func prepare(path string, create bool) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return errors.New("it is no file")
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist) || !create:
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// source is the data source name of a connection. Writers begin with the
// write lock, so that none finds halfway that it can't have it. With WAL,
// synchronous=FULL is what makes a commit survive a loss of power; a writer sees to it
// by itself.
func source(path string, writes bool) string {
	query := url.Values{"_pragma": {"busy_timeout(10000)", "foreign_keys(1)", "synchronous(FULL)", "trusted_schema(0)"}}
	if writes {
		query["_pragma"] = append(query["_pragma"], "journal_mode(WAL)", "wal_autocheckpoint(4000)")
		query.Set("_txlock", "immediate")
	} else {
		query["_pragma"] = append(query["_pragma"], "query_only(1)")
	}
	path = filepath.ToSlash(path)
	if path[0] != '/' { // C:/…
		path = "/" + path
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: query.Encode()}).String()
}

func (s *sqlStore) open(ctx context.Context, path string, from io.Reader) error {
	known, err := migrations()
	if err != nil {
		return err
	}
	if s.writes, err = sql.Open("sqlite", source(path, true)); err != nil {
		return err
	}
	s.writes.SetMaxOpenConns(1)
	if err := mark(ctx, s.writes); err != nil {
		return err
	}
	if s.was, err = migrate(ctx, s.writes, known, versionTable, s.restoring(from, known)); err != nil {
		return err
	}
	if s.reads, err = sql.Open("sqlite", source(path, false)); err != nil {
		return err
	}
	s.reads.SetMaxOpenConns(readers)
	s.reads.SetMaxIdleConns(readers)
	if s.readied, err = ready(ctx, s.reads, readCertificates); err != nil {
		return err
	}
	w, prepared, err := newWriter(ctx, s.writes, path, writtenCertificates)
	if err != nil {
		return err
	}
	s.writer, s.prepared, s.settled = w, prepared, w.settled
	return s.reads.PingContext(ctx)
}

// mark refuses the database of another program, and marks an empty one.
func mark(ctx context.Context, db *sql.DB) error {
	var id, tables int64
	if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
		return err
	}
	if err := db.QueryRowContext(ctx, "SELECT COUNT(*) FROM sqlite_master").Scan(&tables); err != nil {
		return err
	}
	switch {
	case id == applicationID:
		return nil
	case id != 0 || tables != 0:
		return errors.New("it is the database of another program")
	}
	_, err := db.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d", applicationID))
	return err
}
