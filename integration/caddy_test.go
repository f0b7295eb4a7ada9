// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	user     = "estuser"
	password = "estpwd-7Zq1"
)

// A site is a running Caddy with one Caddyfile.
type site struct {
	t       *testing.T
	dir     string
	admin   string // host:port
	port    int    // of the site itself
	http    int    // where http:// is served
	cmd     *exec.Cmd
	log     *lockedBuffer
	stopped bool
	plain   bool   // the site has no TLS
	bare    bool   // it may have no certificate yet
	binary  string // in place of this one
	adapted string // file with JSON, in place of the Caddyfile
	env     []string
}

// lockedBuffer keeps all output of a process.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// ports are handed out below those that the kernel gives to outgoing
// connections and to listeners on port 0, so that none of these takes one
// between the look and Caddy's start. None is handed out twice: Caddy shares a
// port with another process without a word (SO_REUSEPORT).
var ports = func() *atomic.Int64 {
	var next atomic.Int64
	next.Store(20_000 + int64(os.Getpid()*131%8_000))
	return &next
}()

// freePort finds a port that nobody listens on, for TCP and UDP.
func freePort(t *testing.T) int {
	t.Helper()
	for range 1000 {
		port := int(ports.Add(1))
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		l.Close()
		if err == nil {
			u.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// hash is a cheap bcrypt hash of the test password.
func hash(t *testing.T) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// caddyCommand runs this binary as Caddy, with a home of its own.
func caddyCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), asCaddy+"=1", "HOME="+dir,
		"XDG_DATA_HOME="+filepath.Join(dir, "data"), "XDG_CONFIG_HOME="+filepath.Join(dir, "config"))
	return cmd
}

// runCaddy runs one command to its end.
func runCaddy(t *testing.T, dir string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := caddyCommand(ctx, dir, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// write puts a file into dir.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// globals are the options that keep a test to itself.
const globals = `{
	admin ADMIN
	http_port HTTP
	https_port HTTPS
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	EXTRA
}
`

// config is what a test says of its site.
type config struct {
	site   string // the Caddyfile without global options; PORT, HASH and DIR are replaced
	policy string
	extra  string // further global options
	http   int    // where http:// is served; 0: at a free port
	dir    string // a folder from an earlier run
	files  map[string]string
}

// prepare writes the files of a site, and starts nothing.
func prepare(t *testing.T, c config) *site {
	t.Helper()
	s := &site{t: t, dir: c.dir, port: freePort(t), http: c.http, admin: fmt.Sprintf("127.0.0.1:%d", freePort(t)), log: &lockedBuffer{}}
	if s.dir == "" {
		s.dir = t.TempDir()
	}
	if s.http == 0 {
		s.http = freePort(t)
	}
	for name, text := range c.files {
		write(t, s.dir, name, text)
	}
	if c.policy != "" {
		write(t, s.dir, "policy.yaml", c.policy)
	}
	text := strings.NewReplacer("ADMIN", s.admin, "HTTPS", fmt.Sprint(s.port), "HTTP", fmt.Sprint(s.http), "EXTRA", c.extra).Replace(globals) +
		s.fill(c.site)
	write(t, s.dir, "Caddyfile", text)
	return s
}

func (s *site) fill(text string) string {
	return strings.NewReplacer("PORT", fmt.Sprint(s.port), "HASH", hash(s.t), "DIR", s.dir).Replace(text)
}

// serve starts Caddy and waits until it is ready.
func serve(t *testing.T, c config) *site {
	t.Helper()
	s := prepare(t, c)
	s.run()
	return s
}

func (s *site) run() {
	s.t.Helper()
	args := []string{"run", "--config", "Caddyfile", "--adapter", "caddyfile"}
	if s.adapted != "" {
		args = []string{"run", "--config", s.adapted}
	}
	s.cmd = s.command(context.Background(), args...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.stopped = false
	s.t.Cleanup(s.stop)
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if s.up() {
			return
		}
		time.Sleep(30 * time.Millisecond)
	}
	s.t.Fatalf("Caddy did not start:\n%s", s.log)
}

// command runs Caddy in the site's folder.
func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := caddyCommand(ctx, s.dir, args...)
	if s.binary != "" {
		cmd.Path, cmd.Args[0] = s.binary, s.binary
	}
	cmd.Env = append(cmd.Env, s.env...)
	return cmd
}

// up says whether the admin API answers and the site has its certificate,
// which Caddy obtains after it has started.
func (s *site) up() bool {
	res, err := http.Get("http://" + s.admin + "/est/ready")
	if err != nil {
		return false
	}
	res.Body.Close()
	if s.plain || s.bare {
		port := s.port
		if s.plain {
			port = s.http
		}
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	}
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{ServerName: "localhost", InsecureSkipVerify: true})
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// stop ends the process by its own id.
func (s *site) stop() {
	if s.cmd == nil || s.stopped {
		return
	}
	s.stopped = true
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = s.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-done
	}
}

