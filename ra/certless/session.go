// SPDX-License-Identifier: Apache-2.0

// Package certless lets TLS clients in by a cipher suite that authenticates both
// sides by a password, without certificates (RFC 7030 section 3.3.3): which
// connections are taken over from crypto/tls, who is on them, and what becomes of
// those that fail. The handshake itself is an [Engine]'s.
package certless

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/netip"

	"github.com/caddy-est/estra/ra/binding"
)

// A Session is what a handshake has proven.
type Session struct {
	// Realm and User are whose password it was.
	Realm, User string
	// Version and Suite are as crypto/tls numbers them.
	Version, Suite uint16
	// Unique is tls-unique (RFC 5929 section 3): the client's Finished, since no
	// session is ever resumed.
	Unique []byte
}

// Channel is what a request on this connection can be bound by. crypto/tls has
// none: a tls.ConnectionState that it didn't make panics when asked for an
// exporter.
func (s *Session) Channel() binding.Channel {
	return binding.Channel{Version: s.Version, Unique: bytes.Clone(s.Unique)}
}

// An Addr is the local address of a connection, with its session. net/http gives
// it to handlers, through whatever wraps the connection.
type Addr struct {
	net.Addr
	Session *Session
}

// SessionOf is that of the connection a request came on; nil where it is another
// kind of connection.
func SessionOf(ctx context.Context) *Session {
	if addr, ok := ctx.Value(http.LocalAddrContextKey).(*Addr); ok {
		return addr.Session
	}
	return nil
}

// NetworkOf is what counts as one client's address: of IPv6 the /64, which one
// host has to itself.
func NetworkOf(remote netip.Addr) netip.Addr {
	remote = remote.Unmap().WithZone("")
	if remote.Is6() {
		if p, err := remote.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return remote
}

// addressOf is the address of a connection's other end; the zero value where it
// has none, as on a Unix socket.
func addressOf(conn net.Conn) netip.Addr {
	port, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return port.Addr().Unmap()
}
