// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
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
	// The address of the server, such as https://ejbca.example.net:8443. Required.
	URL string `json:"url"`
	// A PEM file with the root certificates of the CA. Required: they bound what
	// /cacerts may publish.
	Root string `json:"root"`
	// A PEM file with the roots that the server's TLS is verified with. Default:
	// those of root.
	TLSRoot string `json:"tls_root,omitempty"`
	// The name of the CA at EJBCA. Required.
	CA string `json:"ca"`
	// The name of the certificate profile. Required.
	CertificateProfile string `json:"certificate_profile"`
	// The name of the end entity profile. Required.
	EndEntityProfile string `json:"end_entity_profile"`
	// The certificate profile has a custom certificate extension for each that
	// policies set.
	Extensions bool `json:"extensions,omitempty"`
	// A PEM file with our RA certificate and its chain. It is read again when it
	// changes. Default: this server's own certificate.
	Certificate string `json:"certificate,omitempty"`
	// A PEM file with its private key.
	Key string `json:"key,omitempty"`
	// Ask the CA's CRL at reenrolment, failing closed.
	AskCRL bool `json:"crl,omitempty"`
	// How much before the planned time certificates may begin. Default: 11m.
	Backdate caddy.Duration `json:"backdate,omitempty"`
	// How long one call of the API may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// The most connections at once. Default: 16.
	MaxConnections int `json:"max_connections,omitempty"`

	*ejbca.Upstream `json:"-"`

	pins []*x509.Certificate
	pair *changing[clientPair]
	own  ownSource
}

// CaddyModule returns the Caddy module information.
func (*EJBCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.ejbca", New: func() caddy.Module { return new(EJBCA) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] ejbca URL {
//		root FILE
//		tls_root FILE
//		ca NAME
//		certificate_profile NAME
//		end_entity_profile NAME
//		extensions
//		certificate FILE
//		key FILE
//		crl
//		backdate DURATION
//		timeout DURATION
//		max_connections N
//	}
func (u *EJBCA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	start := *d // what is missing is reported where the upstream begins
	b := upstreamBlock{d, "ejbca"}
	if err := b.address("https://HOST:8443", &u.URL); err != nil {
		return err
	}
	if err := b.read(u.option); err != nil {
		return err
	}
	if err := u.complete(); err != nil {
		return start.WrapErr(err)
	}
	return nil
}

func (u *EJBCA) option(b upstreamBlock) error {
	switch name := b.Val(); name {
	case "root":
		return b.value("FILE", &u.Root)
	case "tls_root":
		return b.value("FILE", &u.TLSRoot)
	case "ca":
		return b.value("NAME", &u.CA)
	case "certificate_profile":
		return b.value("NAME", &u.CertificateProfile)
	case "end_entity_profile":
		return b.value("NAME", &u.EndEntityProfile)
	case "extensions":
		return b.flag(&u.Extensions)
	case "certificate":
		return b.value("FILE", &u.Certificate)
	case "key":
		return b.value("FILE", &u.Key)
	case "crl":
		return b.flag(&u.AskCRL)
	case "backdate":
		return b.duration("11m", &u.Backdate)
	case "timeout":
		return b.duration("10s", &u.Timeout)
	case "max_connections":
		return b.number("16", &u.MaxConnections)
	default:
		return b.Errf("ejbca has no option %q; there is: backdate, ca, certificate, certificate_profile, crl, end_entity_profile, extensions, key, max_connections, root, timeout, tls_root", name)
	}
}

// complete says what is missing.
func (u *EJBCA) complete() error {
	switch {
	case u.URL == "" || u.Root == "":
		return errors.New("ejbca needs `root FILE`")
	case u.CA == "":
		return errors.New("ejbca needs `ca NAME`")
	case u.CertificateProfile == "" || u.EndEntityProfile == "":
		return errors.New("ejbca needs `certificate_profile NAME` and `end_entity_profile NAME`")
	}
	return nil
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address and the files' names.
func (u *EJBCA) Provision(caddy.Context) error {
	if err := u.complete(); err != nil {
		return err
	}
	err := expandAll(expandable{"url", &u.URL}, expandable{"root", &u.Root}, expandable{"tls_root", &u.TLSRoot},
		expandable{"certificate", &u.Certificate}, expandable{"key", &u.Key})
	if err != nil {
		return err
	}
	cfg := ejbca.Config{
		URL: u.URL, CA: u.CA, CertificateProfile: u.CertificateProfile, EndEntityProfile: u.EndEntityProfile, Extensions: u.Extensions,
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if u.pins, err = loadRoots(u.Root); err != nil {
		return err
	}
	cfg.Roots = u.pins
	if cfg.TLSRoots, err = loadOptional("tls_root", u.TLSRoot); err != nil {
		return err
	}
	if u.pair, err = loadClientPair(u.Certificate, u.Key); err != nil {
		return err
	}
	if cfg.Certificate = shownBy(u.pair); cfg.Certificate == nil {
		cfg.Certificate = u.ownCertificate
	}
	u.Upstream, err = ejbca.New(cfg)
	if err != nil && !strings.HasPrefix(u.URL, "https://") {
		return fmt.Errorf("%w: write https://HOST:8443, the port at which EJBCA asks for client certificates", err)
	}
	return err
}

// Pins are the configured roots.
func (u *EJBCA) Pins() []*x509.Certificate { return u.pins }

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

// Connections is how many requests may be at the CA at once.
func (u *EJBCA) Connections() int { return connections(u.MaxConnections) }

// CRLEnabled says that reenrolment asks the CA's CRL.
func (u *EJBCA) CRLEnabled() bool { return u.AskCRL }

// Needs refuses nothing: how long certificates live is the profile's business, and
// what comes back is compared.
func (*EJBCA) Needs(time.Duration) error { return nil }

// Expiries is the first end in the RA certificate's chain, where it is a file.
func (u *EJBCA) Expiries() map[string]time.Time { return pairEnds(u.pair) }

// WantsOwn says that the server is shown our own certificate.
func (u *EJBCA) WantsOwn() bool { return u.Certificate == "" }

// BoundByOwn is false: a profile issues for as long as it says.
func (*EJBCA) BoundByOwn() bool { return false }

// ownCertificate is this server's, where somebody gives it.
func (u *EJBCA) ownCertificate() (*tls.Certificate, error) {
	if u.own == nil {
		return nil, errors.New("nobody gives our own certificate")
	}
	return u.own()
}

// UseOwn takes what gives our own certificate.
func (u *EJBCA) UseOwn(give func() (*tls.Certificate, error)) { u.own = give }

var (
	_ Upstream              = (*EJBCA)(nil)
	_ ownUser               = (*EJBCA)(nil)
	_ writtenCapabilities   = (*EJBCA)(nil)
	_ ra.Revoker            = (*EJBCA)(nil)
	_ ra.CRLSource          = (*EJBCA)(nil)
	_ ra.Tolerance          = (*EJBCA)(nil)
	_ ra.Prober             = (*EJBCA)(nil)
	_ ra.Checker            = (*EJBCA)(nil)
	_ caddy.Provisioner     = (*EJBCA)(nil)
	_ caddyfile.Unmarshaler = (*EJBCA)(nil)
)
