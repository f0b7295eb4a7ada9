// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/stepca"
)

func init() {
	caddy.RegisterModule(&StepCA{})
}

// StepCA is the upstream `step_ca`: a step-ca 0.30 or later, asked over its
// own API with a provisioner of type JWK or X5C (docs/step-ca.md).
type StepCA struct {
	// The address of step-ca, such as https://ca.internal:9000. Required.
	URL string `json:"url"`
	// Further addresses of the same CA, with the same provisioner and the same
	// issuing certificates, each asked when those before it can't be reached.
	OtherURLs []string `json:"other_urls,omitempty"`
	// A PEM file with step-ca's root certificate. Required: it is what
	// /cacerts may publish, and what step-ca's own TLS is verified with.
	Root string `json:"root"`
	// The name of the provisioner. Required.
	Provisioner string `json:"provisioner"`
	// JWK provisioner: a file with the private key, a JWK or a JWE.
	Key string `json:"key,omitempty"`
	// The password of an encrypted key; a placeholder such as {env.X}.
	KeyPassword string `json:"key_password,omitempty"`
	// X5C provisioner: a PEM file with the RA's certificate and its chain,
	// with clientAuth and id-kp-cmcRA. Then Key is its private key, PEM.
	Certificate string `json:"certificate,omitempty"`
	// The name of a second provisioner, of type X5C, that this server's own
	// certificate opens (docs/step-ca.md). Device certificates are ordered
	// there, and the JWK provisioner is for that certificate alone.
	OwnProvisioner string `json:"own_provisioner,omitempty"`
	// How long one request to step-ca may take. Default: 15s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// The most connections at once. Default: 16.
	MaxConnections int `json:"max_connections,omitempty"`
	// Ask step-ca's CRL at reenrolment, failing closed. step-ca serves one
	// when its `crl` is enabled.
	AskCRL bool `json:"crl,omitempty"`

	*stepca.Upstream `json:"-"`

	pins []*x509.Certificate
	x5c  []*x509.Certificate // the RA's chain, leaf first; nil with a JWK
	own  ownSource
}

