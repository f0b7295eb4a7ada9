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
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/cfssl"
)

func init() {
	caddy.RegisterModule(&CFSSL{})
}

// CFSSL is the upstream `cfssl`: a signing profile of a CFSSL of Cloudflare,
// asked over its API (docs/upstream-cfssl.md).
type CFSSL struct {
	// The address of `cfssl serve`, such as https://cfssl.internal:8888.
	// Required.
	URL string `json:"url"`
	// A PEM file with the root certificates of its CA. Required: they bound what
	// /cacerts may publish, and verify the server's TLS.
	Root string `json:"root"`
	// A PEM file with further roots that the server's TLS may be verified with.
	// Default: none.
	TLSRoot string `json:"tls_root,omitempty"`
	// A PEM file with the CA certificates between the root and the one that
	// signs, which CFSSL doesn't tell. Default: none.
	Chain string `json:"chain,omitempty"`
	// The HMAC key of the profile, in hexadecimal as in CFSSL's auth_keys. Best
	// a placeholder such as {env.X}. This or auth_key_file is required.
	AuthKey string `json:"auth_key,omitempty"`
	// A file with that key, which is read again when it changes.
	AuthKeyFile string `json:"auth_key_file,omitempty"`
	// The signing profile. Default: the server's default.
	Profile string `json:"profile,omitempty"`
	// The signer, where the server has several. Default: the server's default.
	Label string `json:"label,omitempty"`
	// A PEM file with our TLS client certificate and its chain. It is read again
	// when it changes. Default: none.
	Certificate string `json:"certificate,omitempty"`
	// A PEM file with its private key.
	Key string `json:"key,omitempty"`
	// The profile has ClientProvidesSerialNumbers: certificates have our serial
	// numbers.
	OurSerials bool `json:"serial,omitempty"`
	// The server writes URIs into a SAN: 1.6 does, 1.2 doesn't.
	URIs bool `json:"uris,omitempty"`
	// Ask the server's /crl at reenrolment, failing closed. 1.6 has it, with a
	// certdb.
	AskCRL bool `json:"crl,omitempty"`
	// How much before the planned time certificates may begin. Default: 6m.
	Backdate caddy.Duration `json:"backdate,omitempty"`
	// How long one call of the API may take. Default: 15s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// The most connections at once. Default: 16.
	MaxConnections int `json:"max_connections,omitempty"`

	*cfssl.Upstream `json:"-"`

	pins []*x509.Certificate
	pair *changing[clientPair]
}

// CaddyModule returns the Caddy module information.
func (*CFSSL) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.cfssl", New: func() caddy.Module { return new(CFSSL) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] cfssl URL {
//		root FILE
//		tls_root FILE
//		chain FILE
//		auth_key KEY
//		auth_key_file FILE
//		profile NAME
//		label NAME
//		certificate FILE
//		key FILE
//		serial
//		uris
//		crl
//		backdate DURATION
//		timeout DURATION
//		max_connections N
//	}
func (u *CFSSL) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	start := *d // what is missing is reported where the upstream begins
	b := upstreamBlock{d, "cfssl"}
	if err := b.address("https://HOST:8888", &u.URL); err != nil {
		return err
	}
	if err := b.read(u.option); err != nil {
		return err
	}
	switch {
	case u.Root == "":
		return start.Errf("cfssl needs `root FILE`")
	case (u.AuthKey == "") == (u.AuthKeyFile == ""):
		return start.Errf("cfssl needs the key of the profile: `auth_key KEY` or `auth_key_file FILE`")
	}
	return nil
}

