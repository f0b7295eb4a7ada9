// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
)

// lackWarnings say once of each site that its certificate lacks id-kp-cmcRA.
type lackWarnings struct {
	said map[string]bool
	// certificates are those that Caddy could serve for a name.
	certificates func(name string) []*tls.Certificate
	// implicit are the roots that a client has without being told (RFC 7030
	// section 3.6.2); nil: none.
	implicit func() *x509.CertPool
}

func newLackWarnings() *lackWarnings {
	return &lackWarnings{
		said: make(map[string]bool),
		certificates: func(name string) []*tls.Certificate {
			var found []*tls.Certificate
			for _, c := range caddytls.AllMatchingCertificates(name) {
				found = append(found, &c.Certificate)
			}
			return found
		},
		implicit: func() *x509.CertPool {
			pool, err := x509.SystemCertPool()
			if err != nil {
				return nil
			}
			return pool
		},
	}
}

// watch looks until each site has had its certificate, which Caddy obtains
// after the start.
func (w *lackWarnings) watch(ctx context.Context, a *App) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for !w.look(a) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look warns of a certificate that isn't ours, that clients verify under a root
// they were given (an Explicit TA), and that isn't for id-kp-cmcRA: RFC 7030
// section 3.6.1 lets a client know its server by the host name or by that, and
// so here by the name alone. One under a public root is looked at by the name
// in any case. It is true when there is nothing left to look at.
func (w *lackWarnings) look(a *App) (all bool) {
	all = true
	for _, h := range a.handlers {
		for _, name := range h.foreign {
			if w.said[name] {
				continue
			}
			certs := w.certificates(name)
			if len(certs) == 0 {
				all = false
				continue
			}
			w.said[name] = true
			leaf, err := leafOf(certs[0])
			if err != nil || policy.CarriesCMCRA(leaf) || w.isPublic(certs[0], leaf) {
				continue
			}
			a.log.Warn("the site's certificate lacks id-kp-cmcRA, and isn't under a public root: a client that has its root knows this server by the host name alone (RFC 7030 section 3.6.1). Leave out `certificate off` and the site's own issuer to have one with it",
				zap.String("name", name), zap.String("issuer", leaf.Issuer.String()), zap.String("site", h.Source))
		}
	}
	return all
}

func (w *lackWarnings) isPublic(cert *tls.Certificate, leaf *x509.Certificate) bool {
	pool := w.implicit()
	if pool == nil {
		return false
	}
	between := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(c)
		}
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between})
	return err == nil
}