// CaddyModule returns the Caddy module information.
func (*StepCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.step_ca", New: func() caddy.Module { return new(StepCA) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] step_ca URL… {
//		root FILE
//		provisioner NAME
//		key FILE [PASSWORD]
//		certificate FILE
//		own_provisioner NAME
//		timeout DURATION
//		max_connections N
//		crl
//	}
func (u *StepCA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	start := *d // what is missing is reported where the upstream begins
	block := upstreamBlock{d, "step_ca"}
	if err := block.addresses("the CA", "https://HOST:PORT", &u.URL, &u.OtherURLs); err != nil {
		return err
	}
	if err := block.read(u.option); err != nil {
		return err
	}
	for _, need := range []struct{ name, value string }{
		{"root FILE", u.Root}, {"provisioner NAME", u.Provisioner}, {"key FILE", u.Key},
	} {
		if need.value == "" {
			return start.Errf("step_ca needs `%s`", need.name)
		}
	}
	return nil
}

func (u *StepCA) option(b upstreamBlock) error {
	switch name := b.Val(); name {
	case "root":
		return b.value("FILE", &u.Root)
	case "certificate":
		return b.value("FILE", &u.Certificate)
	case "provisioner":
		return b.value("NAME", &u.Provisioner)
	case "own_provisioner":
		return b.value("NAME", &u.OwnProvisioner)
	case "key":
		args := b.RemainingArgs()
		if len(args) < 1 || len(args) > 2 {
			return b.Errf("step_ca: key takes a file, and the password of an encrypted one (a placeholder such as {env.X})")
		}
		u.Key = args[0]
		if len(args) == 2 {
			u.KeyPassword = args[1]
		}
		return nil
	case "timeout":
		return b.duration("15s", &u.Timeout)
	case "max_connections":
		return b.number("16", &u.MaxConnections)
	case "crl":
		return b.flag(&u.AskCRL)
	default:
		return b.Errf("step_ca has no option %q; there is: certificate, crl, key, max_connections, own_provisioner, provisioner, root, timeout", name)
	}
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address, the files' names and the password.
func (u *StepCA) Provision(ctx caddy.Context) error {
	if u.URL == "" || u.Root == "" || u.Provisioner == "" || u.Key == "" {
		return errors.New("step_ca needs url, root, provisioner and key")
	}
	if u.OwnProvisioner != "" && u.Certificate != "" {
		return errors.New("`own_provisioner` signs with this server's own certificate, and `certificate FILE` with another: write one of the two")
	}
	if err := expandAll(expandable{"url", &u.URL}, expandable{"root", &u.Root}, expandable{"key", &u.Key}, expandable{"certificate", &u.Certificate}); err != nil {
		return err
	}
	if err := expandEach("other_urls", u.OtherURLs); err != nil {
		return err
	}
	pins, err := loadRoots(u.Root)
	if err != nil {
		return err
	}
	u.pins = pins
	cfg := stepca.Config{
		CRL: u.AskCRL,
		URL: u.URL, Others: u.OtherURLs, Observe: sayOfAddress(ctx.Logger()), Roots: pins, Provisioner: u.Provisioner,
		Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if err := u.loadKey(&cfg); err != nil {
		return err
	}
	if u.OwnProvisioner != "" {
		cfg.Own = &stepca.Own{Provisioner: u.OwnProvisioner, Credential: u.credential}
	}
	u.Upstream, err = stepca.New(cfg)
	if err != nil && !strings.HasPrefix(u.URL, "https://") {
		return fmt.Errorf("%w: write https://HOST:PORT", err)
	}
	return err
}

func (u *StepCA) loadKey(cfg *stepca.Config) error {
	key, err := os.ReadFile(u.Key)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	if u.Certificate != "" {
		chain, err := os.ReadFile(u.Certificate)
		if err != nil {
			return fmt.Errorf("certificate: %w", err)
		}
		cfg.X5C, err = stepca.ParseX5C(chain, key)
		if err != nil {
			return fmt.Errorf("certificate %s: %w", u.Certificate, err)
		}
		u.x5c = cfg.X5C.Chain
		return nil
	}
	password, err := expand("the key's password", u.KeyPassword)
	if err != nil {
		return err
	}
	cfg.JWK, err = stepca.ParseJWK(key, []byte(password))
	if block, _ := pem.Decode(key); err != nil && block != nil {
		return fmt.Errorf("key %s: %w; for an X5C provisioner add `certificate FILE`", u.Key, err)
	}
	if err != nil {
		return fmt.Errorf("key %s: %w", u.Key, err)
	}
	return nil
}

// Pins are the configured roots.
func (u *StepCA) Pins() []*x509.Certificate { return u.pins }

// Identity is the CA's address.
func (u *StepCA) Identity() string { return "step_ca " + u.URL }

// IssueTimeout is how long issuing may take; 0 is the default.
func (u *StepCA) IssueTimeout() time.Duration { return time.Duration(u.Timeout) }

// Connections is how many requests may be at the CA at once.
func (u *StepCA) Connections() int { return connections(u.MaxConnections) }

// CRLEnabled says that reenrolment asks step-ca's CRL.
func (u *StepCA) CRLEnabled() bool { return u.AskCRL }

// Needs refuses an RA certificate that ends before the longest device
// certificate would: step-ca issues nothing that outlives it.
func (u *StepCA) Needs(validity time.Duration) error {
	if u.x5c == nil {
		return nil
	}
	if left := time.Until(u.x5c[0].NotAfter); left < validity {
		return fmt.Errorf("step-ca issues nothing that outlives the RA certificate, which has %s left, and the policy plans up to %s: renew it, or use a JWK provisioner", days(left), days(validity))
	}
	return nil
}

// Expiries is the first end in the RA certificate's chain, where there is one.
func (u *StepCA) Expiries() map[string]time.Time {
	if u.x5c == nil {
		return nil
	}
	return map[string]time.Time{"ra_certificate": firstEnd(u.x5c)}
}

// credential is our own certificate, as step-ca wants it.
func (u *StepCA) credential() (*stepca.X5C, error) {
	cert, err := u.own()
	if err != nil {
		return nil, err
	}
	x5c := &stepca.X5C{}
	var ok bool
	if x5c.Key, ok = cert.PrivateKey.(crypto.Signer); !ok {
		return nil, errors.New("the key of our own certificate can't sign")
	}
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		x5c.Chain = append(x5c.Chain, c)
	}
	return x5c, nil
}

// WantsOwn says that step-ca is shown our own certificate.
func (u *StepCA) WantsOwn() bool { return u.OwnProvisioner != "" }

// BoundByOwn says that step-ca issues nothing that outlives it.
func (u *StepCA) BoundByOwn() bool { return true }

// UseOwn takes what gives our own certificate.
func (u *StepCA) UseOwn(give func() (*tls.Certificate, error)) { u.own = give }

var (
	_ Upstream              = (*StepCA)(nil)
	_ ownUser               = (*StepCA)(nil)
	_ ra.Revoker            = (*StepCA)(nil)
	_ ra.CRLSource          = (*StepCA)(nil)
	_ ra.Tolerance          = (*StepCA)(nil)
	_ caddy.Provisioner     = (*StepCA)(nil)
	_ caddyfile.Unmarshaler = (*StepCA)(nil)
)
