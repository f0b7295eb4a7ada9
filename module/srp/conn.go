// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package srp

// #include "openssl.h"
import "C"

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
	"unsafe"

	"github.com/caddy-est/estra/ra/certless"
)

// A Conn is a connection by OpenSSL, which reads and writes memory; the network
// is Go's, with its deadlines. Like every net.Conn it takes one reader and one
// writer at a time, and Close beside them.
type Conn struct {
	net.Conn
	made certless.Session

	reading sync.Mutex
	in      [4096]byte // from the network
	ended   error      // of reading

	// writing is held from where records are made until they are sent: they are
	// numbered. It is locked before mu.
	writing sync.Mutex
	out     []byte
	broken  error // of writing: half a record may have been sent

	mu  sync.Mutex
	ssl *C.SSL // nil once closed
}

// Made implements certless.Conn.
func (c *Conn) Made() certless.Session { return c.made }

// maxPlain is what one record takes (RFC 5246 section 6.2.1).
const maxPlain = 16 << 10

// Read implements net.Conn.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if c.ended != nil {
			return 0, c.ended
		}
		r, leaving, err := c.read(p)
		if err != nil {
			return 0, err
		}
		if leaving { // an alert
			_ = c.flush()
		}
		switch r.code {
		case C.SSL_ERROR_NONE:
			return int(r.n), nil
		case C.SSL_ERROR_WANT_READ:
			if err := c.receive(); err != nil {
				return 0, err
			}
		case C.SSL_ERROR_ZERO_RETURN:
			c.ended = io.EOF
		default:
			c.ended = errors.New("tls: " + C.GoString(&r.text[0]))
		}
	}
}

func (c *Conn) read(p []byte) (r C.est_result, leaving bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return r, false, net.ErrClosed
	}
	r = C.est_read(c.ssl, (*C.uchar)(unsafe.Pointer(&p[0])), C.int(min(len(p), maxPlain)))
	return r, C.est_leaving(c.ssl) > 0, nil
}

// receive waits for the network, with no lock that a writer or Close wants.
func (c *Conn) receive() error {
	n, err := c.Conn.Read(c.in[:])
	if n == 0 {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return net.ErrClosed
	}
	if C.est_came(c.ssl, (*C.uchar)(unsafe.Pointer(&c.in[0])), C.int(n)) != C.int(n) {
		return errors.New("tls: OpenSSL takes no more memory")
	}
	return nil // an error comes again
}

// Write implements net.Conn.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	written := 0
	for written < len(p) {
		part := p[written:min(len(p), written+maxPlain)]
		if err := c.write(part); err != nil {
			return written, err
		}
		if err := c.send(); err != nil {
			return written, err
		}
		written += len(part)
	}
	return written, nil
}

func (c *Conn) write(p []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl == nil {
		return net.ErrClosed
	}
	r := C.est_write(c.ssl, (*C.uchar)(unsafe.Pointer(&p[0])), C.int(len(p)))
	if r.code != C.SSL_ERROR_NONE || int(r.n) != len(p) {
		return errors.New("tls: " + C.GoString(&r.text[0]))
	}
	return nil
}

// flush sends the records there are.
func (c *Conn) flush() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.send()
}

// send is flush with writing held.
func (c *Conn) send() error {
	if c.broken != nil {
		return c.broken
	}
	c.mu.Lock()
	c.take()
	c.mu.Unlock()
	if len(c.out) == 0 {
		return nil
	}
	_, c.broken = c.Conn.Write(c.out)
	return c.broken
}

// take takes the records there are out of OpenSSL, with mu and writing held.
func (c *Conn) take() {
	c.out = c.out[:0]
	if c.ssl == nil {
		return
	}
	n := int(C.est_leaving(c.ssl))
	if n == 0 {
		return
	}
	if cap(c.out) < n {
		c.out = make([]byte, n)
	}
	c.out = c.out[:n]
	got := C.est_leave(c.ssl, (*C.uchar)(unsafe.Pointer(&c.out[0])), C.int(n))
	c.out = c.out[:max(0, int(got))]
}

// closeTimeout is how long close_notify may take to be sent, as in crypto/tls.
const closeTimeout = 5 * time.Second

// Close implements net.Conn. It says so to the client, unless a Write is under
// way.
func (c *Conn) Close() error {
	if c.writing.TryLock() {
		c.mu.Lock()
		if c.ssl != nil {
			C.est_closing(c.ssl)
		}
		c.take()
		c.mu.Unlock()
		if len(c.out) > 0 && c.broken == nil {
			_ = c.SetWriteDeadline(time.Now().Add(closeTimeout))
			_, _ = c.Conn.Write(c.out)
		}
		c.writing.Unlock()
	}
	c.free()
	return c.Conn.Close()
}

// free gives the memory back. What is under way finds no connection.
func (c *Conn) free() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ssl != nil {
		C.est_free(c.ssl)
		c.ssl = nil
	}
}

var _ certless.Conn = (*Conn)(nil)
