// SPDX-License-Identifier: Apache-2.0

package ejbca

import (
	"context"
	"crypto/x509"
	"net/http"
	"net/url"

	"github.com/caddy-est/estra/ra/upstream"
)

// reasons are EJBCA's words for the CRLReason of RFC 5280 section 5.3.1.
var reasons = map[int]string{
	0: "UNSPECIFIED", 1: "KEY_COMPROMISE", 2: "CA_COMPROMISE", 3: "AFFILIATION_CHANGED", 4: "SUPERSEDED",
	5: "CESSATION_OF_OPERATION", 6: "CERTIFICATE_HOLD", 8: "REMOVE_FROM_CRL", 9: "PRIVILEGES_WITHDRAWN", 10: "AA_COMPROMISE",
}

// Revoke asks by the serial number. Revoking again is no error.
func (u *Upstream) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if err := upstream.Revocable(cert, reason); err != nil {
		return err
	}
	dn, err := u.caDN(ctx)
	if err != nil {
		return err
	}
	answer, err := u.call(ctx, request{
		method: http.MethodPut, path: []string{"certificate", dn, serial(cert), "revoke"}, query: url.Values{"reason": {reasons[reason]}}.Encode(),
	})
	if answer.Status == http.StatusConflict { // it is already
		return nil
	}
	return err
}
