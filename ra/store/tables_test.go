// SPDX-License-Identifier: Apache-2.0

package store

import (
	"path/filepath"
	"slices"
	"testing"
)

// A backup has the tables that the migrations make: there must be no others.
func TestTheTablesAreThoseOfTheMigrations(t *testing.T) {
	made, err := OpenSQLite(t.Context(), filepath.Join(t.TempDir(), "store.db"), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	tx, err := made.(*sqlStore).reads.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }() // it only reads
	there, err := texts(t.Context(), tx, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`)
	if err != nil {
		t.Fatal(err)
	}
	known, err := migrations()
	if err != nil {
		t.Fatal(err)
	}
	want := append(tablesOf(known), "schema_version")
	slices.Sort(want)
	if !slices.Equal(there, want) {
		t.Errorf("there are %q, and the migrations make %q", there, want)
	}
}

func TestADroppedTableIsNoTable(t *testing.T) {
	got := tablesOf([]migration{
		{1, []string{"\nCREATE TABLE a (x TEXT)", "CREATE INDEX i ON a (x)", "CREATE TABLE b (x TEXT)"}},
		{2, []string{"DROP TABLE a", "CREATE TABLE c (x TEXT)"}},
	})
	if !slices.Equal(got, []string{"b", "c"}) {
		t.Errorf("%q", got)
	}
}
