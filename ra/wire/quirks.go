// SPDX-License-Identifier: Apache-2.0

package wire

import "strings"

// Quirks is how answers differ from the RFCs' plain form for clients that
// need it. The zero value is right for the clients that we know of.
type Quirks struct {
	// Wrapped lists clients that get base64 wrapped at 64 columns, beside
	// those built in (libest, Cisco EST client). Each entry is a part of the
	// User-Agent in any letter case; "*" is every client.
	Wrapped []string `json:"wrapped,omitempty"`
	// Unwrapped lists clients that get base64 as one line, written as in
	// Wrapped. It wins over Wrapped and over what is built in.
	Unwrapped []string `json:"unwrapped,omitempty"`
	// NoTransferEncoding leaves out Content-Transfer-Encoding. RFC 8951
	// section 3 has receivers ignore it; Bouncy Castle and est-client-python
	// decode only with it, so it is sent by default.
	NoTransferEncoding bool `json:"no_transfer_encoding,omitempty"`
	// CACertsSMIMEType adds smime-type=certs-only to the type of /cacerts.
	// Old Bouncy Castle refuses it there, so it is off by default.
	CACertsSMIMEType bool `json:"cacerts_smime_type,omitempty"`
}

// wrapping are the clients that cannot read a long line of base64.
var wrapping = []string{"libest", "cisco est client"}

// Wraps says whether the client gets wrapped base64: libest fails on a long
// line, strongSwan on a wrapped one, so neither form serves everybody.
func (q Quirks) Wraps(userAgent string) bool {
	agent := strings.ToLower(userAgent)
	if contains(agent, q.Unwrapped) {
		return false
	}
	return contains(agent, wrapping) || contains(agent, q.Wrapped)
}

// PlainCSRAttrs says whether the client gets /csrattrs without values that are
// structures: the clients that wrap, and those without a User-Agent, such as
// that of danharkins/est (see csrattrs.Plain). What an operator lists in
// Wrapped and Unwrapped is about lines, and doesn't count here.
func (Quirks) PlainCSRAttrs(userAgent string) bool {
	return userAgent == "" || contains(strings.ToLower(userAgent), wrapping)
}

// CACertsType is the Content-Type of /cacerts.
func (q Quirks) CACertsType() string {
	if q.CACertsSMIMEType {
		return TypeCertsOnly
	}
	return TypePKCS7
}

// contains looks for any of the parts in a lower-case agent. An empty part
// is a slip, not everybody.
func contains(agent string, parts []string) bool {
	for _, part := range parts {
		if part == "*" || part != "" && strings.Contains(agent, strings.ToLower(part)) {
			return true
		}
	}
	return false
}
