// SPDX-License-Identifier: Apache-2.0

package certless_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/hello"
	"github.com/caddy-est/estra/ra/srp"
)

func vec16(parts ...[]byte) []byte {
	all := slices.Concat(parts...)
	return append([]byte{byte(len(all) >> 8), byte(len(all))}, all...)
}

func extension(id byte, data ...[]byte) []byte { return append([]byte{0, id}, vec16(data...)...) }

var demanded = slices.Concat(extension(22), extension(23))

// offer is a record with a ClientHello that offers SRP for a user.
func offer(user string, more ...[]byte) []byte {
	extensions := append([][]byte{extension(12, []byte{byte(len(user))}, []byte(user))}, more...)
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), []byte{0}, vec16([]byte{0xc0, 0x20}), []byte{1, 0}, vec16(extensions...))
	msg := append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	return append([]byte{22, 3, 1}, vec16(msg)...)
}

// engine stands for TLS: behind its ClientHello a client sends the first byte of
// the verifier that its password makes.
type engine struct {
	// held is where a handshake waits; nil: it doesn't.
	held chan struct{}
	// panics with this.
	panics any
}

type made struct{ net.Conn }

func (made) Made() certless.Session {
	return certless.Session{Version: tls.VersionTLS12, Suite: 0xc020, Unique: []byte("twelve bytes")}
}

func (e *engine) Handshake(conn net.Conn, v srp.Verifier) (certless.Conn, error) {
	if e.panics != nil {
		panic(e.panics)
	}
	if e.held != nil {
		<-e.held
	}
	said := make([]byte, len(offer(v.User, demanded))+1)
	if _, err := io.ReadFull(conn, said); err != nil {
		return nil, err
	}
	if last := said[len(said)-1]; last != v.V[0] {
		_, _ = conn.Write([]byte{21, 3, 3, 0, 2, 2, 20})
		return nil, &certless.Refusal{Guess: last != 0xff, Reason: "bad record mac"}
	}
	return made{conn}, nil
}

// people is a Lookup: alice's verifier begins with a, that of all others with x.
type people struct{ broken error }

func (p people) Verifier(_ context.Context, realm, user string) (v srp.Verifier, known bool, err error) {
	group, err := srp.GroupNamed(srp.DefaultGroup)
	if err != nil || p.broken != nil {
		return v, false, errors.Join(err, p.broken)
	}
	v = srp.Verifier{Realm: realm, User: user, Group: group, Salt: []byte("salt"), V: []byte{'x'}}
	if known = user == "alice"; known {
		v.V = []byte{'a'}
	}
	return v, known, nil
}

// guard is an Attempts.
type guard struct {
	err error
	mu  sync.Mutex
	was []string
}

func (g *guard) Begin(_ context.Context, _ netip.Addr, user string, _ time.Time) (func(guessed, right bool), error) {
	return func(guessed, right bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		what := user
		if guessed {
			what += " guessed"
		}
		if right {
			what += " right"
		}
		g.was = append(g.was, what)
	}, g.err
}

// A server listens on a port.
type server struct {
	net.Listener
	queue *certless.Queue
	port  string
	seen  chan certless.Report
}

func listen(t *testing.T, s certless.Settings) *server {
	t.Helper()
	return listenAt(t, &certless.Queue{}, s)
}

func listenAt(t *testing.T, queue *certless.Queue, s certless.Settings) *server {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	made := &server{queue: queue, port: plain.Addr().String(), seen: make(chan certless.Report, 100)}
	s.Observe = func(r certless.Report) { made.seen <- r }
	if s.Realm == "" {
		s.Realm = "devices"
	}
	made.Listener = certless.Listen(tls.NewListener(hello.Listener{Listener: plain}, &tls.Config{}), queue, s)
	t.Cleanup(func() { _ = made.Close() })
	return made
}

// send begins a connection.
func (s *server) send(t *testing.T, bytes ...byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write(bytes); err != nil {
		t.Fatal(err)
	}
	return conn
}

// read is what a connection answers until its end.
func read(t *testing.T, conn net.Conn) []byte {
	t.Helper()
	got, err := io.ReadAll(conn)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	return got
}

func (s *server) report(t *testing.T) certless.Report {
	t.Helper()
	select {
	case r := <-s.seen:
		return r
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told")
		return certless.Report{}
	}
}

