// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-est/estra/ra/secret"
)

// Upkeep is what operators do with a store, also while it is in use.
type Upkeep interface {
	// Check looks for what is wrong.
	Check(ctx context.Context) (Report, error)
	// Backup writes all that the store has at one instant, and gives the number
	// of rows.
	Backup(ctx context.Context, to io.Writer, now time.Time) (rows int, err error)
	// Prune removes what has ended so long ago, in small batches, and what nobody
	// can use whatever is kept. Of several nodes one does it at a time. With an
	// error, it counts what was removed until then.
	Prune(ctx context.Context, r Retention, now time.Time) (Pruned, error)
}

// A Report says how a store is.
type Report struct {
	Engine string `json:"engine"`
	// Schema is the version of its tables, and Was that before it was opened:
	// 0 if it was empty.
	Schema int `json:"schema"`
	Was    int `json:"was"`
	// Tables and their rows, in order.
	Tables []TableRows `json:"tables"`
	// Problems are sentences; none: all is well.
	Problems []string `json:"problems"`
}

// TableRows are the rows of a table.
type TableRows struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
}

type upkeep struct{ s *sqlStore }

// strays are rows that nothing refers to, which no engine looks for.
var strays = []struct{ what, query string }{
	{"reservations are of no password", `SELECT COUNT(*) FROM claims c WHERE c.kind = 'password' AND NOT EXISTS (SELECT 1 FROM passwords p WHERE p.id = c.id)`},
	{"reservations are of no device", `SELECT COUNT(*) FROM claims c WHERE c.kind = 'device' AND NOT EXISTS (SELECT 1 FROM devices d WHERE d.id = c.id)`},
	{"enrolled devices have no reservation", `SELECT COUNT(*) FROM devices d WHERE d.state = 'enrolled' AND NOT EXISTS (SELECT 1 FROM claims c WHERE c.kind = 'device' AND c.id = d.id)`},
	{"certificates are issued, and their bytes are not there", `SELECT COUNT(*) FROM certificates WHERE state = 'issued' AND length(certificate) = 0`},
	{"certificates have no state that is known", `SELECT COUNT(*) FROM certificates WHERE state NOT IN ('asked', 'pending', 'issued', 'withheld', 'unknown')`},
	{"certificates are of unknown end or withheld, and stand in the way of another one", `SELECT COUNT(*) FROM certificates WHERE state IN ('withheld', 'unknown') AND closed = 0`},
	{"decisions are of no pending request", `SELECT COUNT(*) FROM pending_decisions d WHERE NOT EXISTS (SELECT 1 FROM pending p WHERE p.id = d.id)`},
	{"reservations have a number of holders below zero", `SELECT COUNT(*) FROM claims WHERE holds < 0`},
}

// Check implements Upkeep.
func (u upkeep) Check(ctx context.Context) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, mostListed)
	defer cancel()
	report, err := u.check(ctx)
	if err == nil {
		// Names that can't be read, and the like.
		if _, err := u.s.Passwords().List(ctx, ""); err != nil {
			report.Problems = append(report.Problems, err.Error())
		}
	}
	return report, u.s.clean.error(err)
}

func (u upkeep) check(ctx context.Context) (report Report, err error) {
	known, err := migrations()
	if err != nil {
		return report, err
	}
	tx, err := u.s.reads.BeginTx(ctx, u.s.snapshot)
	if err != nil {
		return report, err
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	report = Report{Engine: u.s.engine, Was: u.s.was}
	if report.Schema, err = schemaVersion(ctx, tx); err != nil {
		return report, err
	}
	if report.Schema != len(known) {
		report.Problems = append(report.Problems, fmt.Sprintf("the schema is %d, and this version knows %d: a newer node has changed it", report.Schema, len(known)))
		return report, nil
	}
	for _, table := range tablesOf(known) {
		rows := TableRows{Table: table}
		if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM `+table).Scan(&rows.Rows); err != nil {
			return report, err
		}
		report.Tables = append(report.Tables, rows)
	}
	for _, stray := range strays {
		var rows int
		if err := tx.QueryRowContext(ctx, stray.query).Scan(&rows); err != nil {
			return report, err
		}
		if rows > 0 {
			report.Problems = append(report.Problems, fmt.Sprintf("%d %s", rows, stray.what))
		}
	}
	found, err := u.s.examine(ctx, tx)
	report.Problems = append(report.Problems, found...)
	return report, err
}

// texts are the rows of a query with one column.
func texts(ctx context.Context, tx transaction, query string) ([]string, error) {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return collect(rows, func(r scanner) (text string, err error) { return text, r.Scan(&text) })
}

// examineSQLite lets SQLite read every page, and hold every index against its
// table.
func examineSQLite(ctx context.Context, tx transaction) (problems []string, err error) {
	found, err := texts(ctx, tx, `SELECT integrity_check FROM pragma_integrity_check`)
	if err != nil {
		return []string{err.Error()}, nil //nolint:nilerr // of a broken file it is the answer
	}
	for _, text := range found {
		if text != "ok" {
			problems = append(problems, text)
		}
	}
	lost, err := texts(ctx, tx, `SELECT DISTINCT "table" || ' refers to a ' || parent || ' that is not there' FROM pragma_foreign_key_check`)
	return append(problems, lost...), err
}

// examinePostgres looks at the settings without which a crash loses data, and
// at indexes that don't work.
func examinePostgres(ctx context.Context, tx transaction) ([]string, error) {
	return texts(ctx, tx, `SELECT 'the server has ' || name || ' = off: a crash can lose or break data' FROM pg_settings
			WHERE name IN ('fsync', 'full_page_writes') AND setting = 'off'
		UNION ALL SELECT 'the index ' || indexrelid::regclass || ' is not valid: REINDEX it' FROM pg_index i
			JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname = current_schema() AND NOT (i.indisvalid AND i.indisready)`)
}

// restoring is what fills an empty store from a backup; nil: nothing does.
func (s *sqlStore) restoring(from io.Reader, known []migration) change {
	if from == nil {
		return nil
	}
	return func(ctx context.Context, tx transaction) error {
		i := &inserter{ctx: ctx, tx: tx, known: known}
		rows, err := readBackup(from, i)
		s.restored = rows
		return errors.Join(err, i.done())
	}
}

// RestoreSQLite makes a store of a backup, in a file that isn't there yet. It
// does all or nothing.
func RestoreSQLite(ctx context.Context, path string, from io.Reader) (rows int, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return 0, err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return 0, fmt.Errorf("%s is there already: move it away, or restore into another file", path)
	}
	if err != nil {
		return 0, err
	}
	made, err := OpenSQLite(ctx, path, Options{restore: from})
	if err = errors.Join(err, file.Close()); err != nil {
		for _, name := range []string{path, path + "-wal", path + "-shm", path + ".lock"} {
			_ = os.Remove(name) // some are not there
		}
		return 0, err
	}
	return made.(*sqlStore).restored, made.Close()
}

// RestorePostgres fills a database that is empty, or has empty tables of ours.
// It does all or nothing.
func RestorePostgres(ctx context.Context, dsn secret.Text, from io.Reader) (rows int, err error) {
	made, err := OpenPostgres(ctx, dsn, Options{restore: from})
	if err != nil {
		return 0, err
	}
	return made.(*sqlStore).restored, made.Close()
}
