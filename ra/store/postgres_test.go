// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/store"
	"github.com/caddy-est/estra/ra/store/storetest"
)

// shared is the server of the tests that don't stop it: each has a database.
var (
	started *storetest.Postgres // nil: no test has asked for it
	shared  = sync.OnceValues(func() (_ *storetest.Postgres, err error) {
		started, err = storetest.NewPostgres()
		return started, err
	})
)

func stopPostgres() error {
	if started == nil {
		return nil
	}
	return started.Remove()
}

func server(t testing.TB) *storetest.Postgres {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ownServer is a server that a test may stop.
func ownServer(t testing.TB) *storetest.Postgres {
	t.Helper()
	s, err := storetest.NewPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removed(t, s) })
	return s
}

func removed(t testing.TB, s *storetest.Postgres) {
	if err := s.Remove(); err != nil {
		t.Error(err)
	}
}

// database is the connection string of an empty one.
func database(t testing.TB) secret.Text {
	t.Helper()
	name, err := server(t).Database()
	if err != nil {
		t.Fatal(err)
	}
	return server(t).DSN(name)
}

func connect(t testing.TB, dsn secret.Text) store.Store {
	t.Helper()
	s, err := store.OpenPostgres(context.Background(), dsn, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPostgreSQLPassesTheSuite(t *testing.T) {
	storetest.Suite(t, func(t testing.TB) store.Store { return connect(t, database(t)) })
}

func TestTwoNodesShareAPostgreSQL(t *testing.T) {
	storetest.Shared(t, func(t testing.TB) (a, b store.Store) {
		dsn := database(t)
		return connect(t, dsn), connect(t, dsn)
	})
}

func TestNodesThatStartTogetherMigrateOnce(t *testing.T) {
	dsn := database(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			s, err := store.OpenPostgres(context.Background(), dsn, store.Options{})
			if err != nil {
				t.Error(err)
				return
			}
			closed(t, s)
		})
	}
	all.Wait()
}

func TestWhatWasWrittenToPostgreSQLSurvivesAKillOfTheNode(t *testing.T) {
	dsn := database(t)
	closed(t, connect(t, dsn))
	survives(t, string(dsn), func() store.Store { return connect(t, dsn) })
}

// Passwords are made while the server is killed and comes back. Those that the
// store said to have are there.
func TestWhatWasWrittenSurvivesACrashOfPostgreSQL(t *testing.T) {
	server := ownServer(t)
	s := connect(t, server.DSN("postgres"))
	defer closed(t, s)
	var mu sync.Mutex
	var texts []secret.Text
	failed := 0
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for ctx.Err() == nil {
				made, err := s.Passwords().Create(context.Background(), []store.Template{{Label: "routers", Expires: storetest.Now.Add(time.Hour)}}, storetest.Now)
				mu.Lock()
				if err != nil {
					failed++
				} else {
					texts = append(texts, made[0].Text)
				}
				mu.Unlock()
			}
		})
	}
	written := func() int { mu.Lock(); defer mu.Unlock(); return len(texts) }
	for range 3 {
		for before := written(); written() < before+50; {
			time.Sleep(time.Millisecond)
		}
		if err := errors.Join(server.Kill(), server.Start()); err != nil {
			t.Fatal(err)
		}
	}
	for before := written(); written() < before+50; {
		time.Sleep(time.Millisecond)
	}
	cancel()
	all.Wait()
	for _, text := range texts {
		if _, err := s.Passwords().Verify(t.Context(), text, "routers", storetest.Now); err != nil {
			t.Fatalf("of %d passwords one is lost: %v", len(texts), err)
		}
	}
	t.Logf("%d passwords over 3 crashes; of %d nobody was told", len(texts), failed)
}

