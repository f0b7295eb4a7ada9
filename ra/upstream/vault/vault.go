// SPDX-License-Identifier: Apache-2.0

// Package vault issues from the PKI secrets engine of HashiCorp Vault, 1.13 or
// later, or of OpenBao, over its HTTPS API.
//
// By sign/:role the names of the plan stand in fields of the API, and the role
// writes the rest. By sign-verbatim the CSR says it all, and is refused where
// the plan says something else. By OpenBao's cel/sign/:role the plan goes as
// data of the request, of which our role ([CELRole]) makes the certificate.
package vault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream"
)

// The defaults of Config.
const (
	DefaultMount    = "pki"
	DefaultIssuer   = "default"
	DefaultTimeout  = 15 * time.Second
	DefaultMaxConns = 16
	DefaultBackdate = time.Minute
)

// A Mode is the operation that signs.
type Mode uint8

// The modes.
const (
	Sign     Mode = iota // sign/:role
	Verbatim             // sign-verbatim
	CEL                  // cel/sign/:role, which OpenBao alone has
)

// Config is what [New] needs. URL, Roots, Login and, but for Verbatim, Role
// have no default.
type Config struct {
	// URL is the server's address, such as https://vault.example.net:8200.
	URL string
	// Others are further addresses of the same server, such as the nodes of a
	// cluster, each asked when those before it can't be reached.
	Others []string
	// Roots are those of the CA behind the mount.
	Roots []*x509.Certificate
	// TLSRoots verify the server's TLS certificate; none: Roots do. The system's
	// roots don't count.
	TLSRoots []*x509.Certificate
	// Namespace is sent with each call; "" for none.
	Namespace string
	// Mount is where the secrets engine is mounted; "" is DefaultMount.
	Mount string
	// Issuer is the name or id of the issuer in the mount; "" is the role's to
	// sign, and DefaultIssuer to read.
	Issuer string
	// Mode is the operation that signs, and Role the role that it takes.
	Mode Mode
	Role string
	// Login is how we get a token.
	Login Login
	// Certificate is shown in the handshake. It is asked for each call, since it
	// is renewed now and then. Nil: none is shown.
	Certificate func() (*tls.Certificate, error)
	// Backdate is how much before the planned time a certificate may begin: the
	// not_before_duration of the role, 30 seconds where it says nothing. 0 is
	// DefaultBackdate.
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

// An Upstream is one role of one mount. It is safe for concurrent use.
type Upstream struct {
	cfg     Config
	session *session
	caller  *upstream.Client // shows our certificate, where there is one
	reader  *upstream.Client // shows none

	mu    sync.Mutex
	shown []byte // the certificate that our token was got with, DER; nil: none was shown
}

var (
	_ ra.Upstream  = (*Upstream)(nil)
	_ ra.Revoker   = (*Upstream)(nil)
	_ ra.CRLSource = (*Upstream)(nil)
	_ ra.Tolerance = (*Upstream)(nil)
	_ ra.Prober    = (*Upstream)(nil)
	_ ra.Checker   = (*Upstream)(nil)
)

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
	u := &Upstream{cfg: cfg, reader: newClient(bases, cfg, nil)}
	u.session, u.caller = newSession(u), u.reader
	if cfg.Certificate != nil {
		u.caller = newClient(bases, cfg, cfg.Certificate)
	}
	return u, nil
}

