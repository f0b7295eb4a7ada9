// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

func init() {
	caddy.RegisterModule(&Hook{})
}

// Hook is put by est into the TLS policies of its sites, to serve the
// certificates that est keeps. It isn't written by hand.
//
// Caddy loads this module right after it has made the policy's TLS
// configuration and before anybody uses it: that is when its GetCertificate is
// wrapped. Caddy's certificate cache knows nothing of a changed upstream, and
// can hold no key that is in a KMS.
type Hook struct{}

// CaddyModule returns the Caddy module information.
func (*Hook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.context.est", New: func() caddy.Module { return new(Hook) }}
}

// Provision wraps every policy that has its TLS configuration by now.
func (*Hook) Provision(ctx caddy.Context) error {
	app, err := estApp(ctx)
	if err != nil {
		return err
	}
	app.hooked.wrap(app)
	return nil
}

// HandshakeContext changes nothing.
func (*Hook) HandshakeContext(hello *tls.ClientHelloInfo) (context.Context, error) {
	return hello.Context(), nil
}

// hookedPolicies are the TLS policies in which certificates of est are served.
type hookedPolicies struct {
	mu      sync.Mutex
	waiting []*caddytls.ConnectionPolicy // for their TLS configuration
}

// add puts the hook into a policy that Caddy hasn't provisioned. It is false
// where another module stands in its place.
func (p *hookedPolicies) add(pol *caddytls.ConnectionPolicy) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.waiting, pol) {
		return true
	}
	if len(pol.HandshakeContextRaw) > 0 {
		return false
	}
	pol.HandshakeContextRaw = json.RawMessage(`{"module":"est"}`)
	p.waiting = append(p.waiting, pol)
	return true
}

func (p *hookedPolicies) wrap(a *App) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = slices.DeleteFunc(p.waiting, func(pol *caddytls.ConnectionPolicy) bool {
		if pol.TLSConfig == nil {
			return false
		}
		next := pol.TLSConfig.GetCertificate
		pol.TLSConfig.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return a.choose(hello, pol, next)
		}
		return true
	})
}

// choose picks the certificate of one handshake: est's own where it keeps one
// for the name and the client can verify its kind of key, else Caddy's.
func (a *App) choose(hello *tls.ClientHelloInfo, pol *caddytls.ConnectionPolicy, next func(*tls.ClientHelloInfo) (*tls.Certificate, error)) (*tls.Certificate, error) {
	if slices.Equal(hello.SupportedProtos, []string{"acme-tls/1"}) { // RFC 8737: Caddy's to answer
		return next(hello)
	}
	if own := a.ownOf(hello, pol); own != nil {
		cert, err := own.certificate(hello.Context())
		if err == nil && hello.SupportsCertificate(cert) == nil {
			return cert, nil
		}
		return next(hello)
	}
	cert, err := next(hello)
	if own := a.own.named(pol.FallbackSNI); err != nil && own != nil {
		return own.certificate(hello.Context())
	}
	return cert, err
}

// ownOf finds the certificate for a ClientHello. One without a server name is
// for the address that it came to, or for the default, as with Caddy's own.
func (a *App) ownOf(hello *tls.ClientHelloInfo, pol *caddytls.ConnectionPolicy) *ownCertificate {
	if hello.ServerName != "" {
		return a.own.named(hello.ServerName)
	}
	if hello.Conn != nil {
		host, _, err := net.SplitHostPort(hello.Conn.LocalAddr().String())
		if own := a.own.named(host); err == nil && own != nil {
			return own
		}
	}
	return a.own.named(pol.DefaultSNI)
}

var (
	_ caddy.Provisioner         = (*Hook)(nil)
	_ caddytls.HandshakeContext = (*Hook)(nil)
)
