// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/x509"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/cmc"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream"
)

// CanRevoke says whether Revoke can do anything: by /fullcmc.
func (u *Upstream) CanRevoke() bool { return u.cfg.FullCMC }

// Revoke asks by /fullcmc (RFC 5272 section 6.11). EST has no other way: without
// it, it is an error, and nothing is called.
func (u *Upstream) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if err := upstream.Revocable(cert, reason); err != nil {
		return err
	}
	if !u.cfg.FullCMC {
		return ra.Fail(ra.UpstreamRefused, "an EST server revokes by /fullcmc alone: write `cmc` in the upstream", nil)
	}
	_, _, err := u.exchange(ctx, estclient.FullRequest{
		Revoke: []cmc.Revocation{{CertID: cmc.CertID{Issuer: cert.RawIssuer, Serial: cert.SerialNumber}, Reason: uint8(reason)}}, //nolint:gosec // it is at most 10
		Others: []*x509.Certificate{cert},                                                                                        // whose names the server decides by
	}, "")
	return err
}
