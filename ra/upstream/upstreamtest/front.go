// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"bytes"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// A Front is a server between an upstream and its CA: it sees what the CA does,
// also where the upstream never learns of it, and answers in its place.
type Front struct {
	URL string

	http   *http.Client
	server *httptest.Server
	to     func() string
	opened atomic.Int32
}

// NewFront starts one that ends with the test. It shows own, and asks the CA at the
// address that to gives, by TLS as ca has it. Handle gets each request.
func NewFront(t testing.TB, own tls.Certificate, ca *tls.Config, to func() string, handle func(*Asked)) *Front {
	t.Helper()
	f := &Front{to: to, http: &http.Client{
		Timeout: patience, Transport: &http.Transport{TLSClientConfig: ca, DisableKeepAlives: true, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	f.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		handle(&Asked{Request: r, Sent: body, Status: http.StatusOK, Header: http.Header{}, front: f, w: w})
	}))
	f.server.TLS = &tls.Config{Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail are part of tests
	f.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			f.opened.Add(1)
		}
	}
	f.server.StartTLS()
	t.Cleanup(func() {
		f.Drop() // whoever hangs
		f.server.Close()
	})
	f.URL = f.server.URL
	return f
}

// Opened is how many connections were made to it.
func (f *Front) Opened() int { return int(f.opened.Load()) }

// Drop closes the connections to it.
func (f *Front) Drop() { f.server.CloseClientConnections() }

// Asked is what the upstream has asked. Status, Header and Body are what Answer
// gives: after Pass those of the CA.
type Asked struct {
	Request *http.Request
	Sent    []byte // its body
	Status  int
	Header  http.Header
	Body    []byte

	front *Front
	w     http.ResponseWriter
}

// Pass asks the CA; false: there was no whole answer.
func (a *Asked) Pass() bool {
	r, err := http.NewRequestWithContext(a.Request.Context(), a.Request.Method, a.front.to()+a.Request.URL.RequestURI(), bytes.NewReader(a.Sent))
	if err != nil {
		return false
	}
	r.Header, r.Host = a.Request.Header.Clone(), a.Request.Host // a CA may name its own address by it
	res, err := a.front.http.Do(r)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	a.Body, err = io.ReadAll(res.Body)
	a.Status, a.Header = res.StatusCode, res.Header
	return err == nil
}

// Answer gives the answer to the upstream.
func (a *Asked) Answer() {
	for name, values := range a.Header {
		if name != "Content-Length" && name != "Connection" {
			a.w.Header()[name] = values
		}
	}
	a.w.WriteHeader(a.Status)
	_, _ = a.w.Write(a.Body) // who has gone gets none
}

// Relay is Pass and Answer, and Reset where the CA gives none.
func (a *Asked) Relay() {
	if !a.Pass() {
		a.Reset()
		return
	}
	a.Answer()
}

// Cut gives the first half of the answer, and closes the connection.
func (a *Asked) Cut() {
	half := a.Body[:len(a.Body)/2]
	a.Header.Del("Transfer-Encoding")
	conn := a.hijack()
	defer conn.Close()
	res := http.Response{
		StatusCode: a.Status, ProtoMajor: 1, ProtoMinor: 1, Header: a.Header,
		ContentLength: int64(len(a.Body)), Body: io.NopCloser(bytes.NewReader(half)),
	}
	_ = res.Write(conn) // it complains of what is missing
}

// Hang answers nothing until the upstream has gone.
func (a *Asked) Hang() {
	select {
	case <-a.Request.Context().Done():
	case <-time.After(patience):
	}
}

// Reset cuts the connection to the upstream off, without an answer.
func (a *Asked) Reset() {
	conn := a.hijack()
	if secured, ok := conn.(*tls.Conn); ok {
		if plain, ok := secured.NetConn().(*net.TCPConn); ok {
			_ = plain.SetLinger(0) // a reset, not an end
			_ = plain.Close()
		}
	}
	_ = conn.Close()
}

func (a *Asked) hijack() net.Conn {
	hijacker, ok := a.w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	conn, _, err := hijacker.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	return conn
}
