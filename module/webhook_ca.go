// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
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
	addressOptions
	clientOptions
	chainOption // without cacerts, with the one that issues, unless the root does

	// The key that signs requests: base64 of 16 bytes or more. Best a
	// placeholder such as {env.X}. This or secret_file is required.
	Secret string `json:"secret,omitempty"`
	// A file with that key, which is read again when it changes.
	SecretFile string `json:"secret_file,omitempty"`
	// The service has /cacerts, and says which its CA certificates are.
	AskCACerts bool `json:"cacerts,omitempty"`
	// The service has /revoke.
	TellRevocations bool `json:"revoke,omitempty"`
	// The service numbers certificates itself.
	OwnSerials bool `json:"own_serials,omitempty"`
	// How much before the planned times certificates may begin and end. Default:
	// 1m.
	Backdate caddy.Duration `json:"backdate,omitempty"`

	*webhook.Upstream `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (*WebhookCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.webhook", New: func() caddy.Module { return new(WebhookCA) }}
}

// UnmarshalCaddyfile reads, beside the options of the embedded structs:
//
//	upstream [NAME] webhook URL… {
//		secret S
//		secret_file FILE
//		cacerts
//		revoke
//		own_serials
//		backdate DURATION
//	}
func (u *WebhookCA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	b := upstreamBlock{Dispenser: d, module: "webhook", form: "https://HOST", title: webhookCATitle}
	return b.upstream(&u.addressOptions, u.options(), u.complete)
}

// webhookCATitle tells it from the option `webhook` in messages.
const webhookCATitle = "upstream webhook"

func (u *WebhookCA) options() options {
	return u.addressOptions.options().with(u.clientOptions.options()).with(u.chainOption.options()).with(options{
		"secret": valueOf("S", &u.Secret), "secret_file": valueOf("FILE", &u.SecretFile),
		"cacerts": flagOf(&u.AskCACerts), "revoke": flagOf(&u.TellRevocations), "own_serials": flagOf(&u.OwnSerials),
		"backdate": durationOf("1m", &u.Backdate),
	})
}

// complete says what is missing.
func (u *WebhookCA) complete() error {
	if err := needsAddress(webhookCATitle, &u.addressOptions); err != nil {
		return err
	}
	if (u.Secret == "") == (u.SecretFile == "") {
		return errors.New("upstream webhook needs one of `secret S` and `secret_file FILE`")
	}
	return nil
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address, the secret and the files' names.
func (u *WebhookCA) Provision(ctx caddy.Context) error {
	err := errors.Join(u.complete(), expandAll(expandable{"secret_file", &u.SecretFile}))
	if err != nil {
		return err
	}
	if err := errors.Join(u.addressOptions.load(), u.clientOptions.load(nil)); err != nil {
		return err
	}
	cfg := webhook.Config{
		URL: u.URL, Others: u.OtherURLs, Observe: sayOfAddress(ctx.Logger()), Roots: u.pins, TLSRoots: u.tlsRoots, Certificate: u.shown(),
		CACerts: u.AskCACerts, Revoke: u.TellRevocations, OwnSerials: u.OwnSerials,
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if cfg.Chain, err = u.chainOption.load(); err != nil {
		return err
	}
	if cfg.Secret, err = credentialOf("secret", u.Secret, u.SecretFile, webhookSecret); err != nil {
		return err
	}
	u.Upstream, err = webhook.New(cfg)
	return u.orWrite(err, "https://HOST")
}

// CarriesAsWritten is what Carries says, without reading a file.
func (u *WebhookCA) CarriesAsWritten() policy.Capabilities { return webhook.Carries(u.OwnSerials) }

// CanRevoke says whether the service is told of revocations.
func (u *WebhookCA) CanRevoke() bool { return u.TellRevocations }

// Identity is the service's address.
func (u *WebhookCA) Identity() string { return "webhook " + u.URL }

// CRLEnabled is false: the schema has no CRL.
func (*WebhookCA) CRLEnabled() bool { return false }

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
