// SPDX-License-Identifier: Apache-2.0

// Package binding ties a certification request to the TLS channel that
// carried it: RFC 7030 section 3.5, RFC 5929, RFC 9266, RFC 7894.
package binding

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
)

// A Channel holds what one TLS connection can be bound by. The zero value
// is a channel without binding: a request with a linking value then fails.
type Channel struct {
	// Version is tls.VersionTLS12 or tls.VersionTLS13; 0 means no TLS here.
	Version uint16
	// Unique is tls-unique (RFC 5929 section 3), TLS 1.2 only.
	Unique []byte
	// Exporter is tls-exporter (RFC 9266), 32 bytes, TLS 1.3 only.
	Exporter []byte
}

// The types of binding, as IANA registers them ("Channel-Binding Types").
const (
	TLSUnique   = "tls-unique"   // RFC 5929 section 3
	TLSExporter = "tls-exporter" // RFC 9266
)

// HeaderRequired is the header of a refusal for want of linking (RFC 7030
// section 3.5: the error should say that linking is required). Its value is the
// type of binding that this connection has: a client that makes its request
// anew with it is right at once. Header.Set would spell it Est-Linking-Required:
// put it into the map as it is, for clients that compare names byte by byte.
const HeaderRequired = "EST-Linking-Required"

// TypeOf is the type of binding for a TLS version; "" where EST has none.
func TypeOf(version uint16) string {
	switch version {
	case tls.VersionTLS12:
		return TLSUnique
	case tls.VersionTLS13:
		return TLSExporter
	}
	return ""
}

// Type is the type of the channel's binding, whether or not it could be
// computed.
func (c Channel) Type() string { return TypeOf(c.Version) }

// Label and length of tls-exporter (RFC 9266 section 2).
const (
	exporterLabel  = "EXPORTER-Channel-Binding"
	exporterLength = 32
)

// FromTLS takes the binding from a connection whose handshake is complete,
// on the server's side or the client's. HTTP/3's connections are TLS 1.3. A
// nil or unfinished connection gives a channel without binding, and so does
// a version that EST doesn't allow (RFC 8996).
func FromTLS(cs *tls.ConnectionState) Channel {
	if cs == nil || !cs.HandshakeComplete {
		return Channel{}
	}
	c := Channel{Version: cs.Version}
	switch cs.Version {
	case tls.VersionTLS12:
		// Go leaves TLSUnique nil on a resumed session without extended
		// master secret, where it would not be unique (RFC 7627).
		c.Unique = bytes.Clone(cs.TLSUnique)
	case tls.VersionTLS13:
		// The context is empty, which isn't the same as none to a TLS 1.2
		// exporter (RFC 5705 section 4).
		value, err := cs.ExportKeyingMaterial(exporterLabel, []byte{}, exporterLength)
		if err == nil {
			c.Exporter = value
		}
	}
	return c
}

// Value is the linking value as clients put it into a request: base64 of
// tls-unique on TLS 1.2 (16 characters), of tls-exporter on TLS 1.3 (44
// characters). It is empty when the channel has no binding.
func (c Channel) Value() string {
	switch c.Version {
	case tls.VersionTLS12:
		return base64.StdEncoding.EncodeToString(c.Unique)
	case tls.VersionTLS13:
		return base64.StdEncoding.EncodeToString(c.Exporter)
	}
	return ""
}

// String names the TLS version alone. The value is for nothing but the
// comparison (RFC 9266 section 4), logs included.
func (c Channel) String() string {
	if c.Version == 0 {
		return "no TLS"
	}
	return tls.VersionName(c.Version)
}
