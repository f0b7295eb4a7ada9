// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/caddy-est/estra/ra/secret"
)

const (
	// connections is how many a node has at most. A server takes 100 if nobody
	// has said otherwise, and keeps some of them to itself.
	connections = 20
	// writers of them may write: look-ups find one that is free.
	writers = 16
	// idleTime is after how long a connection that nobody needs is closed.
	idleTime = 5 * time.Minute
	// connectTime bounds an attempt to connect, for each address.
	connectTime = 5 * time.Second
	// migrationLock is the advisory lock of those that migrate: "Estr".
	migrationLock = applicationID
	// tableMark is the comment on the version table by which a database is
	// ours.
	tableMark = "Estra's store"
)

// OpenPostgres connects to a PostgreSQL database and brings its schema up to
// date. Several processes may have it open: what one has reserved is reserved
// for all. No error has the connection string or its password.
func OpenPostgres(ctx context.Context, dsn secret.Text, o Options) (_ Store, err error) {
	config, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	clean := cleaner{config.Password}
	known, err := migrations()
	if err != nil {
		return nil, err
	}
	for i := range known {
		known[i] = known[i].inPostgres()
	}
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(durable))
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	db.SetConnMaxIdleTime(idleTime)
	s := &sqlStore{
		random: o.Rand, writes: db, reads: db, writer: newParallel(db, clean), clean: clean,
		engine: "PostgreSQL", examine: examinePostgres, turn: turnOfMany(db), snapshot: &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	}
	if s.random == nil {
		s.random = rand.Reader
	}
	if s.was, err = migrate(ctx, db, known, ours, s.restoring(o.restore, known)); err != nil {
		return nil, errors.Join(fmt.Errorf("the store in PostgreSQL: %w", clean.error(err)), s.Close())
	}
	return s, nil
}

// errDSN is for what can't be read.
var errDSN = errors.New("the store in PostgreSQL: the connection string can't be read (it isn't shown, for its password): " +
	"want postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full with %-escapes where the password has other characters than letters and digits, " +
	"or host=HOST dbname=DATABASE user=USER password='PASSWORD'; files that it names must be there")

// settingName is how a server's setting is called.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// parseDSN reads a connection string: a URL, or words as libpq has them. What
// it leaves out comes from the environment (PGHOST, PGPASSFILE, …). The
// driver's errors quote the string, and it may be too broken to find the
// password in it: so they are not shown.
func parseDSN(dsn secret.Text) (*pgx.ConnConfig, error) {
	if strings.TrimSpace(string(dsn)) == "" {
		return nil, errors.New("the store in PostgreSQL: the connection string is empty: want postgres://USER:PASSWORD@HOST/DATABASE")
	}
	config, err := pgx.ParseConfig(string(dsn))
	if err != nil {
		return nil, errDSN
	}
	for name := range config.RuntimeParams {
		if !settingName.MatchString(name) { // a misspelled URL is taken for a word and its value
			return nil, errDSN
		}
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectTime
	}
	if config.ValidateConnect == nil { // of several addresses one can write
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "estra"
	}
	return config, nil
}

// CheckDSN says whether a connection string can be read. It connects to
// nothing.
func CheckDSN(dsn secret.Text) error {
	_, err := parseDSN(dsn)
	return err
}

// writtenPassword finds a password in a connection string, unless a
// placeholder stands for it.
var writtenPassword = regexp.MustCompile(`(?i)^\s*postgres(ql)?://[^/@:]*:[^{@][^@]*@|password\s*=\s*[^{\s&]`)

// PasswordInDSN tells whether a connection string, as it is written in a
// configuration, has a password in clear.
func PasswordInDSN(written string) bool { return writtenPassword.MatchString(written) }

// durable sees to it that a connection's commits are on disk, whatever the
// database's default is. What is stricter than that stays.
func durable(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, `SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`)
	return err
}

// textType finds the type of what is compared by its bytes.
var textType = regexp.MustCompile(`\bTEXT\b`)

// inPostgres is a migration as PostgreSQL has it: texts are compared by their
// bytes, as SQLite does it. So lists have one order, and an index doesn't
// depend on the locale of the system that it is on.
func (m migration) inPostgres() migration {
	for i, s := range m.statements {
		m.statements[i] = textType.ReplaceAllString(s, `TEXT COLLATE "C"`)
	}
	return m
}

// ours keeps other nodes that migrate waiting, refuses the database of another
// program, and marks an empty one. Where the tables are there, no right to
// make some is needed.
func ours(ctx context.Context, tx transaction) error {
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, migrationLock); err != nil {
		return err
	}
	var schema, mark sql.Null[string]
	var tables int
	err := tx.QueryRowContext(ctx, `SELECT current_schema(),
		(SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = current_schema()),
		(SELECT obj_description(to_regclass(quote_ident(current_schema()) || '.schema_version'), 'pg_class'))`).Scan(&schema, &tables, &mark)
	switch {
	case err != nil:
		return err
	case !schema.Valid:
		return errors.New("the user's search_path has no schema that is there: make one, or set search_path in the connection string")
	case mark.V == tableMark:
		return nil
	case tables > 0:
		return fmt.Errorf("the schema %q has tables of another program: Estra wants a database or a schema of its own", schema.V)
	}
	if err := versionTable(ctx, tx); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `COMMENT ON TABLE schema_version IS '`+strings.ReplaceAll(tableMark, "'", "''")+`'`)
	return err
}
