// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/store/storetest"
)

// restorers restore into an empty store of each engine, and open it.
var restorers = map[string]func(*testing.T, []byte) (store.Store, int, error){
	"SQLite": func(t *testing.T, backup []byte) (store.Store, int, error) {
		path := filepath.Join(t.TempDir(), "est", "store.db")
		rows, err := store.RestoreSQLite(t.Context(), path, bytes.NewReader(backup))
		if err != nil {
			if left, _ := os.ReadDir(filepath.Dir(path)); len(left) > 0 {
				t.Errorf("%d files are left", len(left))
			}
			return nil, rows, err
		}
		return open(t, path, store.Options{}), rows, nil
	},
	"PostgreSQL": func(t *testing.T, backup []byte) (store.Store, int, error) {
		dsn := database(t)
		rows, err := store.RestorePostgres(t.Context(), dsn, bytes.NewReader(backup))
		if err != nil {
			closed(t, connect(t, dsn)) // nothing of it is there
			return nil, rows, err
		}
		return connect(t, dsn), rows, nil
	},
}

// filled puts something of everything into a store.
func filled(t *testing.T, s store.Store) []store.Created {
	t.Helper()
	ctx := t.Context()
	subject, err := csr.ParseName(`O=Exämple, CN=rtr-1.example.net`)
	if err != nil {
		t.Fatal(err)
	}
	bound := policy.BoundNames{Subject: true, Names: csr.Names{Subject: subject}}
	made, err := s.Passwords().Create(ctx, []store.Template{
		{Label: "routers", Expires: storetest.Now.Add(1e12), Names: bound}, {Label: "routers\n\"<", Expires: storetest.Now.Add(1e12)},
	}, storetest.Now)
	if err != nil {
		t.Fatal(err)
	}
	id := device(t, s, "Köln 1")
	r := store.Reservation{Uses: []policy.Use{{Kind: policy.UseDevice, ID: id}, {Kind: policy.UsePassword, ID: made[0].ID}}, For: [32]byte{1}, Now: storetest.Now, Until: storetest.Now.Add(1e12)}
	// Revoked, and no list yet: bytes that are there, and none.
	err = errors.Join(s.Authorities().Revoke(ctx, store.CACertificate{Issuer: "aa", Serial: big.NewInt(1), Revoked: storetest.Now, Until: storetest.Now.Add(1e12)}),
		s.Claims().Reserve(ctx, r),
		s.Claims().Settle(ctx, store.Settlement{Uses: r.Uses, Ended: store.Issued, Devices: []string{id}, Certificate: [32]byte{2}, NotAfter: storetest.Now.Add(1e12), Now: storetest.Now}))
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func backup(t *testing.T, s store.Store) []byte {
	t.Helper()
	var out bytes.Buffer
	rows, err := s.Upkeep().Backup(t.Context(), &out, storetest.Now)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := store.VerifyBackup(bytes.NewReader(out.Bytes())); err != nil || again != rows {
		t.Fatalf("%d rows were written, %d read, %v", rows, again, err)
	}
	return out.Bytes()
}

func TestABackupOfEachEngineIsRestoredIntoEach(t *testing.T) {
	for from, open := range engines {
		source := open(t)
		made := filled(t, source)
		saved := backup(t, source)
		if strings.Contains(string(saved), string(made[0].Text[len(made[0].Text)-26:])) {
			t.Error("a password is in the backup")
		}
		for into, restore := range restorers {
			t.Run(from+" into "+into, func(t *testing.T) {
				s, rows, err := restore(t, saved)
				if err != nil || rows != 8 {
					t.Fatalf("%d rows, %v", rows, err)
				}
				defer closed(t, s)
				if again := backup(t, s); !bytes.Equal(again, saved) {
					t.Errorf("its backup is\n%s\nand was\n%s", again, saved)
				}
				if _, err := s.Passwords().Verify(t.Context(), made[1].Text, "routers\n\"<", storetest.Now); err != nil {
					t.Error(err)
				}
				report, err := s.Upkeep().Check(t.Context())
				if err != nil || len(report.Problems) > 0 || report.Engine != into || len(report.Tables) < 4 {
					t.Errorf("%+v, %v", report, err)
				}
			})
		}
		closed(t, source)
	}
}

// Passwords are made in pairs, each pair in one change: a backup has both or
// none.
func TestABackupOfAStoreInUseIsOfOneInstant(t *testing.T) {
	for engine, open := range engines {
		t.Run(engine, func(t *testing.T) {
			s := open(t)
			defer closed(t, s)
			ctx, cancel := context.WithCancel(context.Background())
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() {
					for ctx.Err() == nil {
						if _, err := s.Passwords().Create(context.Background(), make([]store.Template, 2), storetest.Now); err != nil {
							t.Error(err)
						}
					}
				})
			}
			before := 0
			for range 10 {
				for now := before; now < before+20; now = count(t, s) {
				}
				rows, err := store.VerifyBackup(bytes.NewReader(backup(t, s)))
				if err != nil || rows%2 != 0 || rows <= before {
					t.Errorf("%d rows after %d, %v", rows, before, err)
				}
				before = rows
				if report, err := s.Upkeep().Check(t.Context()); err != nil || len(report.Problems) > 0 {
					t.Errorf("%+v, %v", report, err)
				}
			}
			cancel()
			all.Wait()
		})
	}
}

