// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(&SecondHook{})
}

var errNoHello = errors.New("second_certificate: the site's server doesn't read ClientHellos, so that nobody would get it: write in the global options `servers { listener_wrappers { est_hello  tls } }`, each name on a line of its own")

var errPlainSite = errors.New("second_certificate: with `client_certs off` the site's TLS isn't est's: leave one of the two out")

// SecondHook is put by est into the TLS policies of a site with a second
// certificate. It isn't written by hand, and verifies nothing.
//
// Caddy loads this module when it has made the policy's TLS configuration and
// before anybody uses it: that is when GetCertificate is wrapped. A certificate
// manager can't choose, since certmagic shares its answer among handshakes for
// one name that are under way at the same time.
type SecondHook struct{}

const secondHook = "est"

// CaddyModule returns the Caddy module information.
func (*SecondHook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "tls.client_auth.verifier.est", New: func() caddy.Module { return new(SecondHook) }}
}

// Provision wraps every policy that has its TLS configuration by now.
func (*SecondHook) Provision(ctx caddy.Context) error {
	app, err := ctx.App("est")
	if err != nil {
		return fmt.Errorf("getting est app: %w", err)
	}
	app.(*App).second.wrap()
	return nil
}

// VerifyClientCertificate accepts all: the handler verifies, on each request.
func (*SecondHook) VerifyClientCertificate([][]byte, [][]*x509.Certificate) error { return nil }

// seconds are the second certificates of one configuration. They are gathered
// while it is loaded, by one goroutine.
type seconds struct {
	listening []*caddyhttp.Server // with est_hello
	policies  []*secondPolicy
}

// A secondPolicy is a TLS policy with second certificates.
type secondPolicy struct {
	pol     *caddytls.ConnectionPolicy
	choices []*SecondCertificate
	wrapped bool
}

func (s *seconds) listen(srv *caddyhttp.Server) { s.listening = append(s.listening, srv) }

// add puts the hook into a policy that Caddy hasn't provisioned yet.
func (s *seconds) add(pol *caddytls.ConnectionPolicy, c *SecondCertificate) {
	for _, known := range s.policies {
		if known.pol == pol {
			known.choices = append(known.choices, c)
			return
		}
	}
	raw, _ := json.Marshal(map[string]string{"verifier": secondHook}) // text always marshals
	pol.ClientAuthentication.VerifiersRaw = append(pol.ClientAuthentication.VerifiersRaw, raw)
	s.policies = append(s.policies, &secondPolicy{pol: pol, choices: []*SecondCertificate{c}})
}

func (s *seconds) wrap() {
	for _, p := range s.policies {
		if p.wrapped || p.pol.TLSConfig == nil {
			continue
		}
		p.wrapped = true
		next := p.pol.TLSConfig.GetCertificate
		p.pol.TLSConfig.GetCertificate = func(info *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if cert := p.choose(info); cert != nil {
				return cert, nil
			}
			return next(info)
		}
	}
}

// choose is nil where the certificate is Caddy's to give.
func (p *secondPolicy) choose(info *tls.ClientHelloInfo) *tls.Certificate {
	if slices.Equal(info.SupportedProtos, []string{"acme-tls/1"}) { // RFC 8737
		return nil
	}
	name := p.name(info)
	for _, c := range p.choices {
		if cert := c.forHello(info, name); cert != nil {
			return cert
		}
	}
	return nil
}

// name is whom the client wants to reach. One without a server name has dialled
// an address, or gets the default, as with Caddy's own certificates.
func (p *secondPolicy) name(info *tls.ClientHelloInfo) string {
	switch {
	case info.ServerName != "":
		return info.ServerName
	case p.pol.DefaultSNI != "":
		return p.pol.DefaultSNI
	case info.Conn == nil:
		return ""
	}
	host, _, err := net.SplitHostPort(info.Conn.LocalAddr().String())
	if err != nil {
		return "" // a Unix socket
	}
	return host
}

// hooked says that a policy verifies nothing but by our hook.
func hooked(auth *caddytls.ClientAuthentication) bool {
	return !slices.ContainsFunc(auth.VerifiersRaw, func(raw json.RawMessage) bool {
		var v struct {
			Verifier string `json:"verifier"`
		}
		return json.Unmarshal(raw, &v) != nil || v.Verifier != secondHook
	})
}

// loadSecond takes the second certificate into the TLS policies of the site. It
// comes after askForCertificates, which makes them.
func (h *Handler) loadSecond() error {
	if h.SecondCertificate == nil {
		return nil
	}
	srv, ok := h.ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	switch {
	case !ok:
		return errNoSite
	case h.ClientCerts == "off":
		return errPlainSite
	case !slices.Contains(h.app.second.listening, srv):
		return errNoHello
	}
	h.secondHosts = h.hosts(srv)
	if _, err := h.SecondCertificate.read(h.secondHosts); err != nil {
		return fmt.Errorf("second_certificate: %w", err)
	}
	found := false
	for _, pol := range srv.TLSConnPolicies {
		if auth := pol.ClientAuthentication; auth == nil || !auth.Active() || !h.meets(pol) {
			continue
		}
		found = true
		h.app.second.add(pol, h.SecondCertificate)
	}
	if !found {
		return errors.New(`second_certificate: no TLS policy of this server asks for client certificates: give the site one with client_authentication: {"mode": "request"}`)
	}
	return nil
}

// meets says that a policy may be that of this site. The hosts of one written
// as JSON aren't known: there the certificate's names decide.
func (h *Handler) meets(pol *caddytls.ConnectionPolicy) bool {
	return h.Source == "" || slices.ContainsFunc(h.secondHosts, func(host string) bool { return selects(pol, host) })
}

// watchSecond takes a renewed certificate, and says once what is wrong.
func (h *Handler) watchSecond() {
	s := h.SecondCertificate
	if s == nil {
		return
	}
	changed, err := s.read(h.secondHosts)
	switch {
	case err != nil && err.Error() != s.wrong:
		s.wrong = err.Error()
		h.log.Error("the second certificate can't be read anew; the one from before is served on", zap.Error(err))
	case err == nil:
		s.wrong = ""
		if changed {
			h.sayOfSecond("the second certificate was read anew")
		}
	}
}

// sayOfSecond logs which one is served.
func (h *Handler) sayOfSecond(what string) {
	if h.SecondCertificate == nil {
		return
	}
	leaf := h.SecondCertificate.now.Load().served.Leaf
	fields := []zap.Field{zap.String("file", h.SecondCertificate.Certificate), zap.Time("not_after", leaf.NotAfter)}
	h.log.Info(what, fields...)
	if time.Now().After(leaf.NotAfter) {
		h.log.Error("the second certificate has expired", fields...)
	}
}

var (
	_ caddy.Provisioner                  = (*SecondHook)(nil)
	_ caddytls.ClientCertificateVerifier = (*SecondHook)(nil)
)
