// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/store/storetest"
)

func open(t testing.TB, path string, o store.Options) store.Store {
	t.Helper()
	s, err := store.OpenSQLite(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t testing.TB, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSQLitePassesTheSuite(t *testing.T) {
	storetest.Suite(t, func(t testing.TB) store.Store {
		return open(t, filepath.Join(t.TempDir(), "folder with ?#%", "store.db"), store.Options{Create: true})
	})
}

func TestWhatWasWrittenSurvivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	survives(t, path, func() store.Store { return open(t, path, store.Options{}) })
}

func TestASecondProcessIsKeptOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	cmd, lines := start(t, path, "hold")
	if !lines.Scan() {
		t.Fatal("the first process didn't open it")
	}
	_, err := store.OpenSQLite(t.Context(), path, store.Options{})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", cmd.Process.Pid)) || !strings.Contains(err.Error(), "admin API") {
		t.Errorf("got %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	closed(t, open(t, path, store.Options{}))
}

func TestTheSameProcessIsKeptOutTwice(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, store.Options{Create: true})
	if _, err := store.OpenSQLite(t.Context(), path, store.Options{}); err == nil {
		t.Error("it is open twice")
	}
	closed(t, s)
	closed(t, open(t, path, store.Options{}))
}

func TestAStoreIsMadeOnlyWhereItMayBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "est", "store.db")
	if _, err := store.OpenSQLite(t.Context(), path, store.Options{}); err == nil {
		t.Error("a store was made")
	}
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("a folder was made")
	}
	closed(t, open(t, path, store.Options{Create: true}))
	for name, mode := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has the mode %v, %v", name, info.Mode(), err)
		}
	}
}

// exec makes a change to a database behind the store's back.
func change(t *testing.T, path string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, s := range statements {
		if _, err := db.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsNoStoreOfOursIsLeftAlone(t *testing.T) {
	folder := t.TempDir()
	foreign, newer, text := filepath.Join(folder, "a.db"), filepath.Join(folder, "b.db"), filepath.Join(folder, "c.db")
	change(t, foreign, "CREATE TABLE bookmarks (url TEXT)")
	closed(t, open(t, newer, store.Options{Create: true}))
	change(t, newer, "INSERT INTO schema_version VALUES (1000)")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a database\n", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		foreign: "the database of another program",
		newer:   "a newer Estra has written it",
		text:    "not a database",
		folder:  "it is no file",
	} {
		_, err := store.OpenSQLite(t.Context(), path, store.Options{Create: true})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestThreat_NoPasswordStandsInTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	s := open(t, path, store.Options{Create: true})
	made, err := s.Passwords().Create(t.Context(), []store.Template{{Label: "routers", Expires: storetest.Now}}, storetest.Now)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < 2 {
		t.Fatalf("%v, %v", files, err)
	}
	found := false
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		found = found || strings.Contains(string(data), made[0].ID)
		if word := string(made[0].Text[len(made[0].Text)-26:]); strings.Contains(strings.ToLower(string(data)), word) {
			t.Errorf("%s has the secret", name)
		}
	}
	if !found {
		t.Error("nor is the id there: the test looks in the wrong place")
	}
	closed(t, s)
}

func TestWritesAtOnceShareCommits(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	defer closed(t, s)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			_, err := s.Passwords().Create(context.Background(), []store.Template{{Label: "routers", Expires: storetest.Now}}, storetest.Now)
			if err != nil {
				t.Error(err)
			}
			if _, err := s.Passwords().List(context.Background(), "none"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if list, err := s.Passwords().List(t.Context(), ""); err != nil || len(list) != 200 {
		t.Errorf("%d passwords, %v", len(list), err)
	}
}

func TestAfterCloseNothingIsWritten(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store.db"), store.Options{Create: true})
	closed(t, s)
	if err := s.Passwords().Refused(t.Context(), "x"); err == nil {
		t.Error("it is written")
	}
}
