// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/est"
)

func init() {
	caddy.RegisterModule(&ESTServer{})
}

// ESTServer is the upstream `est`: another EST server, to which this one is a
// registration authority (docs/upstream-est.md).
type ESTServer struct {
	// The address of the EST server, such as https://est.example.net. Required.
	URL string `json:"url"`
	// Further addresses of the same server, each asked when those before it can't
	// be reached.
	OtherURLs []string `json:"other_urls,omitempty"`
	// A PEM file with the root certificates of its CA. Required: they are what
	// /cacerts may publish, what the server's TLS is verified with, and who
	// signs its CMC messages.
	Root string `json:"root"`
	// A PEM file with further roots that the server's TLS may be verified with,
	// by its name alone: where its certificate is of another CA. Default: none.
	TLSRoot string `json:"tls_root,omitempty"`
	// The label at the server. Default: none.
	Label string `json:"label,omitempty"`
	// A PEM file with our RA certificate and its chain, for clientAuth and
	// id-kp-cmcRA, issued by the server's CA. Default: this server's own
	// certificate.
	Certificate string `json:"certificate,omitempty"`
	// A PEM file with the RA certificate's private key.
	Key string `json:"key,omitempty"`
	// Ask by /fullcmc, so that what the policy rewrites travels. Default: by
	// /simpleenroll, and for policies alone that rewrite nothing.
	CMC bool `json:"cmc,omitempty"`
	// With cmc, how long a request waits for others that go in the same message, up
	// to 16. Default: 0, each goes by itself and at once.
	Batch caddy.Duration `json:"batch,omitempty"`
	// How much before the planned times certificates may begin and end. Default:
	// 1m.
	Backdate caddy.Duration `json:"backdate,omitempty"`
	// How long one request to the server may take. Default: 15s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// The most connections at once. Default: 16.
	MaxConnections int `json:"max_connections,omitempty"`

	*est.Upstream `json:"-"`

	pins []*x509.Certificate
	ra   []*x509.Certificate // our chain, leaf first; nil with our own certificate
	own  ownSource
}

