// SPDX-License-Identifier: Apache-2.0

// Package ejbca issues from an EJBCA over its REST API, version 1.
//
// For each order it makes an end entity, which has the names of the plan, the
// end of the validity and further extensions, and then asks for a certificate of
// that end entity with the request of the device. What a certificate profile at
// EJBCA writes, such as usages, is compared when the certificate comes.
package ejbca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// The defaults of Config.
const (
	DefaultTimeout  = 10 * time.Second
	DefaultMaxConns = 16
	// DefaultBackdate covers the ten minutes by which EJBCA lets certificates begin
	// earlier.
	DefaultBackdate = 11 * time.Minute
)

// Config is what [New] needs. URL, Roots, CA, the profiles and Certificate have
// no default.
type Config struct {
	// URL is the server's address, such as https://ejbca.example.net:8443.
	URL string
	// Others are further addresses of the same CA, each asked when those before it
	// can't be reached.
	Others []string
	// Roots are those of the CA.
	Roots []*x509.Certificate
	// TLSRoots verify the server's TLS certificate; none: Roots do. The system's
	// roots don't count.
	TLSRoots []*x509.Certificate
	// CA is the name of the CA at EJBCA.
	CA string
	// CertificateProfile and EndEntityProfile are the names of the profiles.
	CertificateProfile, EndEntityProfile string
	// Extensions says that the certificate profile has a custom certificate
	// extension for each that a policy sets.
	Extensions bool
	// Certificate is our RA certificate. It is asked for in each handshake, since
	// it is renewed now and then.
	Certificate func() (*tls.Certificate, error)
	// Backdate is how much before the planned notBefore certificates may begin;
	// 0 is DefaultBackdate.
	Backdate time.Duration
	// Timeout bounds each call, the wait for a free connection included; 0 is
	// DefaultTimeout. An order takes two calls, and a third where an answer is lost.
	Timeout time.Duration
	// MaxConns bounds the calls at the same time; 0 is DefaultMaxConns.
	MaxConns int
	// Observe is told of addresses that begin to rest, as upstream.Config has it;
	// nil: nobody is.
	Observe func(host string, failure error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// An Upstream is one CA with one pair of profiles. It is safe for concurrent
// use.
type Upstream struct {
	cfg    Config
	client *upstream.Client

	mu sync.Mutex
	dn string // the CA's subject, as EJBCA writes it; "": not known
}

var (
	_ ra.Upstream    = (*Upstream)(nil)
	_ ra.Revoker     = (*Upstream)(nil)
	_ ra.WholeLister = (*Upstream)(nil)
	_ ra.Tolerance   = (*Upstream)(nil)
	_ ra.Prober      = (*Upstream)(nil)
	_ ra.Checker     = (*Upstream)(nil)
)

// idle is below the minute for which EJBCA's application server keeps an unused
// connection.
const idle = 30 * time.Second

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Upstream, error) {
	bases, err := upstream.Addresses(cfg.URL, cfg.Others...)
	if err != nil {
		return nil, err
	}
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.fill()
	return &Upstream{cfg: cfg, client: upstream.NewClient(upstream.Config{
		Name: "EJBCA", Base: bases[0], Others: upstream.Others(bases), Timeout: cfg.Timeout, MaxConns: cfg.MaxConns, Idle: idle,
		TLS: upstream.TLS(cfg.TLSRoots, nil, cfg.Now), Certificate: cfg.Certificate,
		// Not the health check of /ejbca/publicweb, which EJBCA answers to its own
		// machine alone by default.
		Probe: upstream.Call{Method: http.MethodGet, Path: prefix + "certificate/status"}, Ill: undeployed, Observe: cfg.Observe,
	})}, nil
}

// undeployed says that there is an application server without EJBCA, such as one that
// starts: EJBCA's own 404 is JSON.
func undeployed(answer upstream.Answer) bool {
	return answer.Status == http.StatusNotFound && !json.Valid(answer.Body)
}

func (c *Config) check() error {
	switch {
	case len(c.Roots) == 0:
		return errors.New("no root certificate is given to hold the CA to")
	case c.Certificate == nil:
		return errors.New("no RA certificate is given, and EJBCA knows us by nothing else")
	}
	for _, name := range []struct{ what, text string }{
		{"CA", c.CA}, {"certificate profile", c.CertificateProfile}, {"end entity profile", c.EndEntityProfile},
	} {
		if name.text == "" {
			return fmt.Errorf("no %s is named", name.what)
		}
	}
	return upstream.Sound(c.Timeout, c.Backdate, c.MaxConns)
}

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
	if len(c.TLSRoots) == 0 {
		c.TLSRoots = c.Roots
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Retire closes the connections that are idle.
func (u *Upstream) Retire() { u.client.Retire() }

// Carries is what an end entity can be told: one of each attribute, four forms of
// names, and with extensions those that the certificate profile has room for.
// Usages count, since the profile writes them, and what comes back is compared.
func Carries(extensions bool) policy.Capabilities {
	can := policy.Capabilities{
		KeyUsage: true, ExtKeyUsage: true, Extensions: extensions, PKCS10: true, Alone: true,
	}
	for _, a := range attributes {
		can.SubjectTypes = append(can.SubjectTypes, a.oid)
	}
	for _, n := range names {
		can.SANForms = append(can.SANForms, n.form)
	}
	return can
}

// attributes are the types of a subject, by EJBCA's words in a DN.
var attributes = []struct{ oid, word string }{
	{"2.5.4.3", "CN"}, {"2.5.4.5", "SN"}, {"0.9.2342.19200300.100.1.1", "UID"}, {"2.5.4.6", "C"}, {"2.5.4.8", "ST"},
	{"2.5.4.7", "L"}, {"2.5.4.9", "STREET"}, {"2.5.4.17", "POSTALCODE"}, {"2.5.4.10", "O"}, {"2.5.4.11", "OU"},
	{"2.5.4.12", "T"}, {"2.5.4.42", "GIVENNAME"}, {"2.5.4.4", "SURNAME"},
}

// names are the forms in a SAN, by EJBCA's words.
var names = []struct {
	form csr.NameForm
	word string
}{{csr.DNS, "dNSName"}, {csr.IP, "iPAddress"}, {csr.Email, "rfc822Name"}, {csr.URI, "uniformResourceId"}}

// Carries is that of the configuration.
func (u *Upstream) Carries() policy.Capabilities { return Carries(u.cfg.Extensions) }

// Tolerates lists what a certificate profile adds. EJBCA writes a subject in an
// order of its own.
func (u *Upstream) Tolerates() ra.Tolerated {
	return ra.Tolerated{Backdate: u.cfg.Backdate, SubjectOrder: true, Extensions: []string{
		"2.5.29.35",               // authorityKeyIdentifier
		"2.5.29.14",               // subjectKeyIdentifier
		"2.5.29.31",               // cRLDistributionPoints
		"2.5.29.46",               // freshestCRL
		"2.5.29.32",               // certificatePolicies
		"1.3.6.1.5.5.7.1.1",       // authorityInfoAccess
		"1.3.6.1.4.1.11129.2.4.2", // signed certificate timestamps (RFC 6962)
	}}
}
