// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/x509"
	"errors"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/ra/upstream"
)

// Revoke revokes by the account's key (RFC 8555 section 7.6). Where the CA doesn't
// take the reason, as public ones don't take all, it is told none. To revoke again
// is no error.
func (u *Upstream) Revoke(ctx context.Context, cert *x509.Certificate, reason int) error {
	if err := upstream.Revocable(cert, reason); err != nil {
		return err
	}
	ctx, n := noting(ctx, "")
	account, err := u.ourAccount(ctx, n)
	if err != nil {
		return err
	}
	err = u.acme.RevokeCertificate(ctx, account, cert, nil, reason)
	if isProblem(err, acme.ProblemTypeBadRevocationReason) && reason != acme.ReasonUnspecified {
		err = u.acme.RevokeCertificate(ctx, account, cert, nil, acme.ReasonUnspecified)
	}
	if err == nil || isProblem(err, acme.ProblemTypeAlreadyRevoked) {
		return nil
	}
	return u.failed(ctx, n, stepRevoke, err)
}

func isProblem(err error, kind string) bool {
	p, ok := errors.AsType[acme.Problem](err)
	return ok && p.Type == kind
}
