// SPDX-License-Identifier: Apache-2.0

package certless

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/caddy-est/estra/ra/srp"
)

// An Engine does TLS handshakes with SRP (RFC 5054). It takes TLS 1.2 alone, with
// encrypt-then-MAC (RFC 7366) and extended master secret (RFC 7627), and it knows
// no resumption, no tickets, no renegotiation and no compression. Safe for
// concurrent use.
type Engine interface {
	// Handshake is the server's side. What the client sends begins with its
	// ClientHello. The connection has a deadline, and the caller closes it after
	// an error, when the alert is sent. An error that isn't a *Refusal is the
	// connection's.
	Handshake(conn net.Conn, v srp.Verifier) (Conn, error)
}

// A Conn is a connection whose handshake has succeeded.
type Conn interface {
	net.Conn
	// Made says what the handshake has made; its Realm and User are for the
	// caller to fill in.
	Made() Session
}

// A Refusal is a handshake that ended in an alert.
type Refusal struct {
	// Guess says that the client has used its password, and that it is wrong.
	Guess bool
	// Reason is for operators.
	Reason string
}

func (r *Refusal) Error() string { return r.Reason }

// Attempts throttle guesses at passwords.
type Attempts interface {
	// Begin says that one may be made. ErrThrottled: there were too many. It may
	// wait for others of the same client, until ctx ends. end is called once: with
	// whether the client has tried a password, and whether that was right.
	Begin(ctx context.Context, remote netip.Addr, user string, now time.Time) (end func(guessed, right bool), err error)
}

// ErrThrottled is of Attempts.
var ErrThrottled = errors.New("too many wrong passwords from this address")

// An Outcome is what became of a connection that offered SRP.
type Outcome string

// The outcomes.
const (
	Accepted  Outcome = "accepted"
	Wrong     Outcome = "wrong_password"
	Unknown   Outcome = "unknown_user"
	Throttled Outcome = "throttled"
	// Unfit clients lack what is demanded of them.
	Unfit Outcome = "unfit"
	// Broken is a handshake that ended in an alert before there was a password.
	Broken Outcome = "broken"
	// Gone is a client that went away, or was too slow.
	Gone Outcome = "gone"
	// Failed is our own failure.
	Failed Outcome = "failed"
)

// A Report is what became of one connection that offered SRP.
type Report struct {
	At      time.Time
	Took    time.Duration
	Remote  netip.Addr
	Realm   string
	Outcome Outcome
	// User is empty unless there is one of this name: others may be anything, a
	// password in the wrong field too.
	User   string
	Reason string // for operators; empty when accepted
}

// Settings are those of a Listener.
type Settings struct {
	Engine Engine
	Users  srp.Lookup
	Realm  string
	// Attempts throttle; nil: nobody is.
	Attempts Attempts
	// Observe is told of every connection that offered SRP, after its alert was
	// sent; nil: nobody is.
	Observe func(Report)
	// Crowded is told of a connection that wasn't looked at, for there were too
	// many that are; nil: nobody is.
	Crowded func()
	// Timeout is how long a client may take from its first byte to the end of its
	// handshake. A client of crypto/tls has it for its ClientHello. Default: 10 s.
	Timeout time.Duration
	// Pending is how many connections may be looked at, or in the handshake, at
	// once; one address has a quarter of them at most. The others are left to
	// crypto/tls, which refuses those that want SRP. Default: 512.
	Pending int
	// Random makes verifiers that fit no password, for the throttled; nil:
	// crypto/rand.
	Random io.Reader
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Defaults of Settings.
const (
	DefaultTimeout = 10 * time.Second
	DefaultPending = 512
)

func (s *Settings) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}

// A conn is what net/http gets.
type conn struct {
	Conn
	addr  *Addr
	state tls.ConnectionState
}

// LocalAddr is an *Addr.
func (c *conn) LocalAddr() net.Addr { return c.addr }

// ConnectionState is for what reads http.Request.TLS: that the scheme is https,
// and by which name the client called.
func (c *conn) ConnectionState() tls.ConnectionState { return c.state }

// newConn says of a connection who is on it. A client that has dialled an address
// names no server (RFC 6066 section 3): the address stands for the name, as where
// Caddy chooses a certificate, so that its check of Host against it holds.
func newConn(made Conn, session *Session, serverName string) *conn {
	local := made.LocalAddr()
	if serverName == "" {
		if host, _, err := net.SplitHostPort(local.String()); err == nil {
			serverName = host
		}
	}
	return &conn{Conn: made, addr: &Addr{local, session}, state: tls.ConnectionState{
		Version: session.Version, HandshakeComplete: true, CipherSuite: session.Suite,
		ServerName: serverName, TLSUnique: session.Unique,
	}}
}
