// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package srp_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/module/srp"
	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/hello"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
	users "github.com/caddy-est/estra/ra/srp"
)

const (
	user     = "device-1"
	password = "k3q7x2m9w4t8r5n6"
)

// memory is one user.
type memory struct{ entry users.Entry }

func (m memory) Find(_ context.Context, realm, name string) (users.Entry, error) {
	e := m.entry
	if name != user {
		e.Salt, e.V = nil, nil
	}
	return e, nil
}

func lookup(t testing.TB, group string) users.Lookup {
	t.Helper()
	g, err := users.GroupNamed(group)
	if err != nil {
		t.Fatal(err)
	}
	v, err := users.New(rand.Reader, g, "devices", user, secret.Text(password))
	if err != nil {
		t.Fatal(err)
	}
	seed, err := users.NewSeed(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return users.NewLookup(memory{users.Entry{Group: group, Seed: seed, Salt: v.Salt, V: v.V}})
}

// reports are what became of connections.
type reports struct {
	mu  sync.Mutex
	all []certless.Report
}

func (r *reports) add(rep certless.Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, rep)
}

// wait gives the reports once there are n.
func (r *reports) wait(t *testing.T, n int) []certless.Report {
	t.Helper()
	for range 200 {
		r.mu.Lock()
		all := r.all
		r.mu.Unlock()
		if len(all) >= n {
			return all
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("there are not %d reports", n)
	return nil
}

// stateless hides the connection's state from net/http, which would take it for
// one of crypto/tls: as Caddy does.
type stateless struct{ net.Listener }

func (s stateless) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if _, ok := conn.(*tls.Conn); err != nil || ok {
		return conn, err
	}
	return struct{ net.Conn }{conn}, nil
}

// serve answers with who asks, and how long the body is.
func serve(t *testing.T, group string) (port string, reps *reports) {
	t.Helper()
	return serveFor(t, lookup(t, group), nil)
}

func serveFor(t *testing.T, look users.Lookup, attempts certless.Attempts) (port string, reps *reports) {
	t.Helper()
	engine, err := srp.New()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pair := ratest.NewRoot(t, "Web Root").Device(t, "localhost")
	config := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}}
	reps = &reports{}
	l := certless.Listen(tls.NewListener(hello.Listener{Listener: plain}, config), &certless.Queue{}, certless.Settings{
		Engine: engine, Users: look, Realm: "devices", Observe: reps.add, Attempts: attempts, Pending: 1000,
	})
	server := &http.Server{Handler: http.HandlerFunc(answer)}
	go func() { _ = server.Serve(stateless{l}) }()
	t.Cleanup(func() { _ = server.Close() })
	_, port, _ = net.SplitHostPort(plain.Addr().String())
	return port, reps
}

func answer(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	who := "nobody"
	if s := certless.SessionOf(r.Context()); s != nil {
		who = fmt.Sprintf("%s/%s %#x %#x %d", s.Realm, s.User, s.Version, s.Suite, len(s.Channel().Unique))
	}
	_, _ = fmt.Fprintf(w, "%s %s %d %v\n", who, r.Proto, n, err)
	if r.URL.Path == "/long" {
		_, _ = io.WriteString(w, strings.Repeat("0123456789abcdef", 20000))
	}
}

