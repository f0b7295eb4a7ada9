// SPDX-License-Identifier: Apache-2.0

// Package cfssl issues from a CFSSL of Cloudflare, `cfssl serve`, over its JSON
// API.
//
// One upstream is one profile of one signer: CFSSL's profile says which usages a
// certificate has and how long it lives, and a request for a signature has the
// names beside the CSR, authenticated by an HMAC. What the API can't be told is
// refused before it is asked.
package cfssl

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

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
	// DefaultBackdate covers CFSSL's own five minutes, and that it rounds the
	// time to a minute.
	DefaultBackdate = 6 * time.Minute
)

// Config is what [New] needs. URL, Roots and Key have no default.
type Config struct {
	// URL is the server's address, such as https://cfssl.internal:8888.
	URL string
	// Others are further addresses of the same CA, each asked when those before it
	// can't be reached.
	Others []string
	// Roots are those of the CA. They verify the server's TLS certificate, too.
	Roots []*x509.Certificate
	// TLSRoots verify the server's TLS certificate beside them.
	TLSRoots []*x509.Certificate
	// Chain are the certificates between the signer's and a root: CFSSL gives
	// the signer's alone.
	Chain []*x509.Certificate
	// Key is the HMAC key of the profile, as bytes ([ParseKey]). It is asked for
	// each order. The error says why there is none.
	Key func() (secret.Bytes, error)
	// Certificate is our TLS client certificate; nil: there is none. It is asked
	// in each handshake.
	Certificate func() (*tls.Certificate, error)
	// Profile is the signing profile; empty for the server's default.
	Profile string
	// Label is the signer, where the server has several; empty for its default.
	Label string
	// Serial says that the profile takes our serial numbers
	// (ClientProvidesSerialNumbers).
	Serial bool
	// URIs says that the server knows URIs in a SAN, as 1.6 does and 1.2
	// doesn't.
	URIs bool
	// CRL says that the server publishes a CRL (/crl, of 1.6).
	CRL bool
	// Backdate is how much before the planned notBefore certificates may begin;
	// 0 is DefaultBackdate.
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

// An Upstream is one profile of one signer. It is safe for concurrent use.
type Upstream struct {
	cfg    Config
	client *upstream.Client

	mu    sync.Mutex
	known *info
}

var (
	_ ra.Upstream      = (*Upstream)(nil)
	_ ra.SerialRevoker = (*Upstream)(nil)
	_ ra.Revoker       = (*Upstream)(nil)
	_ ra.WholeLister   = (*Upstream)(nil)
	_ ra.Tolerance     = (*Upstream)(nil)
	_ ra.Checker       = (*Upstream)(nil)
)

// idle is how long an unused connection is kept. CFSSL closes none; what stands
// between may.
const idle = 30 * time.Second

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Upstream, error) {
	bases, err := upstream.Addresses(cfg.URL, cfg.Others...)
	if err != nil {
		return nil, err
	}
	switch {
	case len(cfg.Roots) == 0:
		return nil, errors.New("no root certificate is given to verify CFSSL with")
	case cfg.Key == nil:
		return nil, errors.New("no key is given to authenticate requests with")
	}
	if err := upstream.Sound(cfg.Timeout, cfg.Backdate, cfg.MaxConns); err != nil {
		return nil, err
	}
	cfg.fill()
	asks, err := infoCall(cfg)
	if err != nil {
		return nil, err
	}
	return &Upstream{cfg: cfg, client: upstream.NewClient(upstream.Config{
		Name: "CFSSL", Base: bases[0], Others: upstream.Others(bases), Timeout: cfg.Timeout, MaxConns: cfg.MaxConns, Idle: idle,
		TLS: upstream.TLS(slices.Concat(cfg.Roots, cfg.TLSRoots), nil, cfg.Now), Certificate: cfg.Certificate,
		// /health is missing in 1.2, and says less: whether there is the signer.
		Probe: asks, Ill: unserved, Observe: cfg.Observe,
	})}, nil
}

// unserved says that no CFSSL with a signer is there: it has each path of ours.
func unserved(answer upstream.Answer) bool { return answer.Status == http.StatusNotFound }

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

// Carries is what a request for a signature can say: the subject attributes of
// signer.Subject, and hosts. Usages count, since CFSSL's profile writes them, and
// what it says of itself is held against the plan.
func Carries(serial, uris bool) policy.Capabilities {
	can := policy.Capabilities{
		KeyUsage: true, Serial: serial, PKCS10: true, Alone: true,
		SANForms: []csr.NameForm{csr.DNS, csr.IP, csr.Email},
	}
	if uris {
		can.SANForms = append(can.SANForms, csr.URI)
	}
	for _, a := range attributes {
		can.SubjectTypes = append(can.SubjectTypes, a.oid)
	}
	for _, u := range extKeyUsages {
		can.Purposes = append(can.Purposes, u.oid)
	}
	return can
}

// Carries is that of the configuration.
func (u *Upstream) Carries() policy.Capabilities { return Carries(u.cfg.Serial, u.cfg.URIs) }

// Tolerates lists what CFSSL's profiles add, and what of a certificate it
// decides: its end may come at any time before the planned one, and a subject is
// written in the order of Go's pkix.Name.
func (u *Upstream) Tolerates() ra.Tolerated {
	return ra.Tolerated{Backdate: u.cfg.Backdate, Shorter: math.MaxInt64, SubjectOrder: true, Extensions: []string{
		"2.5.29.35",               // authorityKeyIdentifier
		"2.5.29.14",               // subjectKeyIdentifier
		"2.5.29.31",               // cRLDistributionPoints
		"2.5.29.32",               // certificatePolicies
		"1.3.6.1.5.5.7.1.1",       // authorityInfoAccess
		"1.3.6.1.5.5.7.48.1.5",    // id-pkix-ocsp-nocheck
		"1.3.6.1.4.1.11129.2.4.2", // signed certificate timestamps (RFC 6962)
	}}
}
