// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/caddy-est/estra/ra/secret"
)

// What a server of the tests has.
const (
	// PostgresPassword must be in nothing that anybody prints.
	PostgresPassword = "pg-Secret%/4711"
	postgresUser     = "estra"
	// startTime is how long a server may take to come up, or a standby to
	// become the primary, on a machine that is busy.
	startTime = time.Minute
)

// A Postgres is a PostgreSQL server of the tests' own: in a temporary folder,
// on a Unix socket there, and by another user where the tests are root, as
// PostgreSQL wants it. It is Debian's, or the one in PATH.
type Postgres struct {
	folder  string
	bin     string
	cmd     *exec.Cmd
	exited  chan struct{}
	log     bytes.Buffer
	next    atomic.Int64
	standby bool
}

// NewPostgres makes a server and waits until it answers. The caller stops it.
func NewPostgres() (*Postgres, error) {
	p, err := newPostgres()
	if err != nil {
		return nil, err
	}
	err = p.prepare(p.tool("initdb"), "--pgdata="+p.data(), "--username="+postgresUser, "--auth=scram-sha-256",
		"--pwfile="+filepath.Join(p.folder, "password"), "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions")
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		return nil, errors.Join(err, p.Remove())
	}
	return p, nil
}

func newPostgres() (*Postgres, error) {
	bin, err := postgresBin()
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "estra-pg-") // a socket's path is short
	if err != nil {
		return nil, err
	}
	p := &Postgres{folder: folder, bin: bin}
	err = errors.Join(
		os.WriteFile(filepath.Join(folder, "password"), []byte(PostgresPassword), 0o600),
		os.WriteFile(filepath.Join(folder, "pgpass"), []byte("*:*:*:*:"+PostgresPassword), 0o600),
		give(folder), give(filepath.Join(folder, "password")), give(filepath.Join(folder, "pgpass")),
	)
	if err != nil {
		return nil, errors.Join(err, p.Remove())
	}
	return p, nil
}

// postgresBin is the folder of the newest server: Debian has none of its
// programs in PATH.
func postgresBin() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		newest := slices.MaxFunc(found, func(a, b string) int { return len(a) - len(b) + strings.Compare(a, b) })
		return filepath.Dir(newest), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", errors.New("the tests need a PostgreSQL server, and there is no initdb: on Debian, apt-get install postgresql (.ci/run does it)")
	}
	return filepath.Dir(path), nil
}

func (p *Postgres) tool(name string) string { return filepath.Join(p.bin, name) }
func (p *Postgres) data() string            { return filepath.Join(p.folder, "data") }

// command runs a program of the server in its folder, as its user.
func (p *Postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = p.folder
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + p.folder, "PGPASSFILE=" + filepath.Join(p.folder, "pgpass")}
	cmd.SysProcAttr = unprivileged()
	return cmd
}

func (p *Postgres) prepare(name string, args ...string) error {
	if out, err := p.command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, out)
	}
	return nil
}

// Start starts a server that was stopped or killed, and waits until it
// answers.
func (p *Postgres) Start() error {
	cmd := p.command(p.tool("postgres"), "-D", p.data(), "-k", p.folder, "-c", "listen_addresses=", "-c", "max_connections=200",
		"-c", "wal_level=replica", "-c", "logging_collector=off")
	p.log.Reset()
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	p.cmd, p.exited = cmd, exited
	go func() {
		_ = cmd.Wait() // the log says why
		close(exited)
	}()
	if err := p.await(func(ctx context.Context, conn *pgx.Conn) (bool, error) { return true, conn.Ping(ctx) }); err != nil {
		return errors.Join(err, p.Kill())
	}
	return nil
}

// await asks the server until it gives the answer.
func (p *Postgres) await(ask func(context.Context, *pgx.Conn) (bool, error)) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	for {
		done, err := p.ask(ctx, ask)
		if done {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("postgres ended:\n%s", p.log.String())
		case <-ctx.Done():
			return fmt.Errorf("postgres isn't ready after %s: %w", startTime, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *Postgres) ask(ctx context.Context, ask func(context.Context, *pgx.Conn) (bool, error)) (bool, error) {
	conn, err := pgx.Connect(ctx, string(p.DSN("postgres")))
	if err != nil {
		return false, err
	}
	defer conn.Close(ctx) //nolint:errcheck // it was only to look
	done, err := ask(ctx, conn)
	return done && err == nil, err
}

// Exec runs statements in a database.
func (p *Postgres) Exec(database string, statements ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	conn, err := pgx.Connect(ctx, string(p.DSN(database)))
	if err != nil {
		return err
	}
	for _, s := range statements {
		if _, err = conn.Exec(ctx, s); err != nil {
			break
		}
	}
	return errors.Join(err, conn.Close(ctx))
}

// Database makes an empty database and gives its name.
func (p *Postgres) Database() (string, error) {
	name := fmt.Sprintf("db%d", p.next.Add(1))
	return name, p.Exec("postgres", "CREATE DATABASE "+name)
}

// DSN is the connection string of a database. Others of the servers are asked
// where this one can't write: standbys.
func (p *Postgres) DSN(database string, others ...*Postgres) secret.Text {
	hosts := []string{p.folder}
	for _, other := range others {
		hosts = append(hosts, other.folder)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(postgresUser, PostgresPassword), Path: "/" + database}
	u.RawQuery = url.Values{"host": {strings.Join(hosts, ",")}, "sslmode": {"disable"}}.Encode()
	return secret.Text(u.String())
}

// Standby makes a server that follows this one. Synchronous: a commit waits
// until both have it.
func (p *Postgres) Standby(synchronous bool) (*Postgres, error) {
	s, err := newPostgres()
	if err != nil {
		return nil, err
	}
	s.standby = true
	err = s.prepare(s.tool("pg_basebackup"), "--pgdata="+s.data(), "--host="+p.folder, "--username="+postgresUser,
		"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast")
	if err == nil {
		err = s.Start()
	}
	if err == nil && synchronous {
		err = p.Exec("postgres", "ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
	}
	if err != nil {
		return nil, errors.Join(err, s.Remove())
	}
	return s, nil
}

// Promote makes a standby the primary (what `pg_ctl promote` does), and waits
// until it takes writes. It waits for no standby of its own.
func (p *Postgres) Promote() error {
	err := p.Exec("postgres", "SELECT pg_promote(false)")
	if err != nil {
		return err
	}
	err = p.await(func(ctx context.Context, conn *pgx.Conn) (bool, error) {
		var follows bool
		err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&follows)
		return !follows, err
	})
	if err != nil {
		return err
	}
	return p.Exec("postgres", "ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
}

// Stop ends the server: clients are cut off, and what they have begun is
// undone.
func (p *Postgres) Stop() error { return p.end(syscall.SIGINT) }

// Kill ends the server as a crash of its machine would: nothing is written
// any more.
func (p *Postgres) Kill() error { return p.end(syscall.SIGQUIT) }

func (p *Postgres) end(sig syscall.Signal) error {
	if p.cmd == nil {
		return nil
	}
	select {
	case <-p.exited:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(sig); err != nil {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(startTime):
		return errors.Join(errors.New("postgres doesn't end"), p.cmd.Process.Kill())
	}
}

// Remove stops the server and removes its folder.
func (p *Postgres) Remove() error { return errors.Join(p.Stop(), os.RemoveAll(p.folder)) }
