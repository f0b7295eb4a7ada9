// SPDX-License-Identifier: Apache-2.0

package hello

import "net"

// A Listener accepts each connection as a *Conn.
type Listener struct{ net.Listener }

// Accept implements net.Listener.
func (l Listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return NewConn(conn), nil
}

// A Conn reads along while a connection begins. It changes nothing. Like
// crypto/tls it takes one Read, or Peek, at a time.
type Conn struct {
	net.Conn
	reader Reader
	peeked []byte // read by Peek, and not yet by Read
}

// NewConn reads along from here on.
func NewConn(conn net.Conn) *Conn { return &Conn{Conn: conn} }

// Hello is what the ClientHello said, as far as it was read.
func (c *Conn) Hello() *Hello { return c.reader.Hello() }

// Read reads from the connection, what was peeked at first.
func (c *Conn) Read(p []byte) (int, error) {
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
