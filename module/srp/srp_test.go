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
	"os/exec"
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
		Engine: engine, Users: lookup(t, group), Realm: "devices", Observe: reps.add,
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
