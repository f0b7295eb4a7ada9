// SPDX-License-Identifier: Apache-2.0

package module

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/digest"
	"github.com/caddy-est/estra/ra/est"
	"github.com/caddy-est/estra/ra/status"
)

func init() {
	caddy.RegisterModule(&Handler{})
}

// Handler is the EST server (RFC 7030) of one site. It answers everything
// under /.well-known/est and passes the rest on.
//
// The configuration says who can be authenticated and where the CA is. What
// may be issued, and to whom, is said by the policy file alone.
type Handler struct {
	// The policy file (docs/policy.md). Required. Here and in the names of all
	// other files, placeholders such as {env.X} are replaced.
	Policy string `json:"policy"`
	// SHA-256 of the policy file when the Caddyfile was adapted, hex, and of
	// each file that it names, all joined by +. Nothing compares it: it makes
	// the configuration another one when the policy changes, since Caddy skips
	// a reload of the same configuration.
	PolicySHA256 string `json:"policy_sha256,omitempty"`
	// A second policy file that is decided beside the first for each request.
	// What it would decide otherwise is counted and recorded, and reaches no
	// client.
	Shadow string `json:"shadow,omitempty"`
	// The SHA-256 of the shadow policy file, as policy_sha256.
	ShadowSHA256 string `json:"shadow_sha256,omitempty"`
	// Where client certificates may come from. The name `ours` stands for
	// the only upstream's issuing keys without being written.
	Anchors []AnchorConfig `json:"anchors,omitempty"`
	// The accounts of HTTP Basic.
	Basic []Account `json:"basic,omitempty"`
	// The accounts of HTTP Digest (RFC 7616).
	Digest *DigestConfig `json:"digest,omitempty"`
	// The issuers of bearer tokens.
	Bearers []BearerConfig `json:"bearers,omitempty"`
	// A service that is asked about each request, as step-ca's webhooks are.
	Webhook *WebhookConfig `json:"webhook,omitempty"`
	// A service that is told of each request that waits for somebody's approval.
	Notify *WebhookConfig `json:"notify,omitempty"`
	// HTTP authentication modules of others.
	Providers []Provider `json:"providers,omitempty"`
	// Where one-time passwords and device registries are kept. Default: the
	// SQLite file est/store.db in Caddy's data directory, which is made when a
	// policy needs it. One for all sites. With postgres several nodes share it.
	Store *StoreConfig `json:"store,omitempty"`
	// How long the store keeps what has ended. One for all sites that have it.
	Retention *RetentionConfig `json:"retention,omitempty"`
	// The chain that records of enrolling operations are kept in, beside the log.
	// Default: there is none. One for all sites that have it.
	Audit *AuditConfig `json:"audit,omitempty"`
	// The device registries that the policy may name.
	Registries []Registry `json:"registries,omitempty"`
	// The keys that clients decrypt private keys with, which were made for them.
	// Default: those of their TLS client certificates alone.
	DecryptKeys *DecryptKeysConfig `json:"decrypt_keys,omitempty"`
	// The CAs. Default: one, `internal`.
	Upstreams []NamedUpstream `json:"upstreams,omitempty"`
	// PEM files with further CA certificates for /cacerts: OldWithNew and
	// NewWithOld of a root change (RFC 4210 section 4.4).
	CACertsExtra []string `json:"cacerts_extra,omitempty"`
	// PEM files with CA certificates of the site's own TLS chain, for /cacerts.
	// They needn't belong to the CA: a device takes them as trust anchors all the
	// same.
	CACertsTLS []string `json:"cacerts_tls,omitempty"`
	// A certificate for clients who name its CA in the TLS ClientHello.
	SecondCertificate *SecondCertificate `json:"second_certificate,omitempty"`
	// Answers that depend on the client.
	Quirks Quirks `json:"quirks,omitzero"`
	// Bounds on what a client can make us do.
	Limits Limits `json:"limits,omitzero"`
	// "off" leaves the site's TLS alone: no client certificate is asked
	// for unless the site's own `tls` does.
	ClientCerts string `json:"client_certs,omitempty"`
	// Switch off Caddy's check that the Host header equals the TLS server
	// name, for devices that dial by address.
	AnyHost bool `json:"any_host,omitempty"`
	// Where the site's own certificate comes from. Default: from wherever
	// Caddy's tls app has it.
	Certificate *CertificateConfig `json:"certificate,omitempty"`
	// Where the directive stands, such as "Caddyfile:12"; for messages.
	Source string `json:"source,omitempty"`

	ctx       caddy.Context
	log       *zap.Logger
	auditLog  *zap.Logger
	app       *App
	upstreams map[string]*authority
	published []*status.CA // of the upstreams
	providers []namedProvider
	basic     *basicAccounts
	digest    *digest.Server
	bearers   []*tokenIssuer
	files     []fileAnchor
	foreign   []string   // names of the site, whose certificate isn't ours
	store     *lateStore // nil: none is needed
	chain     *lateChain // nil: records are logged alone

	decryptKeys *decryptKeys
	notifier    *notifier // nil: nobody is told

	server *est.Server
	policy *policy.Policy
	shadow *policy.Policy

	secondHosts []string // the site's, which the second certificate is for
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.est", New: func() caddy.Module { return new(Handler) }}
}

