// SPDX-License-Identifier: Apache-2.0

// Package webhook issues from whatever answers JSON over HTTPS: the plan and the
// CSR go out, a certificate, a refusal or `later` comes back. Each request has the
// HMAC of its body, and may be shown a client certificate.
//
// It isn't ra/webhook, which asks a service for its word about a request before
// the policy decides. This one issues, after it has.
package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
)

// The defaults of Config.
const (
	DefaultTimeout  = 15 * time.Second
	DefaultMaxConns = 16
	DefaultBackdate = time.Minute
)

// Config is what [New] needs. URL, Roots and Secret have no default.
type Config struct {
	// URL is the service's address, such as https://ca.example.net.
	URL string
	// Others are further addresses of the same CA, each asked when those before it
	// can't be reached.
	Others []string
	// Roots are those of the CA. They verify the service's TLS certificate, too.
	Roots []*x509.Certificate
	// TLSRoots verify the service's TLS certificate beside them.
	TLSRoots []*x509.Certificate
	// Chain are the CA certificates below a root: where CACerts is off, the one
	// that issues must be among them.
	Chain []*x509.Certificate
	// Secret is the key of the HMAC. It is asked for each call.
	Secret func() secret.Text
	// Certificate is our TLS client certificate; nil: there is none. It is asked
	// in each handshake.
	Certificate func() (*tls.Certificate, error)
	// CACerts says that the service has /cacerts.
	CACerts bool
	// Revoke says that it has /revoke.
	Revoke bool
	// OwnSerials says that it numbers certificates itself.
	OwnSerials bool
	// Backdate is how much before the planned times a certificate may begin and
	// end; 0 is DefaultBackdate.
	Backdate time.Duration
	// Timeout bounds each call, the wait for a free connection included; 0 is
	// DefaultTimeout.
	Timeout time.Duration
	// MaxConns bounds the calls at the same time; 0 is DefaultMaxConns.
	MaxConns int
	// Observe is told of addresses that begin to rest, as upstream.Config has it;
	// nil: nobody is.
	Observe func(host string, failure error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// An Upstream is one service. It is safe for concurrent use.
type Upstream struct {
	cfg    Config
	client *upstream.Client
}

var (
	_ ra.Upstream      = (*Upstream)(nil)
	_ ra.Revoker       = (*Upstream)(nil)
	_ ra.SerialRevoker = (*Upstream)(nil)
	_ ra.Tolerance     = (*Upstream)(nil)
	_ ra.Checker       = (*Upstream)(nil)
)

// idle is below what servers keep an unused connection for: Apache's default is
// five seconds.
const idle = 4 * time.Second

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Upstream, error) {
	bases, err := upstream.Addresses(cfg.URL, cfg.Others...)
	if err != nil {
		return nil, err
	}
	switch {
	case len(cfg.Roots) == 0:
		return nil, errors.New("no root certificate is given to verify the CA with")
	case cfg.Secret == nil || cfg.Secret() == "":
		return nil, errors.New("no secret is given to sign requests with")
	}
	if err := upstream.Sound(cfg.Timeout, cfg.Backdate, cfg.MaxConns); err != nil {
		return nil, err
	}
	cfg.fill()
	return &Upstream{cfg: cfg, client: upstream.NewClient(upstream.Config{
		Name: name, Base: bases[0], Others: upstream.Others(bases), Timeout: cfg.Timeout, MaxConns: cfg.MaxConns, Idle: idle,
		TLS: upstream.TLS(slices.Concat(cfg.Roots, cfg.TLSRoots), nil, cfg.Now), Certificate: cfg.Certificate,
		Probe: upstream.Call{Method: http.MethodGet, Path: healthPath}, Well: reached, Observe: cfg.Observe,
	})}, nil
}

// reached says that the service is there: one that has no /health may answer
// anything that says so, and one that knows no GET answers 501 (RFC 9110 section
// 15.6.2), as Python's http.server does.
func reached(answer upstream.Answer) bool {
	return answer.Status < http.StatusInternalServerError || answer.Status == http.StatusNotImplemented
}

// name is how messages call the CA.
const name = "the webhook"

func (c *Config) fill() {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxConns == 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.Backdate == 0 {
		c.Backdate = DefaultBackdate
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Carries is every part of a plan, and requests in PKCS #10 or CRMF: the schema
// has them all, and what the service makes of them is compared.
func Carries(ownSerials bool) policy.Capabilities {
	return policy.Capabilities{
		Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true, Extensions: true, Serial: !ownSerials,
	}
}

// Carries is that of the configuration.
func (u *Upstream) Carries() policy.Capabilities { return Carries(u.cfg.OwnSerials) }

// Tolerates lists what CAs add by themselves.
func (u *Upstream) Tolerates() ra.Tolerated {
	return ra.Tolerated{Backdate: u.cfg.Backdate, Extensions: []string{
		"2.5.29.35",               // authorityKeyIdentifier
		"2.5.29.14",               // subjectKeyIdentifier
		"2.5.29.31",               // cRLDistributionPoints
		"2.5.29.46",               // freshestCRL
		"2.5.29.32",               // certificatePolicies
		"1.3.6.1.5.5.7.1.1",       // authorityInfoAccess
		"1.3.6.1.4.1.11129.2.4.2", // signed certificate timestamps (RFC 6962)
	}}
}
