// SPDX-License-Identifier: Apache-2.0

// Package acme issues from a CA that speaks ACME (RFC 8555), for certificates
// whose names are DNS names that this server answers for.
//
// An order names what the device's request names, and is finalized with that
// request: its key signs it, so nothing of it can be rewritten. What else a
// certificate has is the CA's decision, and is compared.
package acme

import (
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream"
)

// The defaults of Config.
const (
	DefaultTimeout  = 15 * time.Second
	DefaultMaxConns = 16
	// DefaultWait is for http-01, and DefaultWaitDNS for dns-01, whose records
	// take time to be seen.
	DefaultWait    = 30 * time.Second
	DefaultWaitDNS = 150 * time.Second
	// DefaultBackdate covers the hour of Let's Encrypt.
	DefaultBackdate = 61 * time.Minute
)

// The types of challenges (RFC 8555 section 8).
const (
	HTTP01 = acme.ChallengeTypeHTTP01
	DNS01  = acme.ChallengeTypeDNS01
)

// Config is what [New] needs. Directory, Roots, Accounts, Challenge and Solver
// have no default.
type Config struct {
	// Directory is the URL of the CA's directory, such as
	// https://ca.example.net/directory. Every other URL of the CA has the same
	// host.
	Directory string
	// Roots are those of the CA's certificates. They verify the server's TLS
	// certificate, too.
	Roots []*x509.Certificate
	// TLSRoots verify the server's TLS certificate beside them.
	TLSRoots []*x509.Certificate
	// Chain are the certificates below the roots, as far as they are known before
	// the CA has issued anything.
	Chain []*x509.Certificate
	// Contact are URLs that the CA may reach us by, such as mailto:ra@example.net.
	Contact []string
	// EAB binds the account to one that the CA's operator knows; nil: none is.
	EAB *EAB
	// Accounts keeps our account.
	Accounts Accounts
	// Challenge is the type of those that are solved, and Solver solves them.
	Challenge string
	Solver    Solver
	// Profile is the CA's profile that is asked for; "": its default.
	Profile string
	// CommonName says that certificates have a CN, which is the request's. Else
	// they have no subject.
	CommonName bool
	// Times says that the CA takes notBefore and notAfter in an order.
	Times bool
	// Lifetime is how long the CA's certificates live; 0: it isn't known, or the CA
	// is told by Times.
	Lifetime time.Duration
	// Backdate is how much before the planned notBefore a certificate may begin; 0
	// is DefaultBackdate.
	Backdate time.Duration
	// Wait bounds how long an order is worked on before the device is told to come
	// again; 0 is DefaultWait or DefaultWaitDNS.
	Wait time.Duration
	// Timeout bounds each call; 0 is DefaultTimeout.
	Timeout time.Duration
	// MaxConns bounds the calls at the same time; 0 is DefaultMaxConns.
	MaxConns int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// An EAB is an external account binding (RFC 8555 section 7.3.4).
type EAB struct {
	KeyID string
	// Key is the MAC key, as bytes ([ParseMACKey]). It is asked for when an account
	// is made. The error says why there is none.
	Key func() (secret.Bytes, error)
}

// An Upstream is one account at one CA. It is safe for concurrent use.
type Upstream struct {
	cfg    Config
	base   *url.URL
	path   string // of the directory, escaped
	client *upstream.Client
	acme   *acme.Client

	account     atomic.Pointer[acme.Account] // nil: not known yet
	registering chan struct{}                // held by who asks for it

	mu      sync.Mutex
	learned []*x509.Certificate // CA certificates that came with issued ones
}

var (
	_ ra.Upstream  = (*Upstream)(nil)
	_ ra.Revoker   = (*Upstream)(nil)
	_ ra.Deferrer  = (*Upstream)(nil)
	_ ra.Tolerance = (*Upstream)(nil)
	_ ra.Prober    = (*Upstream)(nil)
	_ ra.Checker   = (*Upstream)(nil)
)

// idle is below what servers keep an unused connection for.
const idle = 30 * time.Second

// name is how messages call the CA.
const name = "the ACME server"

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Upstream, error) {
	base, path, err := cfg.check()
	if err != nil {
		return nil, err
	}
	cfg.fill()
	u := &Upstream{cfg: cfg, base: base, path: path, registering: make(chan struct{}, 1), client: upstream.NewClient(upstream.Config{
		Name: name, Base: base, Timeout: cfg.Timeout, MaxConns: cfg.MaxConns, Idle: idle,
		TLS:   upstream.TLS(slices.Concat(cfg.Roots, cfg.TLSRoots), nil, cfg.Now),
		Probe: upstream.Call{Method: http.MethodGet, Path: path},
	})}
	u.acme = u.newClient()
	return u, nil
}

