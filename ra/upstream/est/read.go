// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream"
)

func (u *Upstream) cacerts() upstream.Call {
	return upstream.Call{Method: http.MethodGet, Path: u.path(policy.CACerts), Limit: maxAnswer}
}

// CACerts asks /cacerts, without our certificate: it may not be there yet (RFC
// 7030 section 4.1.2). The authority holds them to the configured roots.
func (u *Upstream) CACerts(ctx context.Context) ([]*x509.Certificate, error) {
	answer, err := u.reader.Do(ctx, u.cacerts())
	if err != nil {
		return nil, err
	}
	if answer.Status != http.StatusOK {
		// It isn't about a device's request, so the CA counts as down.
		fail := refused(answer, u.cfg.Now())
		return nil, ra.Fail(ra.UpstreamDown, "/cacerts: "+fail.Reason, fail.Err)
	}
	certs, err := estclient.ReadCertificates(answer.Header.Get("Content-Type"), answer.Body)
	if err != nil {
		return nil, u.reader.Unreadable(false, "certificates that can't be read", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.known = slices.Clone(certs)
	return certs, nil
}

// chain gives what is known of the CA, asking it where that is nothing.
func (u *Upstream) chain(ctx context.Context) ([]*x509.Certificate, error) {
	u.mu.Lock()
	known := u.known
	u.mu.Unlock()
	if known != nil {
		return known, nil
	}
	if _, err := u.CACerts(ctx); err != nil {
		return nil, fmt.Errorf("its CA certificates: %w", err)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.known, nil
}
