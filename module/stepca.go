// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
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
	addressOptions
	crlOption
	takesOwn

	// The name of the provisioner. Required.
	Provisioner string `json:"provisioner"`
	// JWK provisioner: a file with the private key, a JWK or a JWE. Here and in
	// certificate, files are read again when they change.
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

	*stepca.Upstream `json:"-"`

	opener *changing[stepca.Credential]
}

// CaddyModule returns the Caddy module information.
func (*StepCA) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.step_ca", New: func() caddy.Module { return new(StepCA) }}
}

// UnmarshalCaddyfile reads, beside the options of the embedded structs:
//
//	upstream [NAME] step_ca URL… {
//		provisioner NAME
//		key FILE [PASSWORD]
//		certificate FILE
//		own_provisioner NAME
//		crl
//	}
func (u *StepCA) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	b := upstreamBlock{Dispenser: d, module: "step_ca", form: "https://HOST:PORT"}
	return b.upstream(&u.addressOptions, u.options(), u.complete)
}

func (u *StepCA) options() options {
	return u.addressOptions.options().with(options{
		"certificate": valueOf("FILE", &u.Certificate), "provisioner": valueOf("NAME", &u.Provisioner),
		"own_provisioner": valueOf("NAME", &u.OwnProvisioner), "key": u.keyOption, "crl": flagOf(&u.AskCRL),
	})
}

func (u *StepCA) keyOption(b upstreamBlock) error {
	args := b.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return b.Errf("step_ca: key takes a file, and the password of an encrypted one (a placeholder such as {env.X})")
	}
	u.Key = args[0]
	if len(args) == 2 {
		u.KeyPassword = args[1]
	}
	return nil
}

// complete says what is missing.
func (u *StepCA) complete() error {
	if err := needsAddress("step_ca", &u.addressOptions); err != nil {
		return err
	}
	switch {
	case u.Provisioner == "":
		return errors.New("step_ca needs `provisioner NAME`")
	case u.Key == "":
		return errors.New("step_ca needs `key FILE`")
	}
	return nil
}

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address, the files' names and the password.
func (u *StepCA) Provision(ctx caddy.Context) error {
	if err := u.complete(); err != nil {
		return err
	}
	if u.OwnProvisioner != "" && u.Certificate != "" {
		return errors.New("`own_provisioner` signs with this server's own certificate, and `certificate FILE` with another: write one of the two")
	}
	err := errors.Join(u.load(), expandAll(expandable{"key", &u.Key}, expandable{"certificate", &u.Certificate}))
	if err != nil {
		return err
	}
	cfg := stepca.Config{
		URL: u.URL, Others: u.OtherURLs, Observe: sayOfAddress(ctx.Logger()), Roots: u.pins, Provisioner: u.Provisioner, CRL: u.AskCRL,
		Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if err := u.loadOpener(); err != nil {
		return err
	}
	cfg.Credential = func() (stepca.Credential, error) { return u.opener.now(), nil }
	if u.OwnProvisioner != "" {
		cfg.Own = &stepca.Own{Provisioner: u.OwnProvisioner, Credential: u.credential}
	}
	u.Upstream, err = stepca.New(cfg)
	return u.orWrite(err, "https://HOST:PORT")
}

// loadOpener follows the files of what opens the provisioner.
func (u *StepCA) loadOpener() (err error) {
	files := []string{u.Key}
	if u.Certificate != "" {
		files = append(files, u.Certificate)
	}
	u.opener, err = newChanging(u.readOpener, files...)
	if err != nil {
		return fmt.Errorf("key %s: %w", strings.Join(files, ", certificate "), err)
	}
	return nil
}

// readOpener reads the key, and the certificate where there is one. The password is
// looked up again: it may have changed with the key.
func (u *StepCA) readOpener(texts [][]byte) (c stepca.Credential, err error) {
	key := texts[0]
	if len(texts) > 1 {
		c.X5C, err = stepca.ParseX5C(texts[1], key)
		return c, err
	}
	password, err := expand("the key's password", u.KeyPassword)
	if err != nil {
		return c, err
	}
	c.JWK, err = stepca.ParseJWK(key, []byte(password))
	if block, _ := pem.Decode(key); err != nil && block != nil {
		return c, fmt.Errorf("%w; for an X5C provisioner add `certificate FILE`", err)
	}
	return c, err
}

// x5c is the RA certificate with its chain, leaf first; nil with a JWK.
func (u *StepCA) x5c() []*x509.Certificate {
	if x5c := u.opener.now().X5C; x5c != nil {
		return x5c.Chain
	}
	return nil
}

// Identity is the CA's address.
func (u *StepCA) Identity() string { return "step_ca " + u.URL }

// Needs refuses an RA certificate that ends before the longest device
// certificate would: step-ca issues nothing that outlives it.
func (u *StepCA) Needs(validity time.Duration) error {
	chain := u.x5c()
	if chain == nil {
		return nil
	}
	if left := time.Until(chain[0].NotAfter); left < validity {
		return fmt.Errorf("step-ca issues nothing that outlives the RA certificate, which has %s left, and the policy plans up to %s: renew it, or use a JWK provisioner", days(left), days(validity))
	}
	return nil
}

// Expiries is the first end in the RA certificate's chain, where there is one.
func (u *StepCA) Expiries() map[string]time.Time {
	if chain := u.x5c(); chain != nil {
		return map[string]time.Time{"ra_certificate": firstEnd(chain)}
	}
	return nil
}

// credential is our own certificate, as step-ca wants it.
func (u *StepCA) credential() (*stepca.X5C, error) {
	cert, err := u.ownCertificate()
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

var (
	_ Upstream              = (*StepCA)(nil)
	_ ownUser               = (*StepCA)(nil)
	_ ra.Revoker            = (*StepCA)(nil)
	_ ra.WholeLister        = (*StepCA)(nil)
	_ ra.Tolerance          = (*StepCA)(nil)
	_ caddy.Provisioner     = (*StepCA)(nil)
	_ caddyfile.Unmarshaler = (*StepCA)(nil)
)