// The standby becomes the primary; the store finds it by itself.
func TestAStoreFollowsAFailOver(t *testing.T) {
	primary := ownServer(t)
	standby, err := primary.Standby(true)
	if err != nil {
		t.Fatal(err)
	}
	defer removed(t, standby)
	s := connect(t, primary.DSN("postgres", standby))
	defer closed(t, s)
	alone := func() error {
		s, err := store.OpenPostgres(t.Context(), standby.DSN("postgres"), store.Options{})
		if err == nil {
			err = errors.Join(errors.New("it is open"), s.Close())
		}
		return err
	}
	if err := alone(); !strings.Contains(err.Error(), "read only") {
		t.Errorf("a standby alone: %v", err)
	}
	made, err := s.Passwords().Create(t.Context(), []store.Template{{Label: "routers", Expires: storetest.Now.Add(time.Hour)}}, storetest.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(primary.Kill(), standby.Promote()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Passwords().Verify(t.Context(), made[0].Text, "routers", storetest.Now); err != nil {
		t.Error(err)
	}
	if err := s.Passwords().Refused(t.Context(), made[0].ID); err != nil {
		t.Error(err)
	}
}

// Somebody locks in another order than the store does. The store gives way,
// and tries again.
func TestAReservationThatGivesWayIsTriedAgain(t *testing.T) {
	dsn, ctx := database(t), t.Context()
	s := connect(t, dsn)
	defer closed(t, s)
	other, err := pgx.Connect(ctx, string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close(context.Background())
	exec := func(statement string, args ...any) {
		t.Helper()
		if _, err := other.Exec(ctx, statement, args...); err != nil {
			t.Fatal(err)
		}
	}
	first, second := device(t, s, "1"), device(t, s, "2")
	lock := func(id string) { exec(`UPDATE claims SET holds = holds WHERE id = $1`, id) }
	r := store.Reservation{Uses: []policy.Use{{Kind: policy.UseDevice, ID: second}, {Kind: policy.UseDevice, ID: first}}, Now: storetest.Now, Until: storetest.Now.Add(time.Hour)}
	if err := s.Claims().Reserve(ctx, r); err != nil {
		t.Fatal(err)
	}
	exec("SET deadlock_timeout = '1min'") // it is the store that gives way
	exec("BEGIN")
	lock(second)
	got := make(chan error, 1)
	go func() { got <- s.Claims().Reserve(context.Background(), r) }()
	waiting := func() (n int) {
		err := other.QueryRow(ctx, "SELECT COUNT(*) FROM pg_locks WHERE NOT granted").Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	lock(first)
	exec("COMMIT")
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// device puts one into the registry, and gives its id.
func device(t *testing.T, s store.Store, serial string) string {
	t.Helper()
	d := store.Device{Registry: "routers", Issuer: "aa", Identity: policy.SerialIdentity(serial)}
	if _, _, err := s.Devices().Import(t.Context(), d.Registry, []store.Device{d}, storetest.Now); err != nil {
		t.Fatal(err)
	}
	return d.ID()
}

func TestADatabaseThatIsNoStoreOfOursIsLeftAlone(t *testing.T) {
	foreign, newer := database(t), database(t)
	closed(t, connect(t, newer))
	for dsn, statement := range map[secret.Text]string{
		foreign: "CREATE TABLE schema_version (version BIGINT)",
		newer:   "INSERT INTO schema_version VALUES (1000)",
	} {
		if err := server(t).Exec(databaseOf(dsn), statement); err != nil {
			t.Fatal(err)
		}
	}
	for dsn, want := range map[secret.Text]string{foreign: "tables of another program", newer: "a newer Estra has written it"} {
		_, err := store.OpenPostgres(t.Context(), dsn, store.Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// hostOf is the folder of the server's socket.
func hostOf(t *testing.T, dsn secret.Text) string {
	t.Helper()
	u, err := url.Parse(string(dsn))
	if err != nil {
		t.Fatal(err)
	}
	return u.Query().Get("host")
}

func databaseOf(dsn secret.Text) string {
	_, rest, _ := strings.Cut(string(dsn), "@/")
	name, _, _ := strings.Cut(rest, "?")
	return name
}

// A node's user may be one that can't make tables, once they are there.
func TestAUserWithoutTheRightToMakeTablesIsEnough(t *testing.T) {
	dsn := database(t)
	closed(t, connect(t, dsn))
	err := server(t).Exec(databaseOf(dsn), "CREATE ROLE node LOGIN PASSWORD 'x'",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO node")
	if err != nil {
		t.Fatal(err)
	}
	node := connect(t, secret.Text("user=node password=x "+asWords(t, dsn)))
	defer closed(t, node)
	if _, err := node.Passwords().Create(t.Context(), []store.Template{{Label: "routers"}}, storetest.Now); err != nil {
		t.Error(err)
	}
}

// asWords is host and dbname of a connection string.
func asWords(t *testing.T, dsn secret.Text) string {
	t.Helper()
	return fmt.Sprintf("host=%s dbname=%s sslmode=disable", hostOf(t, dsn), databaseOf(dsn))
}

func TestThreat_TheConnectionStringIsInNoError(t *testing.T) {
	const word = storetest.PostgresPassword
	good := string(database(t))
	words := asWords(t, secret.Text(good))
	for name, c := range map[string]struct{ dsn, want string }{
		"empty":                         {" ", "is empty"},
		"a URL that can't be parsed":    {"postgres://estra:" + word + "@h:port/db", "can't be read"},
		"words that can't be parsed":    {"host=h user password=" + word, "can't be read"},
		"a scheme that is none":         {"postgre://estra:" + word + "@h/db?sslmode=disable", "can't be read"},
		"an option of a wrong value":    {"host=h connect_timeout=" + word, "can't be read"},
		"a file that isn't there":       {"host=h sslmode=verify-full sslrootcert=/nowhere/" + word, "can't be read"},
		"a wrong password":              {words + " user=estra password=x" + word, "password authentication failed"},
		"a database that isn't there":   {strings.Replace(good, "/"+databaseOf(secret.Text(good)), "/nowhere", 1), `database "nowhere" does not exist`},
		"a password in the user's name": {words + " user=" + word + " password=" + word, "authentication failed"},
		"a server that isn't there":     {"host=/nowhere user=estra password=" + word, "/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := store.OpenPostgres(t.Context(), secret.Text(c.dsn), store.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if shown := fmt.Sprintf("%v %+v %#v", e, e, e); strings.Contains(shown, word) || strings.Contains(e.Error(), "\n") {
					t.Errorf("the error is %s", shown)
				}
			}
		})
	}
}

func TestAWrittenPasswordIsFound(t *testing.T) {
	for written, want := range map[string]bool{
		"{env.EST_DB}":                                                   false,
		"postgres://estra@db.example.net/estra":                          false,
		"postgres:///estra?host=/run/postgresql":                         false,
		"postgres://estra:{env.PW}@db.example.net/estra?sslmode=require": false,
		"host=db user=estra password={file./run/secrets/pw}":             false,
		"postgres://estra:word@db.example.net/estra":                     true,
		"postgresql://estra:wo{x}rd@{env.HOST}/estra":                    true,
		"postgres://db.example.net/estra?user=estra&password=word":       true,
		"host=db password = 'word'":                                      true,
	} {
		if got := store.PasswordInDSN(written); got != want {
			t.Errorf("%s: %t", written, got)
		}
	}
}