func (c *Config) check() error {
	for _, path := range []struct{ what, text string }{{"namespace", c.Namespace}, {"mount", c.Mount}, {"auth mount", c.Login.Mount}} {
		if path.text != "" && !isPath(path.text) {
			return fmt.Errorf("the %s %q is not a path such as team/pki", path.what, path.text)
		}
	}
	for _, name := range []struct{ what, text string }{{"role", c.Role}, {"issuer", c.Issuer}} {
		if name.text != "" && !isName(name.text) {
			return fmt.Errorf("the %s %q is not a name of letters, digits, `-`, `_` and `.`", name.what, name.text)
		}
	}
	switch {
	case len(c.Roots) == 0:
		return errors.New("no root certificate is given to hold the CA to")
	case c.Mode > CEL:
		return fmt.Errorf("there is no mode %d", c.Mode)
	case c.Mode != Verbatim && c.Role == "":
		return errors.New("no role is named")
	case c.Timeout < 0:
		return fmt.Errorf("timeout %s is negative", c.Timeout)
	case c.Backdate < 0:
		return fmt.Errorf("backdate %s is negative", c.Backdate)
	case c.MaxConns < 0:
		return fmt.Errorf("%d connections make no sense", c.MaxConns)
	}
	return c.Login.check(c.Certificate != nil)
}

func (c *Config) fill() {
	c.Namespace, c.Mount, c.Login.Mount = strings.Trim(c.Namespace, "/"), strings.Trim(c.Mount, "/"), strings.Trim(c.Login.Mount, "/")
	if c.Mount == "" {
		c.Mount = DefaultMount
	}
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

// isName: as Vault's names of roles and issuers are.
func isName(s string) bool {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '_' || r == '-' || r == '.'
	}
	return s != "" && strings.Trim(s, ".-") == s && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) })
}

func isPath(s string) bool {
	for part := range strings.SplitSeq(strings.Trim(s, "/"), "/") {
		if !isName(part) {
			return false
		}
	}
	return true
}

// Attributes of RFC 5280 appendix A.1 and RFC 4519, dotted.
const (
	oidCommonName   = "2.5.4.3"
	oidSerialNumber = "2.5.4.5"
	oidCountry      = "2.5.4.6"
	oidLocality     = "2.5.4.7"
	oidProvince     = "2.5.4.8"
	oidStreet       = "2.5.4.9"
	oidOrganization = "2.5.4.10"
	oidUnit         = "2.5.4.11"
	oidPostalCode   = "2.5.4.17"
	oidUserID       = "0.9.2342.19200300.100.1.1"
)

// Carries says what each mode can be told. Usages count by sign/:role, too: no
// policy copies them from a request, the role writes them, and what comes back
// is compared.
func Carries(mode Mode) policy.Capabilities {
	can := policy.Capabilities{KeyUsage: true, ExtKeyUsage: true, PKCS10: true}
	places := []string{oidCountry, oidOrganization, oidUnit, oidLocality, oidProvince, oidStreet, oidPostalCode}
	switch mode {
	case Sign:
		can.Alone, can.Fixed = true, places
		can.SubjectTypes = []string{oidCommonName, oidSerialNumber, oidUserID}
		can.SANForms, can.OtherName = []csr.NameForm{csr.DNS, csr.Email, csr.IP, csr.URI, csr.OtherName}, "utf8"
	case Verbatim:
		can.Verbatim = true
	case CEL:
		can.Alone, can.SAN, can.Extensions = true, true, true
		can.SubjectTypes = append(places, oidCommonName, oidSerialNumber)
	}
	return can
}

// Carries is that of the mode.
func (u *Upstream) Carries() policy.Capabilities { return Carries(u.cfg.Mode) }

// Tolerates lists what the secrets engine adds by itself. It writes a subject
// in the order of crypto/x509/pkix, by sign-verbatim in that of the request.
func (u *Upstream) Tolerates() ra.Tolerated {
	return ra.Tolerated{Backdate: u.cfg.Backdate, SubjectOrder: u.cfg.Mode != Verbatim, Extensions: []string{
		"2.5.29.35",         // authorityKeyIdentifier
		"2.5.29.14",         // subjectKeyIdentifier
		"2.5.29.31",         // cRLDistributionPoints
		"2.5.29.46",         // freshestCRL
		"2.5.29.32",         // certificatePolicies
		"1.3.6.1.5.5.7.1.1", // authorityInfoAccess
	}}
}
