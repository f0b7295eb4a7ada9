// SPDX-License-Identifier: Apache-2.0

// Package est issues from another EST server (RFC 7030), to which this one is
// a registration authority: its certificate is of that server's CA, for
// id-kp-cmcRA (RFC 7030 section 3.7).
//
// By /simpleenroll the request goes on as the device signed it, and nothing of
// what a policy rewrites can travel. By /fullcmc it stands in a PKIData that we
// sign, beside what is to be changed (RFC 5272 section 6.5.1).
package est

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream"
)

// The defaults of Config.
const (
	DefaultTimeout  = 15 * time.Second
	DefaultMaxConns = 16
	DefaultBackdate = time.Minute
)

// Config is what [New] needs. URL, Roots and Certificate have no default.
type Config struct {
	// URL is the server's address, such as https://est.example.net.
	URL string
	// Others are further addresses of the same server, each asked when those
	// before it can't be reached.
	Others []string
	// Label is the label at the server; empty for none.
	Label string
	// Roots are the Explicit trust anchors (RFC 7030 section 3.6.1): the
	// server's TLS certificate verifies under them, by its name or by
	// id-kp-cmcRA, and so does who signs its answers.
	Roots []*x509.Certificate
	// TLSRoots verify the server's TLS certificate, too, by its name alone
	// (RFC 7030 section 3.6.2). Nil: Roots alone do.
	TLSRoots *x509.CertPool
	// Certificate is our RA certificate with its chain and key. It is asked for
	// each order, since it is renewed now and then. The error says why there is
	// none.
	Certificate func() (*tls.Certificate, error)
	// FullCMC says to use /fullcmc.
	FullCMC bool
	// Batch, with FullCMC, is how long a request waits for others that go in the
	// same message; 0: none waits.
	Batch time.Duration
	// Backdate is how much before the planned times a certificate may begin and
	// end; 0 is DefaultBackdate.
	Backdate time.Duration
	// Timeout bounds each call, the wait for a free connection included; 0 is
	// DefaultTimeout.
	Timeout time.Duration
	// MaxConns bounds the calls at the same time; 0 is DefaultMaxConns.
	MaxConns int
	// Observe is told of addresses that begin to rest, as upstream.Config has
	// it; nil: nobody is.
	Observe func(host string, failure error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Rand is where nonces and signatures come from; nil is crypto/rand.
	Rand io.Reader
}

// An Upstream is one label of one EST server. It is safe for concurrent use.
type Upstream struct {
	cfg    Config
	est    *estclient.Client // for addresses and for TLS; never changed
	reader *upstream.Client  // shows no certificate
	// batches are the requests that wait for others; nil: none does.
	batches *batcher

	caller *upstream.Client // shows our certificate

	mu    sync.Mutex
	known []*x509.Certificate
}

var (
	_ ra.Upstream  = (*Upstream)(nil)
	_ ra.Revoker   = (*Upstream)(nil)
	_ ra.Deferrer  = (*Upstream)(nil)
	_ ra.Demander  = (*Upstream)(nil)
	_ ra.Tolerance = (*Upstream)(nil)
	_ ra.Checker   = (*Upstream)(nil)
)

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Upstream, error) {
	if _, err := upstream.Addresses(cfg.URL, cfg.Others...); err != nil {
		return nil, err
	}
	switch {
	case len(cfg.Roots) == 0:
		return nil, errors.New("no root certificate is given to verify the EST server with")
	case cfg.Certificate == nil:
		return nil, errors.New("no RA certificate is given to ask with")
	case cfg.Batch < 0:
		return nil, fmt.Errorf("batch %s is negative", cfg.Batch)
	case cfg.Batch > 0 && !cfg.FullCMC:
		return nil, errors.New("several requests in one message are CMC's: a batch wants /fullcmc (`cmc`)")
	}
	if err := upstream.Sound(cfg.Timeout, cfg.Backdate, cfg.MaxConns); err != nil {
		return nil, err
	}
	cfg.fill()
	u := &Upstream{cfg: cfg, est: &estclient.Client{
		URL: cfg.URL, Label: cfg.Label, Explicit: cfg.Roots, Implicit: cfg.TLSRoots, Now: cfg.Now, Rand: cfg.Rand,
	}}
	if err := u.est.Check(); err != nil {
		return nil, err
	}
	if cfg.Batch > 0 {
		u.batches = &batcher{wait: cfg.Batch, send: u.send}
	}
	var err error
	if u.reader, err = u.client(nil); err != nil {
		return nil, err
	}
	u.caller, err = u.client(cfg.Certificate)
	return u, err
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
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
}

// idle is below what servers keep an unused connection for; Apache's default is
// five seconds.
const idle = 4 * time.Second

func (u *Upstream) client(certificate func() (*tls.Certificate, error)) (*upstream.Client, error) {
	bases, err := upstream.Addresses(u.cfg.URL, u.cfg.Others...)
	if err != nil {
		return nil, err
	}
	var all []upstream.Other // each verifies by its own name
	for _, base := range bases {
		there := u.est.Knowing(nil)
		there.URL = base.String()
		config, err := there.TLS(nil)
		if err != nil {
			return nil, err
		}
		all = append(all, upstream.Other{Base: base, TLS: config})
	}
	return upstream.NewClient(upstream.Config{
		Name: "the EST server", Base: all[0].Base, TLS: all[0].TLS, Others: all[1:],
		Certificate: certificate, Timeout: u.cfg.Timeout, MaxConns: u.cfg.MaxConns, Idle: idle, Observe: u.cfg.Observe,
		// EST has no other call that everybody may make, and that does nothing.
		Probe: u.cacerts(),
	}), nil
}

// asking gives the connections that show our certificate, and that of now.
func (u *Upstream) asking() (*upstream.Client, *tls.Certificate, error) {
	cert, err := u.cfg.Certificate()
	if err != nil {
		return nil, nil, ra.Fail(ra.UpstreamDown, "the EST server wants our RA certificate", err)
	}
	if len(cert.Certificate) == 0 {
		return nil, nil, ra.Fail(ra.UpstreamDown, "the EST server wants our RA certificate, and it is empty", nil)
	}
	return u.caller, cert, nil
}

// Carries is all that modCertTemplate can say, or nothing beyond what the
// request says itself. Usages count in both cases: no policy copies them from a
// request, the server's own profile writes them, and what comes back is
// compared.
func Carries(fullCMC bool) policy.Capabilities {
	return policy.Capabilities{
		Subject: fullCMC, SAN: fullCMC, Extensions: fullCMC, PKCS10: !fullCMC,
		KeyUsage: true, ExtKeyUsage: true,
	}
}

// Carries is that of the mode.
func (u *Upstream) Carries() policy.Capabilities { return Carries(u.cfg.FullCMC) }

// Tolerates lists what CAs add by themselves. A server that can't be told when
// a certificate ends may end it at any time before.
func (u *Upstream) Tolerates() ra.Tolerated {
	t := ra.Tolerated{Backdate: u.cfg.Backdate, Extensions: []string{
		"2.5.29.35",                   // authorityKeyIdentifier
		"2.5.29.14",                   // subjectKeyIdentifier
		"2.5.29.31",                   // cRLDistributionPoints
		"2.5.29.46",                   // freshestCRL
		"2.5.29.32",                   // certificatePolicies
		"1.3.6.1.5.5.7.1.1",           // authorityInfoAccess
		"1.3.6.1.4.1.37476.9000.64.1", // step-ca's provisioner extension
	}}
	if !u.cfg.FullCMC {
		t.Shorter = math.MaxInt64
	}
	return t
}
