// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/x509"
	"errors"
	"fmt"
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
	addressOptions
	clientOptions
	takesOwn

	// The label at the server. Default: none.
	Label string `json:"label,omitempty"`
	// Ask by /fullcmc, so that what the policy rewrites travels. Default: by
	// /simpleenroll, and for policies alone that rewrite nothing.
	CMC bool `json:"cmc,omitempty"`
	// With cmc, how long a request waits for others that go in the same message, up
	// to 16. Default: 0, each goes by itself and at once.
	Batch caddy.Duration `json:"batch,omitempty"`
	// How much before the planned times certificates may begin and end. Default:
	// 1m.
	Backdate caddy.Duration `json:"backdate,omitempty"`

	*est.Upstream `json:"-"`
}

// CaddyModule returns the Caddy module information.
func (*ESTServer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.est", New: func() caddy.Module { return new(ESTServer) }}
}

// UnmarshalCaddyfile reads, beside the options of the embedded structs:
//
//	upstream [NAME] est URL… {
//		label LABEL
//		cmc
//		batch DURATION
//		backdate DURATION
//	}
func (u *ESTServer) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	b := upstreamBlock{Dispenser: d, module: "est", form: "https://HOST", whose: "the EST server"}
	return b.upstream(&u.addressOptions, u.options(), u.complete)
}

func (u *ESTServer) options() options {
	return u.addressOptions.options().with(u.clientOptions.options()).with(options{
		"label": valueOf("LABEL", &u.Label), "cmc": flagOf(&u.CMC),
		"batch": durationOf("20ms", &u.Batch), "backdate": durationOf("1m", &u.Backdate),
	})
}

// complete says what is missing.
func (u *ESTServer) complete() error { return needsAddress("est", &u.addressOptions) }

// Provision reads the files. It opens no connection. Placeholders such as
// {env.X} are replaced in the address and the files' names.
func (u *ESTServer) Provision(ctx caddy.Context) error {
	if err := u.complete(); err != nil {
		return err
	}
	if err := errors.Join(u.addressOptions.load(), u.clientOptions.load(isRA)); err != nil {
		return err
	}
	cfg := est.Config{
		URL: u.URL, Others: u.OtherURLs, Observe: sayOfAddress(ctx.Logger()), Roots: u.pins, Certificate: u.shown(),
		Label: u.Label, FullCMC: u.CMC, Batch: time.Duration(u.Batch),
		Backdate: time.Duration(u.Backdate), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	if u.WantsOwn() {
		cfg.Certificate = u.ownCertificate
	}
	if len(u.tlsRoots) > 0 {
		cfg.TLSRoots = x509.NewCertPool()
		for _, c := range u.tlsRoots {
			cfg.TLSRoots.AddCert(c)
		}
	}
	var err error
	u.Upstream, err = est.New(cfg)
	return u.orWrite(err, "https://HOST")
}

// isRA refuses a certificate that no EST server takes from an RA.
func isRA(leaf *x509.Certificate) error {
	if policy.CarriesCMCRA(leaf) {
		return nil
	}
	return fmt.Errorf("the RA certificate of %q isn't for id-kp-cmcRA (1.3.6.1.5.5.7.3.28), without which no EST server takes a request for somebody else (RFC 7030 section 3.7)", leaf.Subject.String())
}

// CarriesAsWritten is what Carries says, without reading a file.
func (u *ESTServer) CarriesAsWritten() policy.Capabilities { return est.Carries(u.CMC) }

// CanRevoke says whether certificates can be revoked: by /fullcmc.
func (u *ESTServer) CanRevoke() bool { return u.CMC }

// Identity is the server's address, with the label that stands for a CA there.
func (u *ESTServer) Identity() string { return "est " + u.URL + " " + u.Label }

// CRLEnabled is false: EST has no operation for a CRL.
func (*ESTServer) CRLEnabled() bool { return false }

// WantsOwn says that the server is shown our own certificate.
func (u *ESTServer) WantsOwn() bool { return u.Certificate == "" }

var (
	_ Upstream              = (*ESTServer)(nil)
	_ ownUser               = (*ESTServer)(nil)
	_ writtenCapabilities   = (*ESTServer)(nil)
	_ ra.Revoker            = (*ESTServer)(nil)
	_ ra.Tolerance          = (*ESTServer)(nil)
	_ caddy.Provisioner     = (*ESTServer)(nil)
	_ caddyfile.Unmarshaler = (*ESTServer)(nil)
)
