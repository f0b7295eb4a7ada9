// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/x509"
	"fmt"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/estclient"
)

// CanRevoke says whether Revoke can do anything: by /fullcmc.
func (u *Upstream) CanRevoke() bool { return u.cfg.FullCMC }

// Revoke asks by /fullcmc (RFC 5272 section 6.11). EST has no other way: without
// it, it is an error, and nothing is called.
func (u *Upstream) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if cert == nil || cert.SerialNumber == nil {
		return ra.Fail(ra.UpstreamRefused, "no certificate to revoke", nil)
	}
	if !u.cfg.FullCMC {
		return ra.Fail(ra.UpstreamRefused, "an EST server revokes by /fullcmc alone: write `cmc` in the upstream", nil)
	}
	if reason < 0 || reason > 10 {
		return ra.Fail(ra.UpstreamRefused, fmt.Sprintf("%d is no CRLReason", reason), nil)
	}
	_, _, err := u.exchange(ctx, estclient.FullRequest{
		Revoke: []cmc.Revocation{{CertID: cmc.CertID{Issuer: cert.RawIssuer, Serial: cert.SerialNumber}, Reason: uint8(reason)}},
		Others: []*x509.Certificate{cert}, // whose names the server decides by
	}, "")
	return err
}
