// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"
)

func init() {
	caddy.RegisterModule(&Issuer{})
	caddy.RegisterModule(&Manager{})
}

// Issuer gets certificates with id-kp-cmcRA from the upstream that the `est` of
// the site names in its `certificate`. It has no configuration of its own.
type Issuer struct {
	app *App
	own *ownCertificate // nil: found by the request's name
}

// CaddyModule returns the Caddy module information.
func (*Issuer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.issuance.est", New: func() caddy.Module { return new(Issuer) }}
}

// Provision finds the app.
func (i *Issuer) Provision(ctx caddy.Context) (err error) {
	i.app, err = estApp(ctx)
	return err
}

// UnmarshalCaddyfile reads `issuer est`, which has no options.
func (*Issuer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

// bare reads a module's name and nothing more.
func bare(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() || d.NextBlock(d.Nesting()) {
		return d.Errf("est has no options here: write them in the site's `est { certificate … }`")
	}
	return nil
}

func estApp(ctx caddy.Context) (*App, error) {
	app, err := ctx.App("est")
	if err != nil {
		return nil, fmt.Errorf("getting est app: %w", err)
	}
	return app.(*App), nil
}

// IssuerKey tells certificates of this issuer from others in the storage: by
// the CA and the extended key usages.
func (i *Issuer) IssuerKey() string {
	if i.own == nil {
		return "est"
	}
	return i.own.issuerKey()
}

// Issue has one request certified.
func (i *Issuer) Issue(ctx context.Context, request *x509.CertificateRequest) (*certmagic.IssuedCertificate, error) {
	own := i.own
	if own == nil {
		for _, name := range namesOf(request) {
			if own = i.app.own.named(name); own != nil {
				break
			}
		}
	}
	if own == nil {
		return nil, errNoOwn
	}
	chain, err := own.issue(ctx, request.Raw)
	if err != nil {
		return nil, err
	}
	return &certmagic.IssuedCertificate{Certificate: chainPEM(chain)}, nil
}

func namesOf(request *x509.CertificateRequest) []string {
	names := request.DNSNames
	for _, ip := range request.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

func chainPEM(chain []*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range chain {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // into memory
	}
	return out.Bytes()
}

// Manager gives Caddy the certificates that est keeps by itself, so that Caddy
// gets no others for those names.
type Manager struct{ app *App }

// CaddyModule returns the Caddy module information.
func (*Manager) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.get_certificate.est", New: func() caddy.Module { return new(Manager) }}
}

// Provision finds the app.
func (m *Manager) Provision(ctx caddy.Context) (err error) {
	m.app, err = estApp(ctx)
	return err
}

// UnmarshalCaddyfile reads `get_certificate est`, which has no options.
func (*Manager) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return bare(d) }

// GetCertificate is asked where the hook of the TLS policy had none to give.
// It never gives nothing without an error: Caddy would obtain one elsewhere.
func (m *Manager) GetCertificate(ctx context.Context, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return m.app.OwnCertificate(ctx, strings.TrimSpace(hello.ServerName))
}

var (
	_ caddy.Provisioner     = (*Issuer)(nil)
	_ caddyfile.Unmarshaler = (*Issuer)(nil)
	_ certmagic.Issuer      = (*Issuer)(nil)
	_ caddy.Provisioner     = (*Manager)(nil)
	_ caddyfile.Unmarshaler = (*Manager)(nil)
	_ certmagic.Manager     = (*Manager)(nil)
)
