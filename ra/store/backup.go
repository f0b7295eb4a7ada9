// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A backup is JSON lines, the same for both engines:
//
//	{"format":"estra-store","version":1,"schema":1,"made":"2026-11-01T12:00:00Z"}
//	{"table":"passwords","columns":["id","salt",…]}
//	["k3q7a2mlfw",["c2FsdA=="],…]
//	…
//	{"end":true,"rows":4711,"sha256":"…"}
//
// Rows are arrays: text, numbers, null, and bytes as an array with their
// base64. The hash is of all lines before the last.
const (
	backupFormat  = "estra-store"
	backupVersion = 1
	// maxLine bounds a line of a backup, in bytes. The longest have a CRL: of a
	// million revocations it has some 40 MB.
	maxLine = 64 << 20
)

// A backupLine is a line of a backup that isn't a row.
type backupLine struct {
	Format  string   `json:"format,omitempty"`
	Version int      `json:"version,omitempty"`
	Schema  int      `json:"schema,omitempty"`
	Made    string   `json:"made,omitempty"`
	Table   string   `json:"table,omitempty"`
	Columns []string `json:"columns,omitempty"`
	End     bool     `json:"end,omitempty"`
	Rows    int      `json:"rows,omitempty"`
	SHA256  string   `json:"sha256,omitempty"`
}

// A cell is a value of a row: nil, int64, string or []byte.
type cell struct{ value any }