func (u *CFSSL) option(b upstreamBlock) error {
	switch name := b.Val(); name {
	case "root":
		return b.value("FILE", &u.Root)
	case "tls_root":
		return b.value("FILE", &u.TLSRoot)
	case "chain":
		return b.value("FILE", &u.Chain)
	case "auth_key":
		return b.value("KEY", &u.AuthKey)
	case "auth_key_file":
		return b.value("FILE", &u.AuthKeyFile)
	case "profile":
		return b.value("NAME", &u.Profile)
	case "label":
		return b.value("NAME", &u.Label)
	case "certificate":
		return b.value("FILE", &u.Certificate)
	case "key":
		return b.value("FILE", &u.Key)
	case "serial":
		return b.flag(&u.OurSerials)
	case "uris":
		return b.flag(&u.URIs)
	case "crl":
		return b.flag(&u.AskCRL)
	case "backdate":
		return b.duration("6m", &u.Backdate)
	case "timeout":
		return b.duration("15s", &u.Timeout)
	case "max_connections":
		return b.number("16", &u.MaxConnections)
	default:
		return b.Errf("cfssl has no option %q; there is: auth_key, auth_key_file, backdate, certificate, chain, crl, key, label, max_connections, profile, root, serial, timeout, tls_root, uris", name)
	}
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address, the key and the files' names.
func (u *CFSSL) Provision(caddy.Context) error {
	if u.URL == "" || u.Root == "" {
		return errors.New("cfssl needs url and root")
	}
	err := expandAll(expandable{"url", &u.URL}, expandable{"root", &u.Root}, expandable{"tls_root", &u.TLSRoot},
		expandable{"chain", &u.Chain}, expandable{"auth_key_file", &u.AuthKeyFile},
		expandable{"certificate", &u.Certificate}, expandable{"key", &u.Key})
	if err != nil {
		return err
	}
	cfg := cfssl.Config{
		URL: u.URL, Profile: u.Profile, Label: u.Label, Serial: u.OurSerials, URIs: u.URIs, CRL: u.AskCRL,
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
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
	key, err := credentialOf("auth_key", u.AuthKey, u.AuthKeyFile, cfssl.ParseKey)
	if err != nil {
		return err
	}
	cfg.Key = func() (secret.Bytes, error) { return key(), nil }
	if u.pair, err = loadClientPair(u.Certificate, u.Key); err != nil {
		return err
	}
	cfg.Certificate = shownBy(u.pair)
	u.Upstream, err = cfssl.New(cfg)
	if err != nil && !strings.HasPrefix(u.URL, "https://") {
		return fmt.Errorf("%w: write https://HOST:8888; CFSSL serves TLS with -tls-cert and -tls-key", err)
	}
	return err
}

// Pins are the configured roots.
func (u *CFSSL) Pins() []*x509.Certificate { return u.pins }

// CarriesAsWritten is what Carries says, without reading a file.
func (u *CFSSL) CarriesAsWritten() policy.Capabilities { return cfssl.Carries(u.OurSerials, u.URIs) }

// Identity is the server's address, with the label that stands for a CA there.
func (u *CFSSL) Identity() string { return "cfssl " + u.URL + " " + u.Label }

// IssueTimeout is how long issuing may take; 0 is the default.
func (u *CFSSL) IssueTimeout() time.Duration { return time.Duration(u.Timeout) }

// Connections is how many requests may be at the CA at once.
func (u *CFSSL) Connections() int { return connections(u.MaxConnections) }

// CRLEnabled says that reenrolment asks CFSSL's CRL.
func (u *CFSSL) CRLEnabled() bool { return u.AskCRL }

// Needs refuses nothing: how long a profile's certificates live, CFSSL is asked
// for each order.
func (*CFSSL) Needs(time.Duration) error { return nil }

// Expiries is the first end in our client certificate's chain, where there is one.
func (u *CFSSL) Expiries() map[string]time.Time { return pairEnds(u.pair) }

var (
	_ Upstream              = (*CFSSL)(nil)
	_ writtenCapabilities   = (*CFSSL)(nil)
	_ ra.Revoker            = (*CFSSL)(nil)
	_ ra.SerialRevoker      = (*CFSSL)(nil)
	_ ra.CRLSource          = (*CFSSL)(nil)
	_ ra.Tolerance          = (*CFSSL)(nil)
	_ ra.Checker            = (*CFSSL)(nil)
	_ caddy.Provisioner     = (*CFSSL)(nil)
	_ caddyfile.Unmarshaler = (*CFSSL)(nil)
)
