// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"golang.org/x/net/idna"
)

// takeCertificate has the site's own certificate come from an upstream, or the
// second one, where the configuration says so.
func (h *Handler) takeCertificate() error {
	srv, ok := h.ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if h.Certificate == nil && ok && len(srv.TLSConnPolicies) > 0 {
		h.foreign = h.names(srv)
	}
	config, option := h.ownConfig()
	if config == nil || !ok {
		return nil // not within an HTTP server there is no site to certify
	}
	names, err := h.wantOwn(srv, config)
	if err != nil {
		return fmt.Errorf("%s from %s: %w", option, config.From, err)
	}
	if h.Certificate == nil {
		return nil // Caddy has one for everybody else
	}
	for _, name := range names {
		if err := h.serveOwn(srv, name); err != nil {
			return err
		}
	}
	return h.leaveToUs(names)
}

// wantOwn has the app keep a certificate for each name of the site.
func (h *Handler) wantOwn(srv *caddyhttp.Server, config *CertificateConfig) ([]string, error) {
	without := "write `certificate off`"
	if h.Certificate == nil {
		without = "leave `second_certificate` out"
	}
	upstream, known := h.upstreams[config.From]
	if !known {
		return nil, errors.New("no upstream is named so")
	}
	if h.Certificate != nil && h.SecondCertificate.issued() {
		return nil, fmt.Errorf("every client gets that one, and `second_certificate from %s` would be for nobody: leave one of the two out", h.SecondCertificate.Own.From)
	}
	if err := config.check(); err != nil {
		return nil, err
	}
	if len(srv.TLSConnPolicies) == 0 {
		return nil, fmt.Errorf("the site has no TLS: %s", without)
	}
	names := h.names(srv)
	if len(names) == 0 {
		return nil, fmt.Errorf("the site has no host name that a certificate could be for: give it one, or %s", without)
	}
	for _, name := range names {
		if !certmagic.SubjectQualifiesForCert(name) {
			return nil, fmt.Errorf("%q can't be the name of a certificate", name)
		}
		if err := h.app.own.want(name, h, upstream); err != nil {
			return nil, err
		}
	}
	return names, nil
}

func (c *CertificateConfig) check() (err error) {
	if c.Validity < 0 || c.Validity > 0 && time.Duration(c.Validity) < minOwnValidity {
		return fmt.Errorf("a validity of %s is too short: the least is %s", time.Duration(c.Validity), minOwnValidity)
	}
	if c.Key == "" {
		return nil
	}
	if c.Key, err = expand("key", c.Key); err != nil {
		return err
	}
	if err := checkKey(c.Key); err != nil {
		return fmt.Errorf("key: %w", err)
	}
	return nil
}

// minOwnValidity leaves time to renew.
const minOwnValidity = 15 * time.Second

