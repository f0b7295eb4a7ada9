// SPDX-License-Identifier: Apache-2.0

// Package srp does the TLS handshakes of clients without certificates (RFC 5054)
// by OpenSSL 3, since crypto/tls can't. A Caddy with the listener wrapper
// `est_srp` is built with it:
//
//	CGO_ENABLED=1 ./xcaddy.sh --with github.com/caddy-est/estra/module/srp
//
// Without cgo this package is empty, and est_srp says so.
package srp