// accepts waits for a connection.
func accepts(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	type result struct {
		conn net.Conn
		err  error
	}
	got := make(chan result, 1)
	go func() {
		conn, err := l.Accept()
		got <- result{conn, err}
	}()
	select {
	case r := <-got:
		if r.err != nil {
			t.Fatal(r.err)
		}
		t.Cleanup(func() { _ = r.conn.Close() })
		return r.conn
	case <-time.After(10 * time.Second):
		t.Fatal("there is no connection")
		return nil
	}
}

func TestWhoHasThePasswordIsLetIn(t *testing.T) {
	g := &guard{}
	s := listen(t, certless.Settings{Engine: &engine{}, Users: people{}, Attempts: g})
	s.send(t, append(offer("alice", demanded), 'a')...)
	conn := accepts(t, s)
	ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, conn.LocalAddr())
	session := certless.SessionOf(ctx)
	if session == nil || session.Realm != "devices" || session.User != "alice" {
		t.Fatalf("%+v", session)
	}
	if c := session.Channel(); c.Version != tls.VersionTLS12 || string(c.Unique) != "twelve bytes" || len(c.Exporter) != 0 {
		t.Errorf("%+v", c)
	}
	state := conn.(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
	if !state.HandshakeComplete || state.Version != tls.VersionTLS12 || state.CipherSuite != 0xc020 || state.ServerName != "127.0.0.1" ||
		string(state.TLSUnique) != "twelve bytes" || state.PeerCertificates != nil {
		t.Errorf("%+v", state)
	}
	if conn.LocalAddr().String() != s.port {
		t.Errorf("the local address is %s", conn.LocalAddr())
	}
	if r := s.report(t); r.Outcome != certless.Accepted || r.User != "alice" || r.Realm != "devices" || r.Reason != "" || !r.Remote.IsLoopback() {
		t.Errorf("%+v", r)
	}
	if !slices.Equal(g.was, []string{"alice right"}) {
		t.Errorf("%q", g.was)
	}
}

func TestTheNameThatTheClientCallsIsKept(t *testing.T) {
	hi := offer("alice", demanded, extension(0, vec16([]byte{0}, vec16([]byte("est.example.net")))))
	// The engine takes for the password what is behind a hello without the name.
	s := listen(t, certless.Settings{Engine: &engine{}, Users: fixed(hi[len(offer("alice", demanded))])})
	s.send(t, hi...)
	state := accepts(t, s).(interface{ ConnectionState() tls.ConnectionState }).ConnectionState()
	if state.ServerName != "est.example.net" {
		t.Errorf("%q", state.ServerName)
	}
}

// fixed is a Lookup with one verifier.
type fixed byte

func (f fixed) Verifier(ctx context.Context, realm, user string) (srp.Verifier, bool, error) {
	v, _, err := people{}.Verifier(ctx, realm, user)
	v.V = []byte{byte(f)}
	return v, true, err
}

