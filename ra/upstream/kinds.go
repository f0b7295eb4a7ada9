// SPDX-License-Identifier: Apache-2.0

package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"

	"github.com/caddy-est/estra/ra"
)

// Reading gives the error of a call that only reads. It is about no device's request,
// and leaves no outcome open: the CA counts as down.
func Reading(err error) error {
	e, ok := errors.AsType[*ra.Error](err)
	if !ok || e.Kind != ra.UpstreamRefused && e.Kind != ra.UpstreamTimeout && e.Kind != ra.Pending {
		return err
	}
	return RetryIn(ra.Fail(ra.UpstreamDown, e.Reason, e.Err), e.RetryAfter)
}

// Revocable refuses to revoke no certificate, or for a reason that isn't one.
func Revocable(cert *x509.Certificate, reason int) error {
	if cert == nil || cert.SerialNumber == nil {
		return ra.Fail(ra.UpstreamRefused, "no certificate to revoke", nil)
	}
	return RevocableSerial(cert.SerialNumber, reason)
}

// RevocableSerial is Revocable by a serial number.
func RevocableSerial(serial *big.Int, reason int) error {
	switch {
	case serial == nil || serial.Sign() <= 0:
		return ra.Fail(ra.UpstreamRefused, "no serial number to revoke", nil)
	case reason < 0 || reason == 7 || reason > 10: // RFC 5280 section 5.3.1
		return ra.Fail(ra.UpstreamRefused, fmt.Sprintf("%d is no CRLReason", reason), nil)
	}
	return nil
}
