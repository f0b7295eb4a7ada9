// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package srp

// #include <stdlib.h>
// #include "openssl.h"
import "C"

import (
	"errors"
	"net"
	"runtime"
	"unsafe"
)

// A Client is the other side, for tests and benchmarks: one user, at localhost.
type Client struct {
	ctx    *C.SSL_CTX
	places chan struct{}
}

// NewClient makes one, which lives as long as the process.
func NewClient(user, password string) (*Client, error) {
	name, word := C.CString(user), C.CString(password)
	defer C.free(unsafe.Pointer(name))
	defer C.free(unsafe.Pointer(word))
	ctx := C.est_client_context(name, word)
	if ctx == nil {
		return nil, errors.New("OpenSSL gives no context with SRP")
	}
	return &Client{ctx, make(chan struct{}, max(2, runtime.GOMAXPROCS(0)))}, nil
}

// Handshake is the client's side. The caller closes the connection after an error.
func (c *Client) Handshake(conn net.Conn) (*Conn, error) {
	ssl := C.est_client(c.ctx)
	if ssl == nil {
		return nil, errors.New("OpenSSL gives no connection")
	}
	made := &Conn{Conn: conn, ssl: ssl}
	if err := made.handshake(c.places); err != nil {
		made.free()
		return nil, err
	}
	var unique [64]byte
	if err := made.finish(unique[:], int(C.est_own(ssl, (*C.uchar)(unsafe.Pointer(&unique[0])), C.size_t(len(unique))))); err != nil {
		return nil, err
	}
	return made, nil
}