func TestThreat_EveryRefusalHasOneAlert(t *testing.T) {
	for name, test := range map[string]struct {
		user     string
		demanded []byte
		word     byte
		guard    error
		users    people
		panics   any
		alert    byte
		want     certless.Report
		counted  string
	}{
		"a wrong password":           {user: "alice", word: 'b', alert: 20, want: certless.Report{Outcome: certless.Wrong, User: "alice", Reason: "the password is wrong"}, counted: "alice guessed"},
		"an unknown user":            {user: "mallory", word: 'b', alert: 20, want: certless.Report{Outcome: certless.Unknown, Reason: "there is no such user"}, counted: "mallory guessed"},
		"the verifier of nobody met": {user: "mallory", word: 'x', want: certless.Report{Outcome: certless.Unknown, Reason: "there is no such user"}, counted: "mallory guessed"},
		"throttled, though right":    {user: "alice", word: 'a', guard: certless.ErrThrottled, alert: 20, want: certless.Report{Outcome: certless.Throttled, User: "alice", Reason: "too many wrong passwords from this address"}},
		"throttled and unknown":      {user: "mallory", word: 'b', guard: certless.ErrThrottled, alert: 20, want: certless.Report{Outcome: certless.Throttled, Reason: "too many wrong passwords from this address"}},
		"another failure":            {user: "alice", word: 0xff, alert: 20, want: certless.Report{Outcome: certless.Broken, User: "alice", Reason: "bad record mac"}, counted: "alice"},
		"without encrypt-then-MAC":   {user: "alice", demanded: extension(23), alert: 40, want: certless.Report{Outcome: certless.Unfit, Reason: "the client doesn't offer encrypt-then-MAC (RFC 7366) and extended master secret (RFC 7627)"}},
		"without extended secret":    {user: "alice", demanded: extension(22), alert: 40, want: certless.Report{Outcome: certless.Unfit, Reason: "the client doesn't offer encrypt-then-MAC (RFC 7366) and extended master secret (RFC 7627)"}},
		"a store that is away":       {user: "alice", word: 'a', users: people{errors.New("no store")}, alert: 80, want: certless.Report{Outcome: certless.Failed, Reason: "the user can't be looked up: no store"}, counted: "alice"},
		"no turn to guess":           {user: "alice", word: 'a', guard: errors.New("others guess"), alert: 80, want: certless.Report{Outcome: certless.Failed, Reason: "others guess"}},
		"a panic":                    {user: "alice", word: 'a', panics: "oh", want: certless.Report{Outcome: certless.Failed, User: "alice", Reason: "panic: oh"}, counted: "alice"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &guard{err: test.guard}
			s := listen(t, certless.Settings{Engine: &engine{panics: test.panics}, Users: test.users, Attempts: g, Random: bytes.NewReader(make([]byte, 1<<10))})
			if test.demanded == nil {
				test.demanded = demanded
			}
			got := read(t, s.send(t, append(offer(test.user, test.demanded), test.word)...))
			var want []byte
			if test.alert != 0 {
				want = []byte{21, 3, 3, 0, 2, 2, test.alert}
			}
			if !bytes.Equal(got, want) && len(got) != 0 { // a reset may take the alert away
				t.Errorf("answered %x, want %x", got, want)
			}
			r := s.report(t)
			if r.Realm != "devices" || !r.Remote.IsLoopback() || r.At.IsZero() {
				t.Errorf("%+v", r)
			}
			r.Realm, r.Remote, r.At, r.Took = "", netip.Addr{}, time.Time{}, 0
			if r != test.want {
				t.Errorf("%+v, want %+v", r, test.want)
			}
			if was := strings.Join(g.was, ", "); was != test.counted {
				t.Errorf("counted %q, want %q", was, test.counted)
			}
		})
	}
}

func TestOtherConnectionsStayAsTheyAre(t *testing.T) {
	s := listen(t, certless.Settings{Engine: &engine{panics: "not for these"}, Users: people{}})
	for name, stream := range map[string][]byte{
		"plain HTTP":          []byte("GET / HTTP/1.1\r\n\r\n"),
		"another suite":       bytes.Replace(offer("alice", demanded), []byte{0xc0, 0x20}, []byte{0xc0, 0x2b}, 1),
		"a suite, no user":    bytes.Replace(offer("alice", demanded), []byte{0, 12, 0, 6}, []byte{0, 99, 0, 6}, 1),
		"malformed":           bytes.Replace(offer("alice", demanded), []byte{0, 12, 0, 6, 5}, []byte{0, 12, 0, 6, 9}, 1),
		"another message":     {22, 3, 1, 0, 4, 2, 0, 0, 0},
		"a record too long":   {22, 3, 1, 0xff, 0xff},
		"no TLS that we know": {0x80, 0x2e, 1, 3, 1},
	} {
		s.send(t, stream...)
		conn, ok := accepts(t, s).(*tls.Conn)
		if !ok {
			t.Fatalf("%s: not crypto/tls's own", name)
		}
		got := make([]byte, len(stream))
		_ = conn.SetDeadline(time.Time{})
		if _, err := io.ReadFull(conn.NetConn(), got); err != nil || !bytes.Equal(got, stream) {
			t.Errorf("%s: crypto/tls would read %x, %v", name, got, err)
		}
		if certless.SessionOf(context.WithValue(t.Context(), http.LocalAddrContextKey, conn.LocalAddr())) != nil {
			t.Errorf("%s has a session", name)
		}
	}
	if certless.SessionOf(t.Context()) != nil {
		t.Error("there is a session where no connection is")
	}
}

