// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/ejbca"
)

func init() {
	caddy.RegisterModule(&EJBCA{})
}

// EJBCA is the upstream `ejbca`: an EJBCA by its REST API
// (docs/upstream-ejbca.md).
type EJBCA struct {
	addressOptions
	clientOptions
	crlOption
	takesOwn

	// The name of the CA at EJBCA. Required.
	CA string `json:"ca"`
	// The name of the certificate profile. Required.
	CertificateProfile string `json:"certificate_profile"`
	// The name of the end entity profile. Required.
	EndEntityProfile string `json:"end_entity_profile"`
	// The certificate profile has a custom certificate extension for each that
	// policies set.
	Extensions bool `json:"extensions,omitempty"`
	// How much before the planned time certificates may begin. Default: 11m.
	Backdate caddy.Duration `json:"backdate,omitempty"`

	*ejbca.Upstream `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (*EJBCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.ejbca", New: func() caddy.Module { return new(EJBCA) }}
}

// UnmarshalCaddyfile reads, beside the options of the embedded structs:
//
//	upstream [NAME] ejbca URL… {
//		ca NAME
//		certificate_profile NAME
//		end_entity_profile NAME
//		extensions
//		crl
//		backdate DURATION
//	}
func (u *EJBCA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	b := upstreamBlock{Dispenser: d, module: "ejbca", form: "https://HOST:8443"}
	return b.upstream(&u.addressOptions, u.options(), u.complete)
}

func (u *EJBCA) options() options {
	return u.addressOptions.options().with(u.clientOptions.options()).with(options{
		"ca": valueOf("NAME", &u.CA), "certificate_profile": valueOf("NAME", &u.CertificateProfile), "end_entity_profile": valueOf("NAME", &u.EndEntityProfile),
		"extensions": flagOf(&u.Extensions), "crl": flagOf(&u.AskCRL), "backdate": durationOf("11m", &u.Backdate), "timeout": durationOf("10s", &u.Timeout),
	})
}

// complete says what is missing.
func (u *EJBCA) complete() error {
	if err := needsAddress("ejbca", &u.addressOptions); err != nil {
		return err
	}
	switch {
	case u.CA == "":
		return errors.New("ejbca needs `ca NAME`")
	case u.CertificateProfile == "" || u.EndEntityProfile == "":
		return errors.New("ejbca needs `certificate_profile NAME` and `end_entity_profile NAME`")
	}
	return nil
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address and the files' names.
func (u *EJBCA) Provision(ctx caddy.Context) error {
	if err := u.complete(); err != nil {
		return err
	}
	if err := errors.Join(u.addressOptions.load(), u.clientOptions.load(nil)); err != nil {
		return err
	}
	cfg := ejbca.Config{
		URL: u.URL, Others: u.OtherURLs, Observe: sayOfAddress(ctx.Logger()), Roots: u.pins, TLSRoots: u.tlsRoots, Certificate: u.shown(),
		CA: u.CA, CertificateProfile: u.CertificateProfile, EndEntityProfile: u.EndEntityProfile, Extensions: u.Extensions,
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if u.WantsOwn() {
		cfg.Certificate = u.ownCertificate
	}
	var err error
	u.Upstream, err = ejbca.New(cfg)
	return u.orWrite(err, "https://HOST:8443, the port at which EJBCA asks for client certificates")
}

// CarriesAsWritten is what Carries says, without reading a file.
func (u *EJBCA) CarriesAsWritten() policy.Capabilities { return ejbca.Carries(u.Extensions) }

// Identity is the server's address, with the name of the CA there.
func (u *EJBCA) Identity() string { return "ejbca " + u.URL + " " + u.CA }

// IssueTimeout is how long issuing may take: an order takes two calls, and a
// third where an answer is lost.
func (u *EJBCA) IssueTimeout() time.Duration {
	if u.Timeout > 0 {
		return 3 * time.Duration(u.Timeout)
	}
	return 3 * ejbca.DefaultTimeout
}

// WantsOwn says that the server is shown our own certificate.
func (u *EJBCA) WantsOwn() bool { return u.Certificate == "" }

var (
	_ Upstream              = (*EJBCA)(nil)
	_ ownUser               = (*EJBCA)(nil)
	_ writtenCapabilities   = (*EJBCA)(nil)
	_ ra.Revoker            = (*EJBCA)(nil)
	_ ra.WholeLister        = (*EJBCA)(nil)
	_ ra.Tolerance          = (*EJBCA)(nil)
	_ ra.Prober             = (*EJBCA)(nil)
	_ ra.Checker            = (*EJBCA)(nil)
	_ caddy.Provisioner     = (*EJBCA)(nil)
	_ caddyfile.Unmarshaler = (*EJBCA)(nil)
)