// names are the hosts of the site, as certificates have them.
func (h *Handler) names(srv *caddyhttp.Server) []string {
	var names []string
	repl := caddy.NewReplacer()
	for _, host := range h.hosts(srv) {
		name := strings.ToLower(repl.ReplaceKnown(host, ""))
		if ascii, err := idna.ToASCII(name); err == nil {
			name = ascii
		}
		if name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// serveOwn puts the hook into the TLS policies that serve a name: the one that
// a ClientHello for it selects, and those whose default it is.
func (h *Handler) serveOwn(srv *caddyhttp.Server, name string) error {
	found := false
	for _, pol := range srv.TLSConnPolicies {
		chosen := !found && selects(pol, name)
		if !chosen && pol.DefaultSNI != name && pol.FallbackSNI != name {
			continue
		}
		if !h.app.hooked.add(pol) {
			return fmt.Errorf("the TLS policy of %s has a handshake_context of its own, where est serves its certificate: write `certificate off`", name)
		}
		found = found || chosen
	}
	if !found {
		return fmt.Errorf("no TLS policy matches %s", name)
	}
	return nil
}

// leaveToUs makes sure that Caddy's automation gets no certificate for the
// site's names: the directive adds a policy for that, which Caddy drops inside
// `handle`.
func (h *Handler) leaveToUs(names []string) error {
	app, err := h.ctx.App("tls")
	if err != nil {
		return fmt.Errorf("getting tls app: %w", err)
	}
	tlsApp := app.(*caddytls.TLS)
	names = slices.DeleteFunc(names, func(name string) bool {
		ap := automates(tlsApp, name)
		return ap != nil && slices.ContainsFunc(ap.Managers, func(m certmagic.Manager) bool { _, ours := m.(*Manager); return ours })
	})
	if len(names) == 0 {
		return nil
	}
	ap := &caddytls.AutomationPolicy{
		SubjectsRaw: names,
		IssuersRaw:  []json.RawMessage{[]byte(`{"module":"est"}`)},
		ManagersRaw: []json.RawMessage{[]byte(`{"via":"est"}`)},
	}
	if err := tlsApp.AddAutomationPolicy(ap); err != nil {
		return fmt.Errorf("certificate from %s: %w", h.Certificate.From, err)
	}
	// The first that matches counts: before those that Caddy made for it.
	all := slices.DeleteFunc(tlsApp.Automation.Policies, func(other *caddytls.AutomationPolicy) bool { return other == ap })
	tlsApp.Automation.Policies = slices.Insert(all, 0, ap)
	return nil
}

// automates is the policy by which Caddy gets the certificate for a name.
func automates(app *caddytls.TLS, name string) *caddytls.AutomationPolicy {
	if app.Automation == nil {
		return nil
	}
	for _, ap := range app.Automation.Policies {
		subjects := ap.Subjects()
		if len(subjects) == 0 || slices.ContainsFunc(subjects, func(s string) bool { return certmagic.MatchWildcard(name, s) }) {
			return ap
		}
	}
	return nil
}

// prepareOwn tells the upstreams what our own certificate needs of them, and
// gives it to those that want to show it to their CA.
func (h *Handler) prepareOwn() error {
	config, option := h.ownConfig()
	if config != nil {
		if unable, ok := h.upstreams[config.From].upstream.(interface{ NoOwn() error }); ok {
			return fmt.Errorf("%s from %s: %w", option, config.From, unable.NoOwn())
		}
		if err := h.upstreams[config.From].upstream.Needs(h.ownValidity()); err != nil {
			return fmt.Errorf("%s from %s: %w", option, config.From, err)
		}
	}
	for _, u := range h.Upstreams {
		user, ok := h.upstreams[u.Name].upstream.(ownUser)
		if !ok || !user.WantsOwn() {
			continue
		}
		if err := h.givesOwn(u.Name, user); err != nil {
			return err
		}
		user.UseOwn(func() (*tls.Certificate, error) { return h.app.ownFor(u.Name) })
	}
	return nil
}

// givesOwn refuses an own certificate that can't be shown, or not for long
// enough.
func (h *Handler) givesOwn(upstream string, user ownUser) error {
	config, option := h.ownConfig()
	switch {
	case !user.BoundByOwn() && (config == nil || config.From == upstream):
		return fmt.Errorf("upstream %s: it is to be shown this server's own certificate, and no other upstream issues one: write `certificate FILE` and `key FILE` in it, or `%s from` another upstream", upstream, option)
	case config == nil:
		return fmt.Errorf("upstream %s: it is to be shown this server's own certificate, and there is none: write `certificate from %s`", upstream, upstream)
	case user.BoundByOwn():
		return h.outlives(upstream)
	}
	return nil
}

// outlives refuses an own certificate that, before it is renewed, has less life
// left than the policy's certificates are to have.
func (h *Handler) outlives(upstream string) error {
	need := h.policy.MaxValidity()
	left := time.Duration(float64(h.ownValidity()) * renewalShare)
	if left >= need {
		return nil
	}
	config, option := h.ownConfig()
	enough := int(float64(need)/renewalShare/float64(24*time.Hour)) + 1
	return fmt.Errorf("upstream %s: the CA issues nothing that outlives our own certificate, which lives %s and is renewed when a third of that is left; the policy plans up to %s: write `%s from %s { validity %dd }`, for which the CA's maxTLSCertDuration must be long enough, or use the JWK provisioner alone",
		upstream, span(h.ownValidity()), span(need), option, config.From, enough)
}

// span is a duration in days where it is some, else as Go has it.
func span(d time.Duration) string {
	if d%(24*time.Hour) == 0 || d > 7*24*time.Hour {
		return days(d)
	}
	return d.String()
}