// Provision loads the policy and everything it speaks of. It opens no
// connection: a mistake is found by `caddy validate`, and a reload with one
// keeps what was running.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.ctx, h.log = ctx, ctx.Logger()
	h.auditLog = h.log.Named("audit")
	app, err := ctx.App("est")
	if err != nil {
		return fmt.Errorf("getting est app: %w", err)
	}
	h.app = app.(*App)
	steps := []func() error{
		h.expandFiles, h.loadPolicy, h.loadUpstreams, h.loadCredentials, h.bind, h.needsStore, h.needsChain, h.loadDecryptKeys, h.askForCertificates, h.answerSRP, h.takeCertificate, h.loadSecond,
		h.assemble, h.prepareUpstreams, h.prepareOwn, // last, since it may write to Caddy's storage
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return h.where(err)
		}
	}
	h.app.enlist(h)
	return nil
}

// where puts the directive's place before a message.
func (h *Handler) where(err error) error {
	if h.Source == "" {
		return err
	}
	return fmt.Errorf("%s: est: %w", h.Source, err)
}

// expandFiles replaces placeholders in the names of files.
func (h *Handler) expandFiles() (err error) {
	if h.Policy, err = expand("policy", h.Policy); err != nil {
		return err
	}
	if h.Shadow, err = expand("policy shadow", h.Shadow); err != nil {
		return err
	}
	if h.Digest != nil {
		if h.Digest.File, err = expand("digest", h.Digest.File); err != nil {
			return err
		}
	}
	for i := range h.CACertsExtra {
		if h.CACertsExtra[i], err = expand("cacerts_extra", h.CACertsExtra[i]); err != nil {
			return err
		}
	}
	for i := range h.CACertsTLS {
		if h.CACertsTLS[i], err = expand("cacerts_tls", h.CACertsTLS[i]); err != nil {
			return err
		}
	}
	if h.SecondCertificate != nil {
		if err := h.SecondCertificate.expand(); err != nil {
			return err
		}
	}
	for i := range h.Anchors {
		a := &h.Anchors[i]
		for j := range a.Files {
			if a.Files[j], err = expand("anchors "+a.Name, a.Files[j]); err != nil {
				return err
			}
		}
		for j := range a.CRL {
			if a.CRL[j], err = expand("anchors "+a.Name+" crl", a.CRL[j]); err != nil {
				return err
			}
		}
		if a.OCSP, err = expand("anchors "+a.Name+" ocsp", a.OCSP); err != nil {
			return err
		}
	}
	return nil
}

// bind checks the policy against what the configuration offers.
func (h *Handler) bind() error {
	asksCRL := func(name string) bool {
		known, ok := h.upstreams[name]
		return ok && known.ca.UseCRL
	}
	env, err := h.environment(capabilities(h.upstreams), asksCRL)
	if err != nil {
		return err
	}
	if err := h.policy.Bind(env); err != nil {
		return fmt.Errorf("policy:\n%w", err)
	}
	if h.shadow == nil {
		return nil
	}
	if err := h.shadow.Bind(env); err != nil {
		return fmt.Errorf("policy shadow:\n%w", err)
	}
	return nil
}

// nameOf is the name by which a client has called this server.
func nameOf(r *http.Request) string {
	if r.TLS != nil && r.TLS.ServerName != "" {
		return r.TLS.ServerName
	}
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		return r.Host
	}
	return host
}

// ServeHTTP answers EST requests, and for what the site's own CAs have revoked, and
// passes all others on.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if !est.Owns(r.URL.EscapedPath()) {
		for _, ca := range h.published {
			if ca.Serve(w, r) {
				return nil
			}
		}
		return next.ServeHTTP(w, r)
	}
	defer h.app.requests.enter()()
	h.server.Serve(w, r, h.incoming(r))
	return nil
}

// clientAddress is Caddy's idea of who calls, trusted proxies considered.
func clientAddress(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap()
}

// tlsAhead believes X-Forwarded-Proto when a trusted proxy sends it (Caddy's
// `trusted_proxies`). Of two, one may be the client's, which a proxy that adds
// its own has passed on.
func tlsAhead(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	said := r.Header.Values("X-Forwarded-Proto")
	return trusted && len(said) == 1 && said[0] == "https"
}

// loadAnchors makes the anchors' sources.
func (h *Handler) loadAnchors() (*anchor.Set, error) {
	set := &anchor.Set{}
	for _, cfg := range h.anchorConfigs() {
		made, err := h.loadAnchor(cfg)
		if err != nil {
			return nil, fmt.Errorf("anchors %s: %w", cfg.Name, err)
		}
		set.Anchors = append(set.Anchors, made)
	}
	return set, nil
}

var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
