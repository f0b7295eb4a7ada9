// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/x509"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

const revokePath = "/1.0/revoke"

// revokeRequest is api.RevokeRequest of step-ca.
type revokeRequest struct {
	Serial     string `json:"serial"`
	OTT        string `json:"ott"`
	ReasonCode int    `json:"reasonCode"`
	Passive    bool   `json:"passive"` // the only kind that step-ca has
}

// Revoke marks a certificate as revoked: step-ca won't renew it, and lists it
// in its CRL where that is on. Revoking again is no error.
func (u *Upstream) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if err := upstream.Revocable(cert, reason); err != nil {
		return err
	}
	return u.revoke(ctx, cert.SerialNumber, reason)
}

// RevokeSerial implements ra.SerialRevoker: to step-ca a certificate is its serial
// number, and it takes one that it doesn't know. So neither issuer nor end are
// asked for.
func (u *Upstream) RevokeSerial(ctx context.Context, serial *big.Int, _ *x509.Certificate, _ time.Time, reason int) error {
	if err := upstream.RevocableSerial(serial, reason); err != nil {
		return err
	}
	return u.revoke(ctx, serial, reason)
}

func (u *Upstream) revoke(ctx context.Context, number *big.Int, reason int) error {
	serial := number.String()
	tokens, _, err := u.main.current()
	if err != nil {
		return ra.Fail(ra.UpstreamDown, "the credential for the provisioner can't be used", err)
	}
	_, err = u.client.signed(ctx, upstream.Call{Method: http.MethodPost, Path: revokePath, Limit: maxAnswer}, tokens,
		claims{Claims: jose.Claims{Subject: serial}}, func(token string) any {
			return revokeRequest{Serial: serial, OTT: token, ReasonCode: reason, Passive: true}
		})
	var refusal *ra.Error
	if errors.As(err, &refusal) && refusal.Kind == ra.UpstreamRefused && isRevokedAlready(refusal.Reason) {
		return nil
	}
	return err
}

// isRevokedAlready knows step-ca's message for a second revocation; it has no
// status of its own.
func isRevokedAlready(reason string) bool {
	return strings.Contains(reason, "is already revoked")
}
