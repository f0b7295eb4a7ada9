// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// A migration leads from one version of the schema to the next.
type migration struct {
	version    int
	statements []string
}

// migrations are all of them, in order: the last is the version of the schema.
func migrations() ([]migration, error) {
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		return nil, err
	}
	var all []migration
	for i, entry := range entries { // sorted by name
		number, _, _ := strings.Cut(entry.Name(), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			return nil, fmt.Errorf("the migration %s is not number %d", entry.Name(), i+1)
		}
		text, err := migrationFiles.ReadFile("migrations/" + entry.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, migration{version, statements(string(text))})
	}
	return all, nil
}

// statements takes a migration apart. Comments go: no literal has "--" or ";".
func statements(text string) []string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i], _, _ = strings.Cut(line, "--")
	}
	parts := strings.Split(strings.Join(lines, "\n"), ";")
	return slices.DeleteFunc(parts, func(s string) bool { return strings.TrimSpace(s) == "" })
}

// versionTable makes the table that says which migrations were made.
func versionTable(ctx context.Context, tx transaction) error {
	_, err := tx.ExecContext(ctx, `CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL PRIMARY KEY)`)
	return err
}

// schemaVersion is the version of the schema in a database; 0: there is none.
func schemaVersion(ctx context.Context, tx transaction) (int, error) {
	var version int
	err := tx.QueryRowContext(ctx, `SELECT COALESCE(MAX(version), 0) FROM schema_version`).Scan(&version)
	return version, err
}

// migrate brings a database to the version of the schema that this program
// knows. It does all or nothing. First it lets the engine prepare: keep others
// out where they could migrate at the same time, and see to the version table.
// fill, which may be nil, puts rows into it before. was is the version before.
func migrate(ctx context.Context, db *sql.DB, known []migration, prepare, fill change) (was int, err error) {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the connection may have ended
		}
	}()
	if err := prepare(ctx, tx); err != nil {
		return 0, err
	}
	if fill != nil {
		if err := fill(ctx, tx); err != nil {
			return 0, err
		}
	}
	if was, err = schemaVersion(ctx, tx); err != nil {
		return 0, err
	}
	if was > len(known) {
		return 0, fmt.Errorf("the store has the schema %d, and this version knows %d: a newer Estra has written it", was, len(known))
	}
	if err := advance(ctx, tx, known[was:]); err != nil {
		return 0, err
	}
	return was, tx.Commit()
}

// advance makes migrations that follow each other.
func advance(ctx context.Context, tx transaction, steps []migration) error {
	for _, m := range steps {
		for _, statement := range m.statements {
			if _, err := tx.ExecContext(ctx, statement); err != nil {
				return fmt.Errorf("migration %d: %w", m.version, err)
			}
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO schema_version (version) VALUES ($1)`, m.version); err != nil {
			return fmt.Errorf("migration %d: %w", m.version, err)
		}
	}
	return nil
}
