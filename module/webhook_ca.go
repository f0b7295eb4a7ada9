// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/webhook"
)

func init() {
	caddy.RegisterModule(&WebhookCA{})
}

// WebhookCA is the upstream `webhook`: whatever issues for JSON over HTTPS
// (docs/upstream-webhook.md). The option `webhook` of `est` is another one: that
// service is asked before the policy decides, and issues nothing.
type WebhookCA struct {
	// The address of the service, such as https://ca.example.net. Required.
	URL string `json:"url"`
	// A PEM file with the root certificates of its CA. Required: they bound what
	// /cacerts may publish, and verify the service's TLS.
	Root string `json:"root"`
	// A PEM file with further roots that the service's TLS may be verified with.
	// Default: none.
	TLSRoot string `json:"tls_root,omitempty"`
	// A PEM file with the CA certificates below the root. Without cacerts, the
	// one that issues must be in it, unless the root does. Default: none.
	Chain string `json:"chain,omitempty"`
	// The key that signs requests: base64 of 16 bytes or more. Best a
	// placeholder such as {env.X}. This or secret_file is required.
	Secret string `json:"secret,omitempty"`
	// A file with that key, which is read again when it changes.
	SecretFile string `json:"secret_file,omitempty"`
	// A PEM file with our TLS client certificate and its chain. It is read again
	// when it changes. Default: none.
	Certificate string `json:"certificate,omitempty"`
	// A PEM file with its private key.
	Key string `json:"key,omitempty"`
	// The service has /cacerts, and says which its CA certificates are.
	AskCACerts bool `json:"cacerts,omitempty"`
	// The service has /revoke.
	TellRevocations bool `json:"revoke,omitempty"`
	// The service numbers certificates itself.
	OwnSerials bool `json:"own_serials,omitempty"`
	// How much before the planned times certificates may begin and end. Default:
	// 1m.
	Backdate caddy.Duration `json:"backdate,omitempty"`
	// How long one call may take. Default: 15s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// The most connections at once. Default: 16.
	MaxConnections int `json:"max_connections,omitempty"`

	*webhook.Upstream `json:"-"`

	pins []*x509.Certificate
	pair *changing[clientPair]
}

// CaddyModule returns the Caddy module information.
func (*WebhookCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.webhook", New: func() caddy.Module { return new(WebhookCA) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] webhook URL {
//		root FILE
//		tls_root FILE
//		chain FILE
//		secret S
//		secret_file FILE
//		certificate FILE
//		key FILE
//		cacerts
//		revoke
//		own_serials
//		backdate DURATION
//		timeout DURATION
//		max_connections N
//	}
func (u *WebhookCA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	start := *d // what is missing is reported where the upstream begins
	b := upstreamBlock{d, "webhook"}
	if err := b.address("https://HOST", &u.URL); err != nil {
		return err
	}
	if err := b.read(u.option); err != nil {
		return err
	}
	switch {
	case u.Root == "":
		return start.Errf("upstream webhook needs `root FILE`")
	case (u.Secret == "") == (u.SecretFile == ""):
		return start.Errf("upstream webhook needs one of `secret S` and `secret_file FILE`")
	}
	return nil
}

func (u *WebhookCA) option(b upstreamBlock) error {
	switch name := b.Val(); name {
	case "root":
		return b.value("FILE", &u.Root)
	case "tls_root":
		return b.value("FILE", &u.TLSRoot)
	case "chain":
		return b.value("FILE", &u.Chain)
	case "secret":
		return b.value("S", &u.Secret)
	case "secret_file":
		return b.value("FILE", &u.SecretFile)
	case "certificate":
		return b.value("FILE", &u.Certificate)
	case "key":
		return b.value("FILE", &u.Key)
	case "cacerts":
		return b.flag(&u.AskCACerts)
	case "revoke":
		return b.flag(&u.TellRevocations)
	case "own_serials":
		return b.flag(&u.OwnSerials)
	case "backdate":
		return b.duration("1m", &u.Backdate)
	case "timeout":
		return b.duration("15s", &u.Timeout)
	case "max_connections":
		return b.number("16", &u.MaxConnections)
	default:
		return b.Errf("upstream webhook has no option %q; there is: backdate, cacerts, certificate, chain, key, max_connections, own_serials, revoke, root, secret, secret_file, timeout, tls_root", name)
	}
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address, the secret and the files' names.
func (u *WebhookCA) Provision(caddy.Context) error {
	if u.URL == "" || u.Root == "" {
		return errors.New("upstream webhook needs url and root")
	}
	err := expandAll(expandable{"url", &u.URL}, expandable{"root", &u.Root}, expandable{"tls_root", &u.TLSRoot},
		expandable{"chain", &u.Chain}, expandable{"secret_file", &u.SecretFile},
		expandable{"certificate", &u.Certificate}, expandable{"key", &u.Key})
	if err != nil {
		return err
	}
	cfg := webhook.Config{
		URL: u.URL, CACerts: u.AskCACerts, Revoke: u.TellRevocations, OwnSerials: u.OwnSerials,
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if cfg.Secret, err = credentialOf("secret", u.Secret, u.SecretFile, webhookSecret); err != nil {
		return err
	}
	if u.pins, err = loadRoots(u.Root); err != nil {
		return err
	}
	cfg.Roots = u.pins
	if cfg.TLSRoots, err = loadOptional("tls_root", u.TLSRoot); err != nil {
		return err
	}
	if cfg.Chain, err = loadOptional("chain", u.Chain); err != nil {
		return err
	}
	if u.pair, err = loadClientPair(u.Certificate, u.Key); err != nil {
		return err
	}
	cfg.Certificate = shownBy(u.pair)
	u.Upstream, err = webhook.New(cfg)
	if err != nil && !strings.HasPrefix(u.URL, "https://") {
		return fmt.Errorf("%w: write https://HOST", err)
	}
	return err
}

// Pins are the configured roots.
func (u *WebhookCA) Pins() []*x509.Certificate { return u.pins }

// Connections is how many requests may be at the service at once.
func (u *WebhookCA) Connections() int { return connections(u.MaxConnections) }

// CarriesAsWritten is what Carries says, without reading a file.
func (u *WebhookCA) CarriesAsWritten() policy.Capabilities { return webhook.Carries(u.OwnSerials) }

// CanRevoke says whether the service is told of revocations.
func (u *WebhookCA) CanRevoke() bool { return u.TellRevocations }

// Identity is the service's address.
func (u *WebhookCA) Identity() string { return "webhook " + u.URL }

// IssueTimeout is how long issuing may take; 0 is the default.
func (u *WebhookCA) IssueTimeout() time.Duration { return time.Duration(u.Timeout) }

// CRLEnabled is false: the schema has no CRL.
func (*WebhookCA) CRLEnabled() bool { return false }

// Needs refuses nothing: the service doesn't say how long its certificates live,
// and what comes back is compared.
func (*WebhookCA) Needs(time.Duration) error { return nil }

// Expiries is the first end in our client certificate's chain, where there is one.
func (u *WebhookCA) Expiries() map[string]time.Time { return pairEnds(u.pair) }

var (
	_ Upstream              = (*WebhookCA)(nil)
	_ writtenCapabilities   = (*WebhookCA)(nil)
	_ ra.Revoker            = (*WebhookCA)(nil)
	_ ra.SerialRevoker      = (*WebhookCA)(nil)
	_ ra.Tolerance          = (*WebhookCA)(nil)
	_ ra.Checker            = (*WebhookCA)(nil)
	_ caddy.Provisioner     = (*WebhookCA)(nil)
	_ caddyfile.Unmarshaler = (*WebhookCA)(nil)
)