// url is the address of an EST operation.
func (s *site) url(op string) string {
	return fmt.Sprintf("https://localhost:%d/.well-known/est/%s", s.port, op)
}

// root is the root of Caddy's CA `id`, as the operator finds it.
func (s *site) root(id string) string {
	return filepath.Join(s.dir, "data", "caddy", "pki", "authorities", id, "root.crt")
}

// tlsRoot is the root of the site's own certificate: that of the embedded CA,
// or that of Caddy's local CA where the site says so.
func (s *site) tlsRoot() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(s.dir, "Caddyfile"))
	if err != nil {
		s.t.Fatal(err)
	}
	if strings.Contains(string(text), "tls ra.pem ra.key") {
		return filepath.Join(s.dir, "hq-root.pem")
	}
	if strings.Contains(string(text), "certificate off") || strings.Contains(string(text), "tls internal") || strings.Contains(string(text), "second_certificate") {
		return s.root("local")
	}
	if strings.Contains(string(text), "upstream step_ca ") {
		return filepath.Join(s.dir, "root.pem")
	}
	if named := namedCA.FindSubmatch(text); named != nil {
		return s.root(string(named[1]))
	}
	return s.root("est")
}

var namedCA = regexp.MustCompile(`upstream internal (\w+)`)

func (s *site) tlsPool() *x509.CertPool {
	s.t.Helper()
	src, err := os.ReadFile(s.tlsRoot())
	if err != nil {
		s.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(src)
	return pool
}

// client speaks to the site with Go's own HTTP client.
func (s *site) client(change func(*tls.Config)) *http.Client {
	s.t.Helper()
	cfg := &tls.Config{RootCAs: s.tlsPool(), ServerName: "localhost"}
	if change != nil {
		change(cfg)
	}
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: len(cfg.NextProtos) == 0}
	s.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// sync waits for what Caddy has logged so far: the admin API logs a request of
// ours behind it, and the pipe keeps the order.
func (s *site) sync() {
	if s.stopped {
		return
	}
	mark := fmt.Sprintf("sync=%d", time.Now().UnixNano())
	res, err := http.Get("http://" + s.admin + "/est/ready?" + mark)
	if err != nil {
		s.t.Fatal(err)
	}
	res.Body.Close()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if strings.Contains(s.log.String(), mark) {
			return
		}
	}
	s.t.Fatal("Caddy logs no request to its admin API")
}

// audits are the audit records so far of what clients asked for.
func (s *site) audits() []map[string]any {
	s.t.Helper()
	s.sync()
	var all []map[string]any
	for line := range strings.Lines(s.log.String()) {
		var entry struct {
			Logger string         `json:"logger"`
			Record map[string]any `json:"record"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Logger == "http.handlers.est.audit" && entry.Record["op"] != "self" {
			all = append(all, entry.Record)
		}
	}
	return all
}

// body reads and closes.
func body(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	src, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}
