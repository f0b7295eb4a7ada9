// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"
)

var errNoHello = errors.New("second_certificate: the site's server doesn't read ClientHellos, so that nobody would get it: write in the global options `servers { listener_wrappers { est_hello  tls } }`, each name on a line of its own")

var errPlainSite = errors.New("second_certificate: with `client_certs off` the site's TLS isn't est's: leave one of the two out")

var errNoStream = errors.New("second_certificate: this server speaks HTTP/3 alone, where no ClientHello can be read: give the certificate to the site, `tls CERTIFICATE KEY`")

// seconds are the second certificates of one configuration. They are gathered
// while it is loaded, and put into its TLS policies when it starts.
type seconds struct {
	listening []*caddyhttp.Server // with est_hello

	mu       sync.Mutex
	policies []*secondPolicy
}

// A secondPolicy is a TLS policy with second certificates.
type secondPolicy struct {
	srv     *caddyhttp.Server
	pol     *caddytls.ConnectionPolicy
	choices []*SecondCertificate
	wrapped bool
}

func (s *seconds) listen(srv *caddyhttp.Server) { s.listening = append(s.listening, srv) }

func (s *seconds) add(srv *caddyhttp.Server, pol *caddytls.ConnectionPolicy, c *SecondCertificate) {
	for _, known := range s.policies {
		if known.pol == pol {
			known.choices = append(known.choices, c)
			return
		}
	}
	s.policies = append(s.policies, &secondPolicy{srv: srv, pol: pol, choices: []*SecondCertificate{c}})
}

// wrap puts the choice before whatever else gives certificates to a server's
// connections. A certificate manager couldn't choose: certmagic shares its
// answer among handshakes for one name that are under way at the same time.
func (s *seconds) wrap(srv *caddyhttp.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.policies {
		if p.srv != srv || p.wrapped {
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
	case slices.ContainsFunc(append(slices.Clone(srv.ListenProtocols), srv.Protocols), quicAlone):
		return errNoStream
	}
	h.secondHosts = h.hosts(srv)
	h.SecondCertificate.app = h.app
	if h.SecondCertificate.inFiles() {
		if _, err := h.SecondCertificate.read(h.secondHosts); err != nil {
			return fmt.Errorf("second_certificate: %w", err)
		}
	}
	found := false
	for _, pol := range srv.TLSConnPolicies {
		if auth := pol.ClientAuthentication; auth == nil || !auth.Active() || !h.meets(pol) {
			continue
		}
		found = true
		h.app.second.add(srv, pol, h.SecondCertificate)
	}
	if !found {
		return errors.New(`second_certificate: no TLS policy of this server asks for client certificates: give the site one with client_authentication: {"mode": "request"}`)
	}
	return nil
}

// quicAlone says that what speaks these protocols takes no TCP connections.
func quicAlone(protocols []string) bool {
	return len(protocols) > 0 && !slices.ContainsFunc(protocols, func(p string) bool { return p != "h3" })
}

// meets says that a policy may be that of this site. The hosts of one written
// as JSON aren't known: there the certificate's names decide.
func (h *Handler) meets(pol *caddytls.ConnectionPolicy) bool {
	return h.Source == "" || slices.ContainsFunc(h.secondHosts, func(host string) bool { return selects(pol, host) })
}

// watchSecond takes a renewed certificate, and says once what is wrong.
func (h *Handler) watchSecond() {
	s := h.SecondCertificate
	if !s.inFiles() {
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
	if !h.SecondCertificate.inFiles() {
		return // of one that is issued the log tells when it is there
	}
	leaf := h.SecondCertificate.now.Load().served.Leaf
	fields := []zap.Field{zap.String("file", h.SecondCertificate.Certificate), zap.Time("not_after", leaf.NotAfter)}
	h.log.Info(what, fields...)
	if time.Now().After(leaf.NotAfter) {
		h.log.Error("the second certificate has expired", fields...)
	}
}
