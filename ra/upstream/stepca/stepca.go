// SPDX-License-Identifier: Apache-2.0

// Package stepca issues from a step-ca of Smallstep, version 0.30 or later,
// over its own HTTPS API.
//
// The CSR goes to the CA as the device signed it; what the policy decided
// goes beside it, in the claim `estra` of the one-time token that we sign.
// The provisioner's template ([Template]) makes the certificate from that
// claim and refuses a token without it.
package stepca

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"time"

	"go.step.sm/crypto/jose"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// The defaults of Config.
const (
	DefaultTimeout  = 15 * time.Second
	DefaultMaxConns = 16
)

// Config is what [New] needs. URL, Roots, Provisioner and one of JWK, X5C and
// Credential have no default.
type Config struct {
	// URL is the CA's address, such as https://ca.internal:9000.
	URL string
	// Others are further addresses of the same CA, with the same provisioner
	// and the same issuing certificates, each asked when those before it can't
	// be reached.
	Others []string
	// Roots alone verify the CA's TLS certificate; the system's roots don't
	// count.
	Roots []*x509.Certificate
	// Provisioner is its name at the CA.
	Provisioner string
	// JWK is the private key of a JWK provisioner; see [ParseJWK].
	JWK *jose.JSONWebKey
	// X5C is the credential for an X5C provisioner; see [ParseX5C].
	X5C *X5C
	// Credential, in place of JWK and X5C, is asked for each token: files change.
	// The error says why there is none.
	Credential func() (Credential, error)
	// Own is a second provisioner, of type X5C, that this server's own
	// certificate opens: what isn't for that certificate itself is ordered
	// there. Then JWK is for nothing else, and X5C isn't set. Nil: none.
	Own *Own
	// Timeout bounds each call, the wait for a free connection included; 0
	// is DefaultTimeout.
	Timeout time.Duration
	// MaxConns bounds the calls at the same time; 0 is DefaultMaxConns.
	MaxConns int
	// CRL says that the CA publishes a CRL (`crl.enabled` in ca.json).
	CRL bool
	// Observe is told of addresses that begin to rest, as upstream.Config has
	// it; nil: nobody is.
	Observe func(host string, failure error)
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Rand is where token ids come from; nil is crypto/rand.
	Rand io.Reader
}

// Own is a provisioner that this server's own certificate opens.
type Own struct {
	Provisioner string
	// Credential is asked for each order: the certificate is renewed now and
	// then, and isn't there before the CA has issued the first. The error
	// says why.
	Credential func() (*X5C, error)
}

// An Upstream is one provisioner of one step-ca, or two: see Config.Own. It is safe for concurrent
// use.
type Upstream struct {
	client  client
	main    *signing
	own     *signing // nil: there is no such provisioner
	now     func() time.Time
	publish bool
}

var (
	_ ra.Upstream      = (*Upstream)(nil)
	_ ra.Revoker       = (*Upstream)(nil)
	_ ra.SerialRevoker = (*Upstream)(nil)
	_ ra.WholeLister   = (*Upstream)(nil)
	_ ra.Tolerance     = (*Upstream)(nil)
	_ ra.Checker       = (*Upstream)(nil)
)

// New checks the configuration. It opens no connection.
func New(cfg Config) (*Upstream, error) {
	bases, err := upstream.Addresses(cfg.URL, cfg.Others...)
	if err != nil {
		return nil, fmt.Errorf("step_ca: %w", err)
	}
	switch {
	case len(cfg.Roots) == 0:
		return nil, errors.New("step_ca: no root certificate is given to verify the CA with")
	case cfg.Provisioner == "":
		return nil, errors.New("step_ca: no provisioner is named")
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("step_ca: timeout %s is negative", cfg.Timeout)
	case cfg.MaxConns < 0:
		return nil, fmt.Errorf("step_ca: %d connections make no sense", cfg.MaxConns)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	main, err := newSigning(cfg)
	if err != nil {
		return nil, err
	}
	own, err := newOwnSigning(cfg)
	if err != nil {
		return nil, err
	}
	return &Upstream{
		client:  newClient(bases, cfg),
		main:    main,
		own:     own,
		now:     cfg.Now,
		publish: cfg.CRL,
	}, nil
}

// Carries is every part of a plan, the serial number too: the template sets
// them all. The longest lifetime is the provisioner's business
// (maxTLSCertDuration), which the API doesn't tell.
func (u *Upstream) Carries() policy.Capabilities {
	return policy.Capabilities{
		Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true,
		Extensions: true, Serial: true, PKCS10: true,
	}
}

// Tolerates lists what step-ca adds by itself. There is no backdate: a
// notBefore that the template sets stays as it is
// (profileDefaultDuration.Modify of step-ca).
func (u *Upstream) Tolerates() ra.Tolerated {
	return ra.Tolerated{Extensions: []string{
		"2.5.29.35",                   // authorityKeyIdentifier
		"2.5.29.14",                   // subjectKeyIdentifier
		"2.5.29.31",                   // cRLDistributionPoints
		"2.5.29.32",                   // certificatePolicies
		"1.3.6.1.5.5.7.1.1",           // authorityInfoAccess
		"1.3.6.1.4.1.37476.9000.64.1", // step-ca's provisioner extension
	}}
}
