// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/room"
)

// turnMost is how long a handshake has its turn: it may wait for something that
// costs nothing here, such as a certificate that is fetched.
const turnMost = time.Second

// A Listener accepts each connection as a *Conn.
type Listener struct {
	net.Listener
	// Turns bounds how many servers' parts of a handshake are computed at once,
	// before anything was computed: who finds no turn is cut off. nil: no bound.
	Turns *room.Room
	// Crowded is told of each that is cut off; nil: nobody is.
	Crowded func(error)
}

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := NewConn(conn)
	c.turns, c.crowded = l.Turns, l.Crowded
	return c, nil
}

// A Conn reads along while a connection begins. It changes nothing. Like
// crypto/tls it takes one Read, or Peek, at a time.
type Conn struct {
	net.Conn
	reader Reader
	peeked []byte // read by Peek, and not yet by Read

	turns   *room.Room // nil: none is needed any more
	crowded func(error)

	mu    sync.Mutex // of what follows: Close may come at any time
	leave func()     // gives the turn back; nil: there is none
}

// NewConn reads along from here on.
func NewConn(conn net.Conn) *Conn { return &Conn{Conn: conn} }

// Hello is what the ClientHello said, as far as it was read.
func (c *Conn) Hello() *Hello { return c.reader.Hello() }

// Read reads from the connection, what was peeked at first. With the last of the
// ClientHello it waits for a turn, since what follows costs a signature.
func (c *Conn) Read(p []byte) (int, error) {
	c.done()
	n, err := c.read(p)
	if err == nil && c.turns != nil && c.reader.Done() && len(c.peeked) == 0 {
		if err := c.turn(); err != nil {
			return 0, err
		}
	}
	return n, err
}

// Write ends the turn: what is sent has been computed, and a client that takes
// it slowly holds up nobody.
func (c *Conn) Write(p []byte) (int, error) {
	c.done()
	return c.Conn.Write(p)
}

// Close ends the turn, too.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.done()
	return err
}

func (c *Conn) turn() error {
	turns := c.turns
	c.turns = nil // one for each connection
	leave, err := turns.Enter(context.Background(), time.Now())
	if err != nil {
		if c.crowded != nil {
			c.crowded(err)
		}
		return fmt.Errorf("a turn for the TLS handshake: %w", err)
	}
	end := time.AfterFunc(turnMost, leave)
	left := func() { end.Stop(); leave() }
	c.mu.Lock()
	c.leave = left
	c.mu.Unlock()
	return nil
}

// done gives the turn back, where there is one.
func (c *Conn) done() {
	c.mu.Lock()
	leave := c.leave
	c.leave = nil
	c.mu.Unlock()
	if leave != nil {
		leave()
	}
}

func (c *Conn) read(p []byte) (int, error) {
	if len(c.peeked) > 0 {
		n := copy(p, c.peeked)
		if c.peeked = c.peeked[n:]; len(c.peeked) == 0 {
			c.peeked = nil // and not what is before its end
		}
		return n, nil
	}
	n, err := c.Conn.Read(p)
	if !c.reader.Done() {
		c.reader.Feed(p[:n])
	}
	return n, err
}

// Peek waits for the ClientHello, or for what shows that there is none, and
// gives it as Hello does. Whatever it reads, Read reads again: it is as long as
// MaxSize and MaxRecords allow. The caller sets a deadline.
func (c *Conn) Peek() (*Hello, error) {
	var buf [2048]byte // most ClientHellos at once
	for !c.reader.Done() {
		n, err := c.Conn.Read(buf[:])
		c.reader.Feed(buf[:n])
		c.peeked = append(c.peeked, buf[:n]...)
		if err != nil && !c.reader.Done() {
			return nil, err
		}
	}
	return c.reader.Hello(), nil
}