// run runs a command to its end, with what it reads.
func run(t *testing.T, stdin, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func curl(t *testing.T, name, word string, args ...string) (string, error) {
	t.Helper()
	return run(t, "", "curl", append([]string{"-sSk", "--tls-max", "1.2", "--ciphers", "SRP", "--tlsuser", name, "--tlspassword", word}, args...)...)
}

func gnutls(t *testing.T, port, name, word string) (string, error) {
	t.Helper()
	return run(t, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "gnutls-cli", "127.0.0.1", "-p", port,
		"--priority", "NORMAL:-KX-ALL:+SRP:-VERS-ALL:+VERS-TLS1.2", "--srpusername", name, "--srppasswd", word)
}

func TestAUserIsLetIn(t *testing.T) {
	for _, group := range users.GroupNames() {
		if group == "6144" || group == "8192" { // which take seconds
			continue
		}
		port, reps := serve(t, group)
		if out, err := curl(t, user, password, "https://127.0.0.1:"+port+"/"); err != nil || !strings.HasPrefix(out, "devices/device-1 0x303 0xc020 12 HTTP/1.1 0 ") {
			t.Errorf("curl, group %s: %q, %v", group, out, err)
		}
		out, err := gnutls(t, port, user, password)
		if err != nil || !strings.Contains(out, "devices/device-1 0x303 0xc0") || !strings.Contains(out, "extended master secret") || !strings.Contains(out, "EtM") {
			t.Errorf("gnutls-cli, group %s: %v\n%s", group, err, out)
		}
		if all := reps.wait(t, 2); all[0].Outcome != certless.Accepted || all[0].User != user {
			t.Errorf("%+v", all)
		}
	}
}

func TestAWrongPasswordLooksLikeAnUnknownUser(t *testing.T) {
	port, reps := serve(t, "2048")
	var said [2][]string
	for i, who := range [][2]string{{user, "wrong"}, {"device-2", password}, {"device-2", "wrong"}} {
		out, err := curl(t, who[0], who[1], "https://127.0.0.1:"+port+"/")
		if err == nil || !strings.Contains(out, "bad record mac") {
			t.Errorf("curl as %s: %q, %v", who[0], out, err)
		}
		said[0] = append(said[0], out)
		out, err = gnutls(t, port, who[0], who[1])
		if err == nil || !strings.Contains(out, "Bad record MAC") {
			t.Errorf("gnutls-cli as %s: %q, %v", who[0], out, err)
		}
		said[1] = append(said[1], strings.Join(strings.Split(out, "\n")[3:], "\n"))
		if said[0][i] != said[0][0] || said[1][i] != said[1][0] {
			t.Errorf("%s and %s: %q and %q", who[0], who[1], said[0][i], said[1][i])
		}
	}
	for i, r := range reps.wait(t, 6) {
		want := certless.Report{Outcome: certless.Unknown}
		if i < 2 {
			want = certless.Report{Outcome: certless.Wrong, User: user}
		}
		if r.Outcome != want.Outcome || r.User != want.User {
			t.Errorf("connection %d: %+v", i, r)
		}
	}
}

// TestManyAtOnce with bodies of 300 kB both ways, on connections that are kept,
// beside clients with certificates.
func TestManyAtOnce(t *testing.T) {
	port, _ := serve(t, "2048")
	url := "https://127.0.0.1:" + port
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, make([]byte, 300<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	turn := make(chan struct{}, 20)
	for i := range 300 {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			switch i % 10 {
			case 0:
				out, err := curl(t, user, password, "--data-binary", "@"+file, "-H", "Expect:", url+"/", url+"/")
				if err != nil || strings.Count(out, "HTTP/1.1 307200 <nil>") != 2 {
					t.Errorf("connection %d: %.200q, %v", i, out, err)
				}
			case 1:
				out, err := curl(t, user, password, url+"/long", url+"/", "-w", "%{num_connects}\n")
				if err != nil || len(out) < 320000 || !strings.HasSuffix(out, "<nil>\n0\n") {
					t.Errorf("connection %d: %d bytes, %v", i, len(out), err)
				}
			case 2:
				out, err := run(t, "", "curl", "-sSk", "--http2", url+"/")
				if err != nil || !strings.HasPrefix(out, "nobody HTTP/2.0") {
					t.Errorf("connection %d, with certificates: %q, %v", i, out, err)
				}
			default:
				if out, err := curl(t, user, password, url+"/"); err != nil || !strings.HasPrefix(out, "devices/device-1 ") {
					t.Errorf("connection %d: %q, %v", i, out, err)
				}
			}
		})
	}
	all.Wait()
}

// TestAClosedConnectionIsClosed, for a reader that waits, and for a client that
// has gone.
func TestAClosedConnectionIsClosed(t *testing.T) {
	port, _ := serve(t, "2048")
	out, err := run(t, "", "sh", "-c", "(printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n'; sleep 0.2) | gnutls-cli 127.0.0.1 -p "+port+
		" --priority NORMAL:-KX-ALL:+SRP:-VERS-ALL:+VERS-TLS1.2 --srpusername "+user+" --srppasswd "+password)
	if err != nil || !strings.Contains(out, "Handshake was completed") {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := curl(t, user, password, "https://127.0.0.1:"+port+"/"); err != nil || !strings.Contains(out, "device-1") {
		t.Errorf("%q, %v", out, err)
	}
}
