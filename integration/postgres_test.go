// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-est/estra/ra/store/storetest"
)

var postgresSite = strings.Replace(onceSite, "registry fleet", "registry fleet\n\t\tstore postgres {env.EST_DB}", 1)

// newPostgres is a server of a test's own, which it may stop.
func newPostgres(t *testing.T) *storetest.Postgres {
	t.Helper()
	p, err := storetest.NewPostgres()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Remove(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// node is a Caddy with its store in a database.
func node(t *testing.T, p *storetest.Postgres) *site {
	t.Helper()
	s := prepare(t, config{site: postgresSite, policy: oncePolicy, extra: "debug"})
	s.env = []string{"EST_DB=" + string(p.DSN("postgres"))}
	s.run()
	return s
}

// otp runs `caddy est otp` against a running node.
func (s *site) otp(args ...string) string {
	s.t.Helper()
	out, errs, code := runCaddy(s.t, s.dir, append(append([]string{"est", "otp"}, args...), "--address", s.admin)...)
	if code != 0 {
		s.t.Fatalf("otp %v: exit %d\n%s%s", args, code, out, errs)
	}
	return out
}

// A password is made at one node, used at the other, and used up for both.
func TestTwoNodesShareOneTimePasswordsInPostgreSQL(t *testing.T) {
	t.Parallel()
	p := newPostgres(t)
	a, b := node(t, p), node(t, p)
	ids, secrets := passwordsOf(t, a.otp("create", "--label", "devices", "-n", "6", "--csv"))
	atA, atB := newDevice(t, a), newDevice(t, b)
	for _, d := range []*device{atA, atB} {
		d.csr("one", "/CN=d01.example.net", "")
		d.csr("other", "/CN=d01.example.net", "")
	}
	post := func(what string, d *device, name, secret, status string) {
		t.Helper()
		if got, _ := d.post("devices/simpleenroll", name, "--user :"+secret); got != status {
			t.Errorf("%s: %s, want %s", what, got, status)
		}
	}
	post("made at the other node", atB, "one", secrets[0], "200")
	post("with another key at the first node", atA, "other", secrets[0], "403")
	a.otp("revoke", ids[1])
	post("revoked at the other node", atB, "one", secrets[1], "401")
	if list := b.otp("list"); list != a.otp("list") || !strings.Contains(list, ids[0]+"  reserved") || !strings.Contains(list, ids[1]+"  revoked") {
		t.Errorf("the nodes list other things, or not these:\n%s", list)
	}
	for _, secret := range secrets[2:] { // at both at once, with other keys
		got := make(chan string, 2)
		for _, d := range []*device{atA, atB} {
			go func() { status, _ := d.post("devices/simpleenroll", "one", "--user :"+secret); got <- status }()
		}
		if one, two := <-got, <-got; one+two != "200403" && one+two != "403200" {
			t.Errorf("two keys at once: %s and %s", one, two)
		}
	}
	for _, s := range []*site{a, b} {
		s.sync()
		scanFor(t, s, secrets)
		hidesPostgres(t, s)
	}
}

// hidesPostgres looks for the connection string in what Caddy shows and keeps.
func hidesPostgres(t *testing.T, s *site) {
	t.Helper()
	res, err := http.Get("http://" + s.admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{"/config/": body(t, res), "the log": s.log.String()}
	saved, err := os.ReadFile(filepath.Join(s.dir, "config", "caddy", "autosave.json"))
	if err != nil {
		t.Fatal(err)
	}
	texts["autosave.json"] = string(saved)
	for where, text := range texts {
		for _, form := range []string{storetest.PostgresPassword, "pg-Secret", "4711@"} {
			if strings.Contains(text, form) {
				t.Errorf("%s has the password of the database", where)
			}
		}
	}
	if !strings.Contains(texts["/config/"], "{env.EST_DB}") || !strings.Contains(texts["the log"], "in PostgreSQL") {
		t.Error("nothing tells of the store: the test looks in the wrong place")
	}
}

func TestAStoreThatCanNotBeReachedKeepsTheOldConfiguration(t *testing.T) {
	t.Parallel()
	p := newPostgres(t)
	s := node(t, p)
	_, secrets := passwordsOf(t, s.otp("create", "--label", "devices", "--csv"))
	text, err := os.ReadFile(filepath.Join(s.dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ dsn, want string }{
		"nobody listens":          {"postgres://estra@localhost:1/estra", `Caddyfile:\d+: est: the store in PostgreSQL: failed to connect to .user=estra database=estra.: `},
		"a database that is none": {"{env.EST_DB}&dbname=nowhere", `Caddyfile:\d+: est: the store in PostgreSQL: .*does not exist`},
		"no connection string":    {"{env.NOBODY}", `Caddyfile:\d+: est: store: evaluated placeholder {env.NOBODY} is empty`},
		"words that are none":     {"x{env.EST_DB}", `Caddyfile:\d+: est: .*can't be read`},
	} {
		write(t, s.dir, "Caddyfile", strings.Replace(string(text), "{env.EST_DB}", c.dsn, 1))
		errs, code := s.reload()
		if code == 0 || !regexp.MustCompile(c.want).MatchString(errs) {
			t.Errorf("%s: %d, %s", name, code, errs)
		}
		if strings.Contains(errs, "pg-Secret") {
			t.Errorf("%s: the password is in %s", name, errs)
		}
	}
	d := newDevice(t, s)
	d.csr("one", "/CN=d01.example.net", "")
	d.enrol("devices/simpleenroll", "one", "--user :"+secrets[0])
	s.sync()
	hidesPostgres(t, s)
}

// A database that is gone costs requests a 503; one that is back serves.
func TestAPostgreSQLThatRestartsIsFoundAgain(t *testing.T) {
	t.Parallel()
	p := newPostgres(t)
	s := node(t, p)
	_, secrets := passwordsOf(t, s.otp("create", "--label", "devices", "-n", "2", "--csv"))
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	client, address := s.client(nil), s.url("devices/simpleenroll")
	var all sync.WaitGroup
	for range 3 {
		all.Go(func() {
			req, err := http.NewRequest(http.MethodPost, address, strings.NewReader("MIIB"))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/pkcs10")
			req.SetBasicAuth("", secrets[0])
			res, err := client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			text, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Retry-After") == "" || strings.Contains(string(text), "pg-Secret") {
				t.Errorf("%s, Retry-After %q: %s", res.Status, res.Header.Get("Retry-After"), text)
			}
		})
	}
	all.Wait()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	d := newDevice(t, s)
	d.csr("one", "/CN=d01.example.net", "")
	for _, secret := range secrets {
		d.enrol("devices/simpleenroll", "one", "--user :"+secret)
	}
	s.sync()
	hidesPostgres(t, s)
}

// est runs a command with the site's environment, and wants its exit code.
func (s *site) est(code int, args ...string) string {
	s.t.Helper()
	cmd := s.command(s.t.Context(), append([]string{"est"}, args...)...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != code {
		s.t.Fatalf("%v: %v, want exit %d\n%s", args, err, code, out)
	}
	return string(out)
}

// A store in use is checked and backed up; the backup moves it from SQLite to
// PostgreSQL and back, with passwords that are good there.
func TestAStoreInUseIsBackedUpAndMovedToAnotherEngine(t *testing.T) {
	t.Parallel()
	p := newPostgres(t)
	s := serve(t, config{site: onceSite, policy: oncePolicy})
	s.env = []string{"EST_DB=" + string(p.DSN("postgres"))}
	_, secrets := passwordsOf(t, s.otp("create", "--label", "devices", "-n", "3", "--csv"))
	d := newDevice(t, s)
	d.csr("one", "/CN=d01.example.net", "")
	d.enrol("devices/simpleenroll", "one", "--user :"+secrets[0])
	list := s.otp("list")

	if out := s.est(0, "store", "check", "--address", s.admin); !strings.Contains(out, "passwords            3\n") || !strings.HasSuffix(out, "nothing is wrong\n") {
		t.Error(out)
	}
	if out := s.est(0, "store", "migrate", "--address", s.admin); !strings.Contains(out, "the running server brought it up to date") {
		t.Error(out)
	}
	s.est(0, "store", "backup", "--address", s.admin, "a.jsonl")
	file := filepath.Join("data", "caddy", "est", "store.db")
	for _, command := range [][]string{{"check"}, {"migrate"}, {"backup", "b.jsonl"}} {
		if out := s.est(3, append(append([]string{"store"}, command...), "--store", file)...); !strings.Contains(out, "admin API") {
			t.Errorf("%v of the file of a running server: %s", command, out)
		}
	}
	s.est(3, "store", "backup", "--address", s.admin, "a.jsonl") // it is there
	s.est(3, "store", "restore", "--store", file, "a.jsonl")
	text, err := os.ReadFile(filepath.Join(s.dir, "a.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.dir, "part.jsonl", string(text[:len(text)-10]))
	s.est(2, "store", "restore", "--store", "part.db", "part.jsonl")
	s.est(3, "store", "restore", "a.jsonl")
	if out := s.est(3, "store", "check", "--postgres", string(p.DSN("postgres"))); strings.Contains(out, "pg-Secret") {
		t.Errorf("the connection string is in %s", out)
	}

	if out := s.est(0, "store", "restore", "--postgres", "EST_DB", "a.jsonl"); !strings.HasSuffix(out, " rows were restored\n") {
		t.Error(out)
	}
	s.stop()
	at := node(t, p)
	if got := at.otp("list"); got != list {
		t.Errorf("the database has\n%s\nand the file had\n%s", got, list)
	}
	d = newDevice(t, at)
	d.csr("two", "/CN=d02.example.net", "")
	d.enrol("devices/simpleenroll", "two", "--user :"+secrets[1])
	at.env = append(at.env, "NOWHERE=")
	for _, args := range [][]string{{"check", "--address", at.admin}, {"check", "--postgres", "EST_DB"}} {
		if out := at.est(0, append([]string{"store"}, args...)...); !strings.Contains(out, "PostgreSQL") || !strings.HasSuffix(out, "nothing is wrong\n") {
			t.Error(out)
		}
	}
	if out := at.est(0, "store", "migrate", "--postgres", "EST_DB"); !strings.HasSuffix(out, "up to date already\n") {
		t.Error(out)
	}
	at.est(3, "store", "migrate", "--postgres", "NOWHERE")
	at.est(3, "store", "restore", "--postgres", "EST_DB", filepath.Join(s.dir, "a.jsonl"))
	at.est(0, "store", "backup", "--postgres", "EST_DB", "b.jsonl")
	at.est(0, "store", "restore", "--store", "new/store.db", "b.jsonl")
	if got, want := at.est(0, "otp", "list", "--store", "new/store.db"), at.otp("list"); got != want {
		t.Errorf("the file has\n%s\nand the database\n%s", got, want)
	}
}