func (c *Config) check() (base *url.URL, path string, err error) {
	directory, err := url.Parse(c.Directory)
	if err != nil {
		// The error of url.Parse repeats the text, which may hold a password.
		return nil, "", errors.New("the address isn't a URL")
	}
	if directory.RawQuery != "" || directory.Fragment != "" {
		return nil, "", fmt.Errorf("the address %q has more than a host, a port and a path", c.Directory)
	}
	host := *directory
	host.Path, host.RawPath = "", ""
	if base, err = upstream.Address(host.String()); err != nil {
		return nil, "", err
	}
	switch {
	case len(c.Roots) == 0:
		return nil, "", errors.New("no root certificate is given to hold the CA to")
	case c.Accounts == nil:
		return nil, "", errors.New("nothing is given to keep the account in")
	case c.Challenge != HTTP01 && c.Challenge != DNS01:
		return nil, "", fmt.Errorf("the challenge %q is neither http-01 nor dns-01", c.Challenge)
	case c.Solver == nil:
		return nil, "", fmt.Errorf("nothing is given to solve %s with", c.Challenge)
	case c.EAB != nil && (c.EAB.KeyID == "" || c.EAB.Key == nil):
		return nil, "", errors.New("an external account binding has a key id and a MAC key")
	case c.Times && c.Lifetime != 0:
		return nil, "", errors.New("a CA that is told when a certificate ends has no lifetime of its own")
	case c.Lifetime < 0:
		return nil, "", fmt.Errorf("lifetime %s is negative", c.Lifetime)
	case c.Wait < 0:
		return nil, "", fmt.Errorf("wait %s is negative", c.Wait)
	}
	return base, directory.EscapedPath(), upstream.Sound(c.Timeout, c.Backdate, c.MaxConns)
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
	if c.Wait == 0 {
		c.Wait = WaitFor(c.Challenge)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// WaitFor is the default of Config.Wait for a type of challenge.
func WaitFor(challenge string) time.Duration {
	if challenge == DNS01 {
		return DefaultWaitDNS
	}
	return DefaultWait
}

// commonName is the OID of CN.
const commonName = "2.5.4.3"

// Carries is nothing that a CA could be told: the request's DNS names pass, and
// with CommonName its CN. Usages count, since the CA's profile writes them, and
// what comes back is compared.
func Carries(withCommonName bool) policy.Capabilities {
	can := policy.Capabilities{
		KeyUsage: true, ExtKeyUsage: true, PKCS10: true, Alone: true,
		PassedForms: []csr.NameForm{csr.DNS},
	}
	if withCommonName {
		can.PassedTypes = []string{commonName}
	}
	return can
}

// Carries is that of the configuration.
func (u *Upstream) Carries() policy.Capabilities { return Carries(u.cfg.CommonName) }

// Tolerates lists what CAs add by themselves. One that can't be told when a
// certificate ends may end it at any time before.
func (u *Upstream) Tolerates() ra.Tolerated {
	t := ra.Tolerated{Backdate: u.cfg.Backdate, Extensions: []string{
		"2.5.29.35",                   // authorityKeyIdentifier
		"2.5.29.14",                   // subjectKeyIdentifier
		"2.5.29.31",                   // cRLDistributionPoints
		"2.5.29.32",                   // certificatePolicies
		"1.3.6.1.5.5.7.1.1",           // authorityInfoAccess
		"1.3.6.1.4.1.11129.2.4.2",     // signed certificate timestamps (RFC 6962)
		"1.3.6.1.4.1.37476.9000.64.1", // step-ca's provisioner extension
	}}
	if !u.cfg.Times {
		t.Shorter = math.MaxInt64
	}
	return t
}
