// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/vault"
)

func init() {
	caddy.RegisterModule(&Vault{})
}

// Vault is the upstream `vault`: the PKI secrets engine of HashiCorp Vault or of
// OpenBao (docs/upstream-vault.md).
type Vault struct {
	addressOptions
	clientOptions
	crlOption
	takesOwn
	vaultLogin

	// The namespace. Default: none.
	Namespace string `json:"namespace,omitempty"`
	// Where the secrets engine is mounted. Default: pki.
	Mount string `json:"mount,omitempty"`
	// The issuer in the mount. Default: the role's; its chain is read of default.
	Issuer string `json:"issuer,omitempty"`
	// The role. Required, but for verbatim.
	Role string `json:"role,omitempty"`
	// Sign by sign-verbatim: for policies that rewrite nothing.
	Verbatim bool `json:"verbatim,omitempty"`
	// Sign by cel/sign/ROLE of OpenBao, with the role of `caddy est vault role`.
	CEL bool `json:"cel,omitempty"`

	// How much before the planned time certificates may begin. Default: 1m.
	Backdate caddy.Duration `json:"backdate,omitempty"`

	*vault.Upstream `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (*Vault) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.vault", New: func() caddy.Module { return new(Vault) }}
}

// UnmarshalCaddyfile reads, beside the options of the embedded structs:
//
//	upstream [NAME] vault URL… {
//		namespace PATH
//		mount PATH
//		issuer NAME
//		role NAME
//		verbatim
//		cel
//		crl
//		backdate DURATION
//	}
func (u *Vault) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	b := upstreamBlock{Dispenser: d, module: "vault", form: "https://HOST:8200"}
	return b.upstream(&u.addressOptions, u.options(), u.complete)
}

func (u *Vault) options() options {
	return u.addressOptions.options().with(u.clientOptions.options()).with(u.vaultLogin.options()).with(options{
		"namespace": valueOf("PATH", &u.Namespace), "mount": valueOf("PATH", &u.Mount),
		"issuer": valueOf("NAME", &u.Issuer), "role": valueOf("NAME", &u.Role), "verbatim": flagOf(&u.Verbatim), "cel": flagOf(&u.CEL),
		"crl": flagOf(&u.AskCRL), "backdate": durationOf("1m", &u.Backdate),
	})
}

// complete says what is missing, or too much.
func (u *Vault) complete() error {
	if err := needsAddress("vault", &u.addressOptions); err != nil {
		return err
	}
	switch {
	case u.Verbatim && u.CEL:
		return errors.New("vault: `verbatim` and `cel` are two ways to sign: write one of them")
	case u.Role == "" && !u.Verbatim:
		return errors.New("vault needs `role NAME`")
	}
	return oneLogin(&u.vaultLogin)
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address, the role_id and the files' names; those of
// a token and of a secret_id each time when they are needed.
func (u *Vault) Provision(ctx caddy.Context) error {
	if err := u.complete(); err != nil {
		return err
	}
	if err := errors.Join(u.addressOptions.load(), u.clientOptions.load(nil)); err != nil {
		return err
	}
	cfg := vault.Config{
		URL: u.URL, Others: u.OtherURLs, Observe: sayOfAddress(ctx.Logger()), Roots: u.pins, TLSRoots: u.tlsRoots, Certificate: u.shown(),
		Namespace: u.Namespace, Mount: u.Mount, Issuer: u.Issuer, Role: u.Role, Mode: u.mode(),
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if u.WantsOwn() {
		cfg.Certificate = u.ownCertificate
	}
	var err error
	if cfg.Login, err = u.login(); err != nil {
		return err
	}
	u.Upstream, err = vault.New(cfg)
	return u.orWrite(err, "https://HOST:8200; a listener without TLS would show our token to everybody on the way")
}

func (u *Vault) mode() vault.Mode {
	switch {
	case u.Verbatim:
		return vault.Verbatim
	case u.CEL:
		return vault.CEL
	}
	return vault.Sign
}

// CarriesAsWritten is what Carries says, without reading a file.
func (u *Vault) CarriesAsWritten() policy.Capabilities { return vault.Carries(u.mode()) }

// Identity is the server's address, with the issuer that stands for a CA there.
func (u *Vault) Identity() string {
	return strings.Join([]string{"vault", u.URL, u.Namespace, u.Mount, u.Issuer}, " ")
}

// Expiries are the first end in our client certificate's chain, where it is a
// file, and that of a token that somebody made for us.
func (u *Vault) Expiries() map[string]time.Time {
	ends := u.clientOptions.Expiries()
	if end := u.TokenEnd(); !end.IsZero() {
		if ends == nil {
			ends = make(map[string]time.Time)
		}
		ends["token"] = end
	}
	return ends
}

// WantsOwn says that the login is by our own certificate.
func (u *Vault) WantsOwn() bool { return u.Cert && u.Certificate == "" }

var (
	_ Upstream              = (*Vault)(nil)
	_ ownUser               = (*Vault)(nil)
	_ writtenCapabilities   = (*Vault)(nil)
	_ ra.Revoker            = (*Vault)(nil)
	_ ra.CRLSource          = (*Vault)(nil)
	_ ra.Tolerance          = (*Vault)(nil)
	_ ra.Prober             = (*Vault)(nil)
	_ ra.Checker            = (*Vault)(nil)
	_ caddy.Provisioner     = (*Vault)(nil)
	_ caddyfile.Unmarshaler = (*Vault)(nil)
)
