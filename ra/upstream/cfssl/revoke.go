// SPDX-License-Identifier: Apache-2.0

package cfssl

import (
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// reasons are CFSSL's words for the CRLReason of RFC 5280 section 5.3.1.
var reasons = map[int]string{
	0: "unspecified", 1: "keycompromise", 2: "cacompromise", 3: "affiliationchanged", 4: "superseded",
	5: "cessationofoperation", 6: "certificatehold", 8: "removefromcrl", 9: "privilegewithdrawn", 10: "aacompromise",
}

// Revoke marks a certificate as revoked in CFSSL's database. Without one CFSSL
// can't, which is an error. Revoking again is none.
func (u *Upstream) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if err := upstream.Revocable(cert, reason); err != nil {
		return err
	}
	return u.revoke(ctx, cert.SerialNumber, cert.AuthorityKeyId, reason)
}

// RevokeSerial implements ra.SerialRevoker, but for what CFSSL never issued: that
// is an error, since it has no record to mark.
func (u *Upstream) RevokeSerial(ctx context.Context, serial *big.Int, issuer *x509.Certificate, _ time.Time, reason int) error {
	if err := upstream.RevocableSerial(serial, reason); err != nil {
		return err
	}
	if issuer == nil {
		known, err := u.askInfo(ctx)
		if err != nil {
			return err
		}
		issuer = known.signer
	}
	return u.revoke(ctx, serial, issuer.SubjectKeyId, reason)
}

func (u *Upstream) revoke(ctx context.Context, serial *big.Int, keyID []byte, reason int) error {
	r := revokeRequest{Serial: serial.String(), AKI: hex.EncodeToString(keyID), Reason: reasons[reason]}
	err := u.askRevoke(ctx, r)
	var refusal *ra.Error
	if errors.As(err, &refusal) && refusal.Kind == ra.UpstreamRefused && strings.Contains(refusal.Reason, "certificate not found") {
		// A CFSSL of 1.2 that was built with Go 1.9 or later files certificates
		// without the identifier of the key.
		r.AKI = ""
		return u.askRevoke(ctx, r)
	}
	return err
}

func (u *Upstream) askRevoke(ctx context.Context, r revokeRequest) error {
	body, err := json.Marshal(r)
	if err != nil {
		return ra.Fail(ra.UpstreamDown, "the request can't be made", nil)
	}
	_, err = u.call(ctx, post(revokePath, body))
	return err
}

// CRL gives CFSSL's CRL in DER. Ask only where Config.CRL is set: without, it is
// an error, and nothing is called.
func (u *Upstream) CRL(ctx context.Context) ([]byte, error) {
	if !u.cfg.CRL {
		return nil, ra.Fail(ra.UpstreamDown, "the CRL of CFSSL isn't switched on", nil)
	}
	result, err := u.ask(ctx, upstream.Call{Method: http.MethodGet, Path: crlPath, Limit: maxCRL})
	if err != nil {
		return nil, err
	}
	var der []byte
	if json.Unmarshal(result, &der) != nil || len(der) == 0 {
		return nil, u.client.Unreadable(false, "no CRL to /crl", nil)
	}
	return der, nil
}

// ListsEveryKey implements ra.WholeLister: CFSSL's list has what its database says is
// revoked, whichever key signed it.
func (u *Upstream) ListsEveryKey() bool { return true }
