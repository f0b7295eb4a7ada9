// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/caddy-est/estra/ra/upstream"
)

type revokeBody struct {
	SerialNumber string `json:"serial_number"`
}

// Revoke asks by the serial number. The API has no reason; revoking again is no
// error. A role that stores nothing (`no_store`) makes certificates that can't be
// revoked so.
func (u *Upstream) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if err := upstream.Revocable(cert, reason); err != nil {
		return err
	}
	_, _, err := u.authorized(ctx, request{
		method: http.MethodPost, path: u.cfg.Mount + "/revoke", body: revokeBody{serial(cert)},
	})
	return err
}

// serial is a serial number as Vault writes it, such as 0a:1b.
func serial(cert *x509.Certificate) string {
	var parts []string
	for _, b := range cert.SerialNumber.Bytes() {
		parts = append(parts, hex.EncodeToString([]byte{b}))
	}
	return strings.Join(parts, ":")
}