func TestAConnectionThatIsNoTLSIsHandedOn(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := certless.Listen(plain, &certless.Queue{}, certless.Settings{})
	defer l.Close()
	if _, err := net.Dial("tcp", plain.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if conn, ok := accepts(t, l).(*net.TCPConn); !ok {
		t.Errorf("%T", conn)
	}
}

func TestAStalledClientDelaysNobodyAndEnds(t *testing.T) {
	s := listen(t, certless.Settings{Engine: &engine{}, Users: people{}, Timeout: 300 * time.Millisecond})
	var stalled []net.Conn
	for _, part := range [][]byte{nil, {22}, offer("alice", demanded)[:20], offer("alice", demanded)} {
		stalled = append(stalled, s.send(t, part...))
	}
	s.send(t, append(offer("alice", demanded), 'a')...)
	accepts(t, s)
	for i, conn := range stalled {
		if got := read(t, conn); len(got) != 0 {
			t.Errorf("connection %d: %x", i, got)
		}
	}
	outcomes := []string{string(s.report(t).Outcome), string(s.report(t).Outcome)}
	slices.Sort(outcomes)
	if !slices.Equal(outcomes, []string{"accepted", "gone"}) {
		t.Errorf("%q: one that sends no password is reported, and who says nothing isn't", outcomes)
	}
}

func TestTheDeadlineOfTheHandshakeEndsWithIt(t *testing.T) {
	s := listen(t, certless.Settings{Engine: &engine{}, Users: people{}, Timeout: 200 * time.Millisecond})
	client := s.send(t, append(offer("alice", demanded), 'a')...)
	conn := accepts(t, s)
	time.AfterFunc(400*time.Millisecond, func() { _, _ = client.Write([]byte("late")) })
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Error(err)
	}
}

func TestThreat_OneAddressHasAQuarterOfThePlaces(t *testing.T) {
	crowded := make(chan struct{}, 10)
	s := listen(t, certless.Settings{Engine: &engine{}, Users: people{}, Pending: 8, Crowded: func() { crowded <- struct{}{} }})
	s.send(t)
	s.send(t)
	time.Sleep(50 * time.Millisecond) // until they are accepted
	s.send(t, append(offer("alice", demanded), 'a')...)
	if _, ok := accepts(t, s).(*tls.Conn); !ok {
		t.Error("the third connection is looked at")
	}
	select {
	case <-crowded:
	default:
		t.Error("nobody was told")
	}
}

func TestAConnectionOutlivesItsListener(t *testing.T) {
	queue := &certless.Queue{}
	held := make(chan struct{})
	before := listenAt(t, queue, certless.Settings{Engine: &engine{held: held}, Users: people{}})
	before.send(t, append(offer("alice", demanded), 'a')...)
	slow := before.send(t, offer("bob", demanded)[:10]...) // of crypto/tls or not, who knows
	time.Sleep(50 * time.Millisecond)
	after := listenAt(t, queue, certless.Settings{Engine: &engine{}, Users: people{}})
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := before.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener: %v", err)
	}
	close(held)
	if got := accepts(t, after).LocalAddr().String(); got != before.port {
		t.Errorf("the connection to %s isn't handed on: %s", before.port, got)
	}
	if _, err := slow.Write(bytes.Replace(offer("bob", demanded), []byte{0xc0, 0x20}, []byte{0xc0, 0x2b}, 1)[10:]); err != nil {
		t.Fatal(err)
	}
	if _, ok := accepts(t, after).(*tls.Conn); !ok {
		t.Error("the slow connection isn't handed on")
	}
}

func TestWithoutAListenerAConnectionEnds(t *testing.T) {
	held := make(chan struct{})
	s := listen(t, certless.Settings{Engine: &engine{held: held}, Users: people{}})
	conn := s.send(t, append(offer("alice", demanded), 'a')...)
	time.Sleep(50 * time.Millisecond)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_ = s.Close() // twice is once
	close(held)
	if got := read(t, conn); len(got) != 0 {
		t.Errorf("%x", got)
	}
	again := listenAt(t, s.queue, certless.Settings{Engine: &engine{}, Users: people{}})
	again.send(t, append(offer("alice", demanded), 'a')...)
	accepts(t, again)
}

// failing gives an error, once it is asked, and then connections.
type failing struct {
	net.Listener
	once sync.Once
}

func (f *failing) Accept() (conn net.Conn, err error) {
	f.once.Do(func() { err = errors.New("too many open files") })
	if err != nil {
		return nil, err
	}
	return f.Listener.Accept()
}

func TestAnErrorOfAcceptIsHandedOn(t *testing.T) {
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := certless.Listen(&failing{Listener: plain}, &certless.Queue{}, certless.Settings{})
	defer l.Close()
	if _, err := l.Accept(); err == nil || err.Error() != "too many open files" {
		t.Errorf("%v", err)
	}
	if _, err := net.Dial("tcp", plain.Addr().String()); err != nil {
		t.Fatal(err)
	}
	accepts(t, l)
}

func TestANetworkIsAHost(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8:1:2:3::4": "2001:db8:1:2::", "fe80::1%eth0": "fe80::",
	} {
		if got := certless.NetworkOf(netip.MustParseAddr(from)).String(); got != want {
			t.Errorf("%s: %s", from, got)
		}
	}
}
