// SPDX-License-Identifier: Apache-2.0

package certless

import (
	"cmp"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/hello"
)

// A Queue hands on connections to whoever accepts them. The listeners of one
// address share it, those of a configuration and of the next, so that a connection
// whose handshake outlasts its own listener isn't lost. The zero value is ready.
type Queue struct {
	mu        sync.Mutex
	listeners int
	conns     chan net.Conn
	empty     chan struct{} // closed when the last listener is
}

func (q *Queue) enter() (conns chan net.Conn, empty chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.listeners++; q.listeners == 1 {
		q.conns, q.empty = make(chan net.Conn), make(chan struct{})
	}
	return q.conns, q.empty
}

func (q *Queue) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.listeners--; q.listeners == 0 {
		close(q.empty)
	}
}

// Listen looks at the connections of a TLS listener, behind which crypto/tls has
// read nothing yet: *tls.Conn over *hello.Conn. Those that offer SRP are taken
// over; all others are handed on as they are.
func Listen(inner net.Listener, queue *Queue, settings Settings) net.Listener {
	if settings.Timeout <= 0 {
		settings.Timeout = DefaultTimeout
	}
	if settings.Pending <= 0 {
		settings.Pending = DefaultPending
	}
	if settings.Random == nil {
		settings.Random = rand.Reader
	}
	l := &listener{
		Listener: inner, Settings: settings, queue: queue,
		errs: make(chan error), done: make(chan struct{}), places: newPlaces(settings.Pending),
	}
	l.conns, l.empty = queue.enter()
	go l.run()
	return l
}

type listener struct {
	net.Listener
	Settings
	queue *Queue
	conns chan net.Conn
	empty chan struct{}
	errs  chan error
	done  chan struct{}
	once  sync.Once

	places *places
}

// Accept gives a connection of this listener, or of one before it.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done: // and nothing more, though there may be something
		return nil, l.closed()
	default:
	}
	select {
	case c := <-l.conns:
		select {
		case <-l.done: // meanwhile; the server that asked is about to end
			go l.hand(c)
			return nil, l.closed()
		default:
			return c, nil
		}
	case err := <-l.errs:
		return nil, err
	case <-l.done:
		return nil, l.closed()
	}
}

func (l *listener) closed() error {
	return &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
}

// Close leaves connections whose handshake is under way to whoever accepts next.
func (l *listener) Close() error {
	err := l.Listener.Close()
	l.once.Do(func() {
		close(l.done)
		l.queue.leave()
	})
	return err
}

// run accepts until the listener is closed.
func (l *listener) run() {
	for {
		conn, err := l.Listener.Accept()
		if err == nil {
			l.begin(conn)
			continue
		}
		select {
		case l.errs <- err: // net/http waits after an error that passes by
		case <-l.done:
			return
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
	}
}

// begin looks at a connection beside the others, where there is a place.
func (l *listener) begin(conn net.Conn) {
	plain, seen := sniffed(conn)
	if !seen { // it isn't TLS
		l.hand(conn)
		return
	}
	network := NetworkOf(addressOf(conn))
	if !l.places.take(network) {
		if l.Crowded != nil {
			l.Crowded()
		}
		l.hand(conn)
		return
	}
	go func() {
		defer l.places.give(network)
		l.look(conn, plain)
	}()
}

// sniffed is what is under a connection that crypto/tls hasn't read from.
func sniffed(conn net.Conn) (*hello.Conn, bool) {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil, false
	}
	plain, ok := t.NetConn().(*hello.Conn)
	return plain, ok
}

// hand gives a connection to whoever accepts.
func (l *listener) hand(conn net.Conn) {
	select {
	case l.conns <- conn:
	case <-l.empty:
		_ = conn.Close() // as the kernel does with those that nobody accepted
	}
}

// look waits for the ClientHello, and decides who does the handshake.
func (l *listener) look(conn net.Conn, plain *hello.Conn) {
	at, ends := l.now(), time.Now().Add(l.Timeout) // on the system's clock
	_ = plain.SetDeadline(ends)
	said, err := plain.Peek()
	if err != nil {
		_ = plain.Close()
		return
	}
	if said.OffersSRP() {
		l.takeOver(ends, plain, said, at)
		return
	}
	_ = plain.SetDeadline(time.Time{})
	l.hand(conn)
}

// takeOver does the handshake with SRP.
func (l *listener) takeOver(ends time.Time, plain *hello.Conn, said *hello.Hello, at time.Time) {
	rep := Report{At: at, Remote: addressOf(plain), Realm: l.Realm}
	made, err := l.handshake(ends, plain, said, &rep)
	rep.Took = l.now().Sub(at)
	if err != nil {
		rep.Reason = cmp.Or(rep.Reason, err.Error())
		_ = plain.Close()
	}
	if l.Observe != nil {
		l.Observe(rep)
	}
	if err != nil {
		return
	}
	_ = made.SetDeadline(time.Time{})
	l.hand(made)
}

// places bound how many connections are looked at.
type places struct {
	mu          sync.Mutex
	most, share int
	taken       int
	by          map[netip.Addr]int
}

func newPlaces(n int) *places {
	return &places{most: n, share: (n + 3) / 4, by: make(map[netip.Addr]int)}
}

func (p *places) take(network netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.most || p.by[network] >= p.share {
		return false
	}
	p.taken++
	p.by[network]++
	return true
}

func (p *places) give(network netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.by[network]--; p.by[network] == 0 {
		delete(p.by, network)
	}
}

// panicked makes an error of a panic, which would end the process: nothing else
// stands under this goroutine.
func panicked(v any) error { return fmt.Errorf("panic: %v", v) }