// CaddyModule returns the Caddy module information.
func (*ESTServer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.est", New: func() caddy.Module { return new(ESTServer) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] est URL… {
//		root FILE
//		tls_root FILE
//		label LABEL
//		certificate FILE
//		key FILE
//		cmc
//		batch DURATION
//		backdate DURATION
//		timeout DURATION
//		max_connections N
//	}
func (u *ESTServer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	start := *d // what is missing is reported where the upstream begins
	block := upstreamBlock{d, "est"}
	if err := block.addresses("the EST server", "https://HOST", &u.URL, &u.OtherURLs); err != nil {
		return err
	}
	if err := block.read(u.option); err != nil {
		return err
	}
	if u.Root == "" {
		return start.Errf("est needs `root FILE`")
	}
	return nil
}

func (u *ESTServer) option(b upstreamBlock) error {
	switch name := b.Val(); name {
	case "root":
		return b.value("FILE", &u.Root)
	case "tls_root":
		return b.value("FILE", &u.TLSRoot)
	case "label":
		return b.value("LABEL", &u.Label)
	case "certificate":
		return b.value("FILE", &u.Certificate)
	case "key":
		return b.value("FILE", &u.Key)
	case "cmc":
		return b.flag(&u.CMC)
	case "batch":
		return b.duration("20ms", &u.Batch)
	case "backdate":
		return b.duration("1m", &u.Backdate)
	case "timeout":
		return b.duration("15s", &u.Timeout)
	case "max_connections":
		return b.number("16", &u.MaxConnections)
	default:
		return b.Errf("est has no option %q; there is: backdate, batch, certificate, cmc, key, label, max_connections, root, timeout, tls_root", name)
	}
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address and the files' names.
func (u *ESTServer) Provision(ctx caddy.Context) error {
	if u.URL == "" || u.Root == "" {
		return errors.New("est needs url and root")
	}
	if (u.Certificate == "") != (u.Key == "") {
		return errors.New("the RA certificate is `certificate FILE` and `key FILE`: write both, or none, for this server's own certificate")
	}
	err := expandAll(expandable{"url", &u.URL}, expandable{"root", &u.Root}, expandable{"tls_root", &u.TLSRoot},
		expandable{"certificate", &u.Certificate}, expandable{"key", &u.Key})
	if err != nil {
		return err
	}
	if err := expandEach("other_urls", u.OtherURLs); err != nil {
		return err
	}
	if u.pins, err = loadRoots(u.Root); err != nil {
		return err
	}
	cfg := est.Config{
		URL: u.URL, Others: u.OtherURLs, Observe: sayOfAddress(ctx.Logger()),
		Label: u.Label, Roots: u.pins, FullCMC: u.CMC, Batch: time.Duration(u.Batch),
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
		Certificate: u.ownCertificate,
	}
	if err := u.loadFiles(&cfg); err != nil {
		return err
	}
	u.Upstream, err = est.New(cfg)
	if err != nil && !strings.HasPrefix(u.URL, "https://") {
		return fmt.Errorf("%w: write https://HOST", err)
	}
	return err
}

// loadFiles reads the RA certificate and the further roots, where there are any.
func (u *ESTServer) loadFiles(cfg *est.Config) error {
	if u.TLSRoot != "" {
		roots, err := loadCertificates([]string{u.TLSRoot})
		if err != nil {
			return fmt.Errorf("tls_root: %w", err)
		}
		cfg.TLSRoots = x509.NewCertPool()
		for _, c := range roots {
			cfg.TLSRoots.AddCert(c)
		}
	}
	if u.Certificate == "" {
		return nil
	}
	chain, err := os.ReadFile(u.Certificate)
	if err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	key, err := os.ReadFile(u.Key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	pair, err := tls.X509KeyPair(chain, key)
	if err != nil {
		return fmt.Errorf("certificate %s, key %s: %w", u.Certificate, u.Key, err)
	}
	for _, der := range pair.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", u.Certificate, err)
		}
		u.ra = append(u.ra, c)
	}
	if !policy.CarriesCMCRA(u.ra[0]) {
		return fmt.Errorf("certificate %s: the RA certificate of %q isn't for id-kp-cmcRA (1.3.6.1.5.5.7.3.28), without which no EST server takes a request for somebody else (RFC 7030 section 3.7)",
			u.Certificate, u.ra[0].Subject.String())
	}
	cfg.Certificate = func() (*tls.Certificate, error) { return &pair, nil }
	return nil
}

// Pins are the configured roots.
func (u *ESTServer) Pins() []*x509.Certificate { return u.pins }

// CarriesAsWritten is what Carries says, without reading a file.
func (u *ESTServer) CarriesAsWritten() policy.Capabilities { return est.Carries(u.CMC) }

// CanRevoke says whether certificates can be revoked: by /fullcmc.
func (u *ESTServer) CanRevoke() bool { return u.CMC }

// Identity is the server's address, with the label that stands for a CA there.
func (u *ESTServer) Identity() string { return "est " + u.URL + " " + u.Label }

// IssueTimeout is how long issuing may take; 0 is the default.
func (u *ESTServer) IssueTimeout() time.Duration { return time.Duration(u.Timeout) }

// Connections is how many requests may be at the CA at once.
func (u *ESTServer) Connections() int { return connections(u.MaxConnections) }

// CRLEnabled is false: EST has no operation for a CRL.
func (*ESTServer) CRLEnabled() bool { return false }

// Needs refuses nothing: an EST server doesn't say how long its certificates
// live, and what comes back is compared.
func (*ESTServer) Needs(time.Duration) error { return nil }

// Expiries is the first end in the RA certificate's chain, where it is a file.
func (u *ESTServer) Expiries() map[string]time.Time {
	if u.ra == nil {
		return nil
	}
	return map[string]time.Time{"ra_certificate": firstEnd(u.ra)}
}

// WantsOwn says that the server is shown our own certificate.
func (u *ESTServer) WantsOwn() bool { return u.Certificate == "" }

// BoundByOwn is false: an EST server issues for as long as its policy says.
func (*ESTServer) BoundByOwn() bool { return false }

// ownCertificate is this server's, where somebody gives it.
func (u *ESTServer) ownCertificate() (*tls.Certificate, error) {
	if u.own == nil {
		return nil, errors.New("nobody gives our own certificate")
	}
	return u.own()
}

// UseOwn takes what gives our own certificate.
func (u *ESTServer) UseOwn(give func() (*tls.Certificate, error)) { u.own = give }

var (
	_ Upstream              = (*ESTServer)(nil)
	_ ownUser               = (*ESTServer)(nil)
	_ writtenCapabilities   = (*ESTServer)(nil)
	_ ra.Revoker            = (*ESTServer)(nil)
	_ ra.Tolerance          = (*ESTServer)(nil)
	_ caddy.Provisioner     = (*ESTServer)(nil)
	_ caddyfile.Unmarshaler = (*ESTServer)(nil)
)
