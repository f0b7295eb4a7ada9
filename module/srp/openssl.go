// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package srp

/*
#cgo LDFLAGS: -lssl -lcrypto
#include "openssl.h"
*/
import "C"

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"unsafe"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/ra/certless"
	"github.com/caddy-est/estra/ra/srp"
)

func init() {
	// One for the process, made when the first configuration has est_srp.
	module.RegisterSRP(sync.OnceValues(func() (certless.Engine, error) { return New() }))
}

// An Engine does handshakes by OpenSSL.
type Engine struct {
	ctx *C.SSL_CTX
	// places bound the threads that compute: each call of C holds one.
	places chan struct{}
}

// New makes one, which lives as long as the process.
func New() (*Engine, error) {
	ctx := C.est_context()
	if ctx == nil {
		return nil, errors.New("OpenSSL gives no context with SRP")
	}
	return &Engine{ctx, make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))}, nil
}

// Library is the version of OpenSSL.
func Library() string { return C.GoString(C.OpenSSL_version(C.OPENSSL_VERSION)) }

// bytesOf is how C is given bytes, which aren't empty.
func bytesOf(p []byte) (*C.uchar, C.int) { return (*C.uchar)(unsafe.Pointer(&p[0])), C.int(len(p)) }

// begin makes the state of one connection.
func (e *Engine) begin(conn net.Conn, v srp.Verifier) (*Conn, error) {
	user, n, g := []byte(v.User), v.Group.N(), v.Group.G()
	if len(user) == 0 || len(v.Salt) == 0 || len(v.V) == 0 {
		return nil, fmt.Errorf("the verifier of the realm %q isn't whole", v.Realm)
	}
	nAt, nLen := bytesOf(n)
	gAt, gLen := bytesOf(g)
	sAt, sLen := bytesOf(v.Salt)
	vAt, vLen := bytesOf(v.V)
	ssl := C.est_new(e.ctx, (*C.char)(unsafe.Pointer(&user[0])), C.size_t(len(user)), nAt, nLen, gAt, gLen, sAt, sLen, vAt, vLen)
	if ssl == nil {
		return nil, errors.New("OpenSSL gives no connection")
	}
	return &Conn{Conn: conn, ssl: ssl}, nil
}

// Handshake implements certless.Engine.
func (e *Engine) Handshake(conn net.Conn, v srp.Verifier) (certless.Conn, error) {
	c, err := e.begin(conn, v)
	if err != nil {
		return nil, err
	}
	if err := c.handshake(e.places); err != nil {
		c.free()
		return nil, err
	}
	var unique [64]byte
	if err := c.finish(unique[:], int(C.est_unique(c.ssl, (*C.uchar)(unsafe.Pointer(&unique[0])), C.size_t(len(unique))))); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Conn) handshake(places chan struct{}) error {
	for {
		r := c.step(places)
		if err := c.flush(); err != nil {
			return err
		}
		switch r.code {
		case C.SSL_ERROR_NONE:
			return nil
		case C.SSL_ERROR_WANT_READ:
			if err := c.receive(); err != nil {
				return err
			}
		default:
			return &certless.Refusal{Guess: r.guess != 0, Reason: C.GoString(&r.text[0])}
		}
	}
}

func (c *Conn) step(places chan struct{}) C.est_result {
	places <- struct{}{}
	defer func() { <-places }()
	return C.est_handshake(c.ssl)
}

// finish takes what the handshake has made: tls-unique has n bytes.
func (c *Conn) finish(unique []byte, n int) error {
	switch {
	case C.est_good(c.ssl) != 1:
		c.free()
		return &certless.Refusal{Reason: "the handshake ended without what is demanded of it"}
	case n == 0 || n > len(unique):
		c.free()
		return &certless.Refusal{Reason: "OpenSSL gives no tls-unique"}
	}
	c.made = certless.Session{Version: tls.VersionTLS12, Suite: uint16(C.est_suite(c.ssl)), Unique: unique[:n]}
	return nil
}

var _ certless.Engine = (*Engine)(nil)
