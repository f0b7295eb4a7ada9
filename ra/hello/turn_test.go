// SPDX-License-Identifier: Apache-2.0

package hello_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/hello"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/room"
)

// listen serves TLS behind turns. The handshake of who calls for "slow" waits
// for the channel, in its turn.
func listen(t *testing.T, turns *room.Room, crowded func(error), slow chan bool) string {
	t.Helper()
	root := ratest.NewRoot(t, "Server")
	cert := tls.Certificate{Certificate: [][]byte{root.Certificate.Raw}, PrivateKey: root.Key}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := tls.NewListener(hello.Listener{Listener: plain, Turns: turns, Crowded: crowded}, &tls.Config{
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if h.ServerName == "slow.example" {
				slow <- true
				<-slow
			}
			return &cert, nil
		},
	})
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				var one [1]byte
				if _, err := conn.Read(one[:]); err == nil {
					_, _ = conn.Write(one[:])
					_, _ = conn.Read(one[:]) // until the client goes
				}
			}()
		}
	}()
	return plain.Addr().String()
}

// call makes a handshake, and has one byte sent back.
func call(address, name string) (*tls.Conn, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", address, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	var one [1]byte
	if _, err := conn.Write(one[:]); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if _, err := conn.Read(one[:]); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func TestWhoFindsNoTurnIsCutOffBeforeAnythingIsComputed(t *testing.T) {
	var cut atomic.Int32
	turns := room.New(1, 0, time.Second)
	slow := make(chan bool)
	address := listen(t, turns, func(error) { cut.Add(1) }, slow)
	first := make(chan error, 1)
	go func() {
		conn, err := call(address, "slow.example")
		if err == nil {
			err = conn.Close()
		}
		first <- err
	}()
	<-slow // it has the only turn
	if conn, err := call(address, "quick.example"); err == nil || cut.Load() != 1 {
		t.Errorf("%v, %d were cut off", err, cut.Load())
		if conn != nil {
			conn.Close()
		}
	}
	slow <- true
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// Connections that are open, and clients that send nothing, have no turn.
func TestATurnLastsWhileSomethingIsComputed(t *testing.T) {
	turns := room.New(1, 1, 5*time.Second)
	address := listen(t, turns, nil, nil)
	silent, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for range 5 {
		conn, err := call(address, "quick.example")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := turns.Enter(ctx, time.Now()); err != nil {
		t.Errorf("with six connections that are open: %v", err)
	}
}

func TestATurnHasAnEnd(t *testing.T) {
	turns := room.New(1, 1, 5*time.Second)
	slow := make(chan bool)
	address := listen(t, turns, nil, slow)
	first := make(chan error, 1)
	go func() { _, err := call(address, "slow.example"); first <- err }()
	<-slow
	conn, err := call(address, "quick.example")
	if err != nil {
		t.Fatalf("behind one that waits for something: %v", err)
	}
	conn.Close()
	slow <- true
	if err := <-first; err != nil {
		t.Error(err)
	}
}