func count(t *testing.T, s store.Store) int {
	t.Helper()
	list, err := s.Passwords().List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestABackupThatIsNotWholeIsNotRestored(t *testing.T) {
	source := engines["SQLite"](t)
	defer closed(t, source)
	filled(t, source)
	good := backup(t, source)
	lines := bytes.SplitAfter(bytes.TrimSuffix(good, []byte("\n")), []byte("\n"))
	without := func(i int) []byte { return bytes.Join(append(append([][]byte{}, lines[:i]...), lines[i+1:]...), nil) }
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"nothing":           {nil, "has no end"},
		"a part":            {good[:len(good)/2], ""},
		"without its end":   {without(len(lines) - 1), "has no end"},
		"without a row":     {without(2), "was changed"},
		"with another row":  {bytes.Replace(good, []byte(`"enrolled"`), []byte(`"expected"`), 1), "was changed"},
		"with more":         {append(bytes.Clone(good), "\n{}\n"...), "something follows"},
		"of a newer Estra":  {bytes.Replace(good, []byte(`"schema":`), []byte(`"schema":9`), 1), "a newer Estra has made it"},
		"of another table":  {bytes.Replace(good, []byte(`"table":"claims"`), []byte(`"table":"pg_class"`), 1), `no table "pg_class"`},
		"with a statement":  {bytes.Replace(good, []byte(`"columns":["kind"`), []byte(`"columns":["kind) --"`), 1), "no column"},
		"of something else": {[]byte("{\"version\":1}\n"), "isn't a backup"},
		"a text":            {[]byte("hello\n"), "isn't a line"},
	} {
		for into, restore := range restorers {
			t.Run(name+" into "+into, func(t *testing.T) {
				_, _, err := restore(t, c.text)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %q", err, c.want)
				}
			})
		}
	}
}

// A backup of the first version, as it was written then.
func TestABackupOfAnOlderSchemaIsRestoredAndMigrated(t *testing.T) {
	text := `{"format":"estra-store","version":1,"schema":1,"made":"2026-11-01T12:00:00Z"}
{"table":"passwords","columns":["id","salt","hash","label","subject","san","created","serial","expires","refusals","revoked"]}
["aaaaaaaaaa",["AA=="],["AA=="],"routers",null,null,1,0,2,0,0]
{"table":"devices","columns":["id","registry","issuer","identity","note","state","changed"]}
{"table":"device_certificates","columns":["certificate","device","not_after"]}
{"table":"claims","columns":["kind","id","request","spki","holds","until","issued","collected"]}
`
	text += fmt.Sprintf("{\"end\":true,\"rows\":1,\"sha256\":\"%x\"}\n", sha256.Sum256([]byte(text)))
	for into, restore := range restorers {
		t.Run(into, func(t *testing.T) {
			s, rows, err := restore(t, []byte(text))
			if err != nil || rows != 1 {
				t.Fatalf("%d rows, %v", rows, err)
			}
			defer closed(t, s)
			report, err := s.Upkeep().Check(t.Context())
			if err != nil || report.Schema < 3 || len(report.Problems) > 0 || count(t, s) != 1 {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
}

func TestNothingIsRestoredOverWhatIsThere(t *testing.T) {
	path, dsn := filepath.Join(t.TempDir(), "store.db"), database(t)
	file, server := open(t, path, store.Options{Create: true}), connect(t, dsn)
	defer closed(t, file)
	defer closed(t, server)
	filled(t, server)
	saved := backup(t, server)
	if _, err := store.RestoreSQLite(t.Context(), path, bytes.NewReader(saved)); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a file in use: %v", err)
	}
	if _, err := os.Stat(path + ".lock"); err != nil {
		t.Error(err)
	}
	if _, err := store.RestorePostgres(t.Context(), dsn, bytes.NewReader(saved)); err == nil || !strings.Contains(err.Error(), "restore into an empty database") {
		t.Errorf("a database in use: %v", err)
	}
	if again := backup(t, server); !bytes.Equal(again, saved) {
		t.Error("it was changed")
	}
}

func TestACheckFindsWhatIsWrong(t *testing.T) {
	path, dsn := filepath.Join(t.TempDir(), "store.db"), database(t)
	broken := []string{"INSERT INTO claims VALUES ('password', 'nobody', '', '', -1, 0, 0, 0)"}
	closed(t, open(t, path, store.Options{Create: true}))
	change(t, path, append(broken, "INSERT INTO device_certificates VALUES (x'00', 'nobody', 0)")...)
	closed(t, connect(t, dsn))
	if err := server(t).Exec(databaseOf(dsn), append(broken, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'claims_by_key'::regclass")...); err != nil {
		t.Fatal(err)
	}
	both := []string{"1 reservations are of no password", "1 reservations have a number of holders below zero"}
	for s, want := range map[store.Store]string{
		open(t, path, store.Options{}): "device_certificates refers to a devices that is not there",
		connect(t, dsn):                "the index claims_by_key is not valid: REINDEX it",
	} {
		report, err := s.Upkeep().Check(t.Context())
		if err != nil || !reflect.DeepEqual(report.Problems, append(append([]string{}, both...), want)) {
			t.Errorf("%s: %q, %v", report.Engine, report.Problems, err)
		}
		closed(t, s)
	}
}

func FuzzVerifyBackup(f *testing.F) {
	f.Add([]byte(`{"format":"estra-store","version":1,"schema":1}` + "\n" + `{"table":"a","columns":["b","c","d","e"]}` + "\n" + `["x",1,null,["AA=="]]` + "\n" + `{"end":true}`))
	f.Add([]byte("[\n{"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if rows, err := store.VerifyBackup(bytes.NewReader(text)); err == nil && rows >= len(text) {
			t.Error(fmt.Sprint(rows, " rows"))
		}
	})
}
