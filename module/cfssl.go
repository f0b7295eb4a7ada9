// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/cfssl"
)

func init() {
	caddy.RegisterModule(&CFSSL{})
}

// CFSSL is the upstream `cfssl`: a signing profile of a CFSSL of Cloudflare,
// asked over its API (docs/upstream-cfssl.md).
type CFSSL struct {
	addressOptions
	clientOptions
	chainOption
	crlOption

	// The HMAC key of the profile, in hexadecimal as in CFSSL's auth_keys. Best
	// a placeholder such as {env.X}. This or auth_key_file is required.
	AuthKey string `json:"auth_key,omitempty"`
	// A file with that key, which is read again when it changes.
	AuthKeyFile string `json:"auth_key_file,omitempty"`
	// The signing profile. Default: the server's default.
	Profile string `json:"profile,omitempty"`
	// The signer, where the server has several. Default: the server's default.
	Label string `json:"label,omitempty"`
	// The profile has ClientProvidesSerialNumbers: certificates have our serial
	// numbers.
	OurSerials bool `json:"serial,omitempty"`
	// The server writes URIs into a SAN: 1.6 does, 1.2 doesn't.
	URIs bool `json:"uris,omitempty"`
	// How much before the planned time certificates may begin. Default: 6m.
	Backdate caddy.Duration `json:"backdate,omitempty"`

	*cfssl.Upstream `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (*CFSSL) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.cfssl", New: func() caddy.Module { return new(CFSSL) }}
}

// UnmarshalCaddyfile reads, beside the options of the embedded structs:
//
//	upstream [NAME] cfssl URL… {
//		auth_key KEY
//		auth_key_file FILE
//		profile NAME
//		label NAME
//		serial
//		uris
//		crl
//		backdate DURATION
//	}
func (u *CFSSL) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	b := upstreamBlock{Dispenser: d, module: "cfssl", form: "https://HOST:8888"}
	return b.upstream(&u.addressOptions, u.options(), u.complete)
}

func (u *CFSSL) options() options {
	return u.addressOptions.options().with(u.clientOptions.options()).with(u.chainOption.options()).with(options{
		"auth_key": valueOf("KEY", &u.AuthKey), "auth_key_file": valueOf("FILE", &u.AuthKeyFile),
		"profile": valueOf("NAME", &u.Profile), "label": valueOf("NAME", &u.Label),
		"serial": flagOf(&u.OurSerials), "uris": flagOf(&u.URIs), "crl": flagOf(&u.AskCRL), "backdate": durationOf("6m", &u.Backdate),
	})
}

// complete says what is missing.
func (u *CFSSL) complete() error {
	if err := needsAddress("cfssl", &u.addressOptions); err != nil {
		return err
	}
	if (u.AuthKey == "") == (u.AuthKeyFile == "") {
		return errors.New("cfssl needs the key of the profile: `auth_key KEY` or `auth_key_file FILE`")
	}
	return nil
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address, the key and the files' names.
func (u *CFSSL) Provision(ctx caddy.Context) error {
	err := errors.Join(u.complete(), expandAll(expandable{"auth_key_file", &u.AuthKeyFile}))
	if err != nil {
		return err
	}
	if err := errors.Join(u.addressOptions.load(), u.clientOptions.load(nil)); err != nil {
		return err
	}
	cfg := cfssl.Config{
		URL: u.URL, Others: u.OtherURLs, Observe: sayOfAddress(ctx.Logger()), Roots: u.pins, TLSRoots: u.tlsRoots, Certificate: u.shown(),
		Profile: u.Profile, Label: u.Label, Serial: u.OurSerials, URIs: u.URIs, CRL: u.AskCRL,
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if cfg.Chain, err = u.chainOption.load(); err != nil {
		return err
	}
	key, err := credentialOf("auth_key", u.AuthKey, u.AuthKeyFile, cfssl.ParseKey)
	if err != nil {
		return err
	}
	cfg.Key = func() (secret.Bytes, error) { return key(), nil }
	u.Upstream, err = cfssl.New(cfg)
	return u.orWrite(err, "https://HOST:8888; CFSSL serves TLS with -tls-cert and -tls-key")
}

// CarriesAsWritten is what Carries says, without reading a file.
func (u *CFSSL) CarriesAsWritten() policy.Capabilities { return cfssl.Carries(u.OurSerials, u.URIs) }

// Identity is the server's address, with the label that stands for a CA there.
func (u *CFSSL) Identity() string { return "cfssl " + u.URL + " " + u.Label }

var (
	_ Upstream              = (*CFSSL)(nil)
	_ writtenCapabilities   = (*CFSSL)(nil)
	_ ra.Revoker            = (*CFSSL)(nil)
	_ ra.SerialRevoker      = (*CFSSL)(nil)
	_ ra.WholeLister        = (*CFSSL)(nil)
	_ ra.Tolerance          = (*CFSSL)(nil)
	_ ra.Checker            = (*CFSSL)(nil)
	_ caddy.Provisioner     = (*CFSSL)(nil)
	_ caddyfile.Unmarshaler = (*CFSSL)(nil)
)