// Scan implements sql.Scanner.
func (c *cell) Scan(value any) error {
	switch v := value.(type) {
	case []byte:
		c.value = append([]byte{}, v...) // of no bytes SQLite gives nil, which is no NULL
	case nil, int64, string:
		c.value = v
	default:
		return fmt.Errorf("a value of the type %T can't be kept", value)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (c cell) MarshalJSON() ([]byte, error) {
	if b, ok := c.value.([]byte); ok {
		return json.Marshal([][]byte{b})
	}
	return json.Marshal(c.value)
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *cell) UnmarshalJSON(data []byte) error {
	switch data[0] {
	case 'n':
		c.value = nil
		return nil
	case '"':
		var text string
		err := json.Unmarshal(data, &text)
		c.value = text
		return errors.Join(err, wantStorable("text", text))
	case '[':
		var in [][]byte
		if err := json.Unmarshal(data, &in); err != nil || len(in) != 1 || in[0] == nil {
			return errors.Join(err, errors.New("want bytes as an array with one text in base64"))
		}
		c.value = in[0]
		return nil
	default:
		var n int64
		err := json.Unmarshal(data, &n)
		c.value = n
		return err
	}
}

var madeTable = regexp.MustCompile(`^\s*(CREATE|DROP) TABLE (\w+)`)

// tablesOf are the tables that migrations make, in their order: what a table
// refers to comes before it.
func tablesOf(known []migration) (tables []string) {
	for _, m := range known {
		for _, statement := range m.statements {
			found := madeTable.FindStringSubmatch(statement)
			switch {
			case found == nil:
			case found[1] == "DROP":
				tables = slices.DeleteFunc(tables, func(t string) bool { return t == found[2] })
			default:
				tables = append(tables, found[2])
			}
		}
	}
	return tables
}

// A backupWriter writes lines, and knows their hash.
type backupWriter struct {
	to   *bufio.Writer
	hash hash.Hash
	rows int
}

func (b *backupWriter) line(line any) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	text = append(text, '\n')
	b.hash.Write(text)
	_, err = b.to.Write(text)
	return err
}

// Backup implements Upkeep.
func (u upkeep) Backup(ctx context.Context, to io.Writer, now time.Time) (rows int, err error) {
	known, err := migrations()
	if err != nil {
		return 0, err
	}
	tx, err := u.s.reads.BeginTx(ctx, u.s.snapshot)
	if err != nil {
		return 0, u.s.clean.error(err)
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	version, err := schemaVersion(ctx, tx)
	if err != nil {
		return 0, u.s.clean.error(err)
	}
	if version != len(known) {
		return 0, fmt.Errorf("the store has the schema %d, and this version knows %d: a newer node has changed it", version, len(known))
	}
	w := &backupWriter{to: bufio.NewWriter(to), hash: sha256.New()}
	err = w.line(backupLine{Format: backupFormat, Version: backupVersion, Schema: version, Made: now.UTC().Format(time.RFC3339)})
	for _, table := range tablesOf(known) {
		if err == nil {
			err = w.table(ctx, tx, table)
		}
	}
	if err == nil {
		err = w.line(backupLine{End: true, Rows: w.rows, SHA256: hex.EncodeToString(w.hash.Sum(nil))})
	}
	if err == nil {
		err = w.to.Flush()
	}
	return w.rows, u.s.clean.error(err)
}

func (b *backupWriter) table(ctx context.Context, tx transaction, table string) (err error) {
	rows, err := tx.QueryContext(ctx, `SELECT * FROM `+table+` ORDER BY 1, 2`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	if err := b.line(backupLine{Table: table, Columns: columns}); err != nil {
		return err
	}
	row, into := make([]cell, len(columns)), make([]any, len(columns))
	for i := range row {
		into[i] = &row[i]
	}
	for ; rows.Next(); b.rows++ {
		if err := rows.Scan(into...); err != nil {
			return err
		}
		if err := b.line(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// A restorer takes what a backup has; nil only reads it.
type restorer interface {
	begin(schema int) error
	table(name string, columns []string) error
	row(row []cell) error
}

// readBackup reads a backup to its end, and is sure of it only then.
func readBackup(from io.Reader, to restorer) (rows int, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxLine)
	r := &backupReader{to: to, hash: sha256.New()}
	for n := 1; lines.Scan(); n++ {
		if r.ended {
			return 0, fmt.Errorf("line %d: something follows the end", n)
		}
		if err := r.line(lines.Bytes()); err != nil {
			return 0, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return 0, err
	}
	if !r.ended {
		return 0, errors.New("it has no end: it is a part of a backup")
	}
	return r.rows, nil
}

type backupReader struct {
	to      restorer
	hash    hash.Hash
	begun   bool
	ended   bool
	columns int
	rows    int
}

func (r *backupReader) line(text []byte) error {
	if bytes.HasPrefix(text, []byte("[")) {
		return r.row(text)
	}
	var line backupLine
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&line); err != nil || dec.More() {
		return errors.New("it isn't a line of a backup of Estra's store")
	}
	switch {
	case !r.begun:
		if line.Format != backupFormat || line.Version != backupVersion || line.Schema < 1 {
			return fmt.Errorf("it isn't a backup of Estra's store of the version %d", backupVersion)
		}
		r.begun = true
		r.add(text)
		return r.to.begin(line.Schema)
	case line.End:
		if sum := hex.EncodeToString(r.hash.Sum(nil)); line.Rows != r.rows || line.SHA256 != sum {
			return fmt.Errorf("the backup was changed: it has %d rows and the hash %s, and says %d and %s", r.rows, sum, line.Rows, line.SHA256)
		}
		r.ended = true
		return nil
	case line.Table == "" || len(line.Columns) == 0:
		return errors.New("want a table, or the end")
	}
	r.add(text)
	r.columns = len(line.Columns)
	return r.to.table(line.Table, line.Columns)
}

func (r *backupReader) row(text []byte) error {
	var row []cell
	if err := json.Unmarshal(text, &row); err != nil {
		return fmt.Errorf("the row can't be read: %w", err)
	}
	if len(row) != r.columns || r.columns == 0 {
		return fmt.Errorf("the row has %d values, and its table %d", len(row), r.columns)
	}
	r.add(text)
	r.rows++
	return r.to.row(row)
}

func (r *backupReader) add(text []byte) {
	r.hash.Write(text)
	r.hash.Write([]byte{'\n'})
}

// VerifyBackup reads a backup and gives its rows. The error tells that it
// isn't whole, or was changed.
func VerifyBackup(from io.Reader) (rows int, err error) { return readBackup(from, onlyRead{}) }

type onlyRead struct{}

func (onlyRead) begin(int) error              { return nil }
func (onlyRead) table(string, []string) error { return nil }
func (onlyRead) row([]cell) error             { return nil }

// columnName is what a column may be called: it becomes a part of a statement.
var columnName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// An inserter restores within a transaction.
type inserter struct {
	ctx    context.Context
	tx     transaction
	known  []migration
	insert *sql.Stmt
}

// begin brings a database without a schema to that of the backup; one that has
// it must be empty.
func (i *inserter) begin(schema int) error {
	if schema > len(i.known) {
		return fmt.Errorf("the backup has the schema %d, and this version knows %d: a newer Estra has made it", schema, len(i.known))
	}
	version, err := schemaVersion(i.ctx, i.tx)
	switch {
	case err != nil:
		return err
	case version == 0:
		return advance(i.ctx, i.tx, i.known[:schema])
	case version != schema:
		return fmt.Errorf("the database has the schema %d already, and the backup %d: restore into an empty database", version, schema)
	}
	for _, table := range tablesOf(i.known[:schema]) {
		var rows int
		if err := i.tx.QueryRowContext(i.ctx, `SELECT COUNT(*) FROM `+table).Scan(&rows); err != nil {
			return err
		}
		if rows > 0 {
			return fmt.Errorf("the store has %d rows in %s: restore into an empty database", rows, table)
		}
	}
	return nil
}

func (i *inserter) table(name string, columns []string) error {
	if !slices.Contains(tablesOf(i.known), name) {
		return fmt.Errorf("there is no table %q", name)
	}
	places := make([]string, len(columns))
	for n, column := range columns {
		if !columnName.MatchString(column) {
			return fmt.Errorf("there is no column %q", column)
		}
		places[n] = fmt.Sprintf("$%d", n+1)
	}
	if err := i.done(); err != nil {
		return err
	}
	var err error
	i.insert, err = i.tx.PrepareContext(i.ctx, fmt.Sprintf(`INSERT INTO %s (%s) VALUES (%s)`,
		name, strings.Join(columns, ", "), strings.Join(places, ", ")))
	return err
}

func (i *inserter) row(row []cell) error {
	args := make([]any, len(row))
	for n, c := range row {
		args[n] = c.value
	}
	_, err := i.insert.ExecContext(i.ctx, args...)
	return err
}

func (i *inserter) done() error {
	if i.insert == nil {
		return nil
	}
	return i.insert.Close()
}
