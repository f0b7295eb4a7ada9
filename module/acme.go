// SPDX-License-Identifier: Apache-2.0

package module

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/upstream/acme"
)

func init() {
	caddy.RegisterModule(&ACME{})
}

// ACME is the upstream `acme`: a CA that speaks ACME, for certificates whose names
// are DNS names that this server answers for (docs/upstream-acme.md).
type ACME struct {
	addressOptions
	chainOption // what comes with certificates is served beside it

	// A PEM file with further roots that the ACME server's TLS may be verified
	// with. Default: none.
	TLSRoot string `json:"tls_root,omitempty"`
	// Addresses of mail by which the CA may reach us.
	Contact []string `json:"contact,omitempty"`
	// An account that the CA's operator has made for us, to bind ours to (RFC 8555
	// section 7.3.4). Default: none.
	EAB *ACMEBinding `json:"eab,omitempty"`
	// How names are proven to be ours: by dns-01. Default: by http-01, which
	// Caddy's HTTP servers answer.
	DNS *ACMEDNS `json:"dns,omitempty"`
	// The CA's profile that is asked for. Default: the CA's.
	Profile string `json:"profile,omitempty"`
	// Certificates have a CN, which is the request's. Default: they have no
	// subject.
	CommonName bool `json:"common_name,omitempty"`
	// The CA takes notBefore and notAfter in an order, as public ones don't.
	Times bool `json:"times,omitempty"`
	// How long the CA's certificates live, where it isn't told. Default: it isn't
	// known, and what comes back is compared.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`
	// How much before the planned time certificates may begin. Default: 61m.
	Backdate caddy.Duration `json:"backdate,omitempty"`
	// How long an order is worked on before the device is told to come again.
	// Default: 30s; by dns-01 150s.
	Wait caddy.Duration `json:"wait,omitempty"`

	*acme.Upstream `json:"-"`
}

// ACMEBinding is an external account binding.
type ACMEBinding struct {
	// The key id, as the CA gives it.
	KeyID string `json:"key_id"`
	// The MAC key, in base64url, as a placeholder such as {env.X} or {file.X}.
	MACKey string `json:"mac_key"`
}

// CaddyModule returns the Caddy module information.
func (*ACME) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "est.upstreams.acme", New: func() caddy.Module { return new(ACME) }}
}

// UnmarshalCaddyfile reads:
//
//	upstream [NAME] acme DIRECTORY {
//		root FILE
//		tls_root FILE
//		chain FILE
//		contact EMAIL…
//		eab KEY_ID PLACEHOLDER
//		challenge http-01 | dns-01 PROVIDER [ARGUMENT…] { … }
//		resolvers ADDRESS…
//		propagation_delay DURATION
//		propagation_timeout DURATION | off
//		override_domain NAME
//		profile NAME
//		common_name
//		times
//		lifetime DURATION
//		backdate DURATION
//		wait DURATION
//		timeout DURATION
//		max_connections N
//	}
func (u *ACME) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	b := upstreamBlock{Dispenser: d, module: "acme", form: "https://HOST/DIRECTORY"}
	return b.upstream(&u.addressOptions, u.options(), u.complete)
}

func (u *ACME) options() options {
	return u.addressOptions.options().with(u.chainOption.options()).with(options{
		"challenge": challengeOption(u), "resolvers": resolversOption(u), "propagation_delay": propagationDelayOption(u),
		"propagation_timeout": propagationTimeoutOption(u), "override_domain": overrideDomainOption(u),
		"tls_root": valueOf("FILE", &u.TLSRoot), "contact": contactOption(u), "eab": eabOption(u),
		"profile": valueOf("NAME", &u.Profile), "common_name": flagOf(&u.CommonName), "times": flagOf(&u.Times),
		"lifetime": durationOf("90d", &u.Lifetime), "backdate": durationOf("61m", &u.Backdate), "wait": durationOf("30s", &u.Wait),
	})
}

func contactOption(u *ACME) option {
	return func(b upstreamBlock) error {
		if u.Contact = b.RemainingArgs(); len(u.Contact) == 0 {
			return b.Errf("acme: contact takes one address of mail at least: `contact EMAIL…`")
		}
		return nil
	}
}

func eabOption(u *ACME) option {
	return func(b upstreamBlock) error {
		u.EAB = new(ACMEBinding)
		// Not what stands there: it may be the key.
		if !b.AllArgs(&u.EAB.KeyID, &u.EAB.MACKey) {
			return b.Errf("acme: eab takes the key id and the MAC key: `eab KEY_ID PLACEHOLDER`")
		}
		return nil
	}
}

// complete says what is missing, or too much.
func (u *ACME) complete() error {
	if err := needsAddress("acme", &u.addressOptions); err != nil {
		return err
	}
	switch {
	case len(u.OtherURLs) > 0:
		return fmt.Errorf("acme takes one address, that of the directory, which names all others; %q is too much", u.OtherURLs[0])
	case u.Times && u.Lifetime != 0:
		return errors.New("acme: `times` tells the CA how long a certificate lives, and `lifetime` says that the CA decides: write one of them")
	case u.EAB != nil && u.EAB.KeyID == "":
		return errors.New("acme: eab has no key id")
	case u.DNS != nil && u.DNS.ProviderRaw == nil:
		return errors.New("acme: resolvers, propagation_delay, propagation_timeout and override_domain are for `challenge dns-01 PROVIDER`")
	case u.EAB != nil:
		return onlyPlaceholder("acme", "eab", u.EAB.MACKey, "ACME_EAB_KEY", "acme-eab")
	}
	return nil
}

// Provision reads the files, and loads the DNS provider. It opens no connection.
// Placeholders such as {env.X} are replaced in the address, the contacts, the key
// id and the files' names; that of the MAC key whenever it is needed.
func (u *ACME) Provision(ctx caddy.Context) error {
	err := errors.Join(u.complete(), expandAll(expandable{"tls_root", &u.TLSRoot}, expandable{"profile", &u.Profile}),
		expandEach("contact", u.Contact))
	if err != nil {
		return err
	}
	if err := u.addressOptions.load(); err != nil {
		return err
	}
	cfg := acme.Config{
		Directory: u.URL, Roots: u.pins, Profile: u.Profile, CommonName: u.CommonName, Times: u.Times, Lifetime: time.Duration(u.Lifetime),
		Backdate: time.Duration(u.Backdate), Wait: time.Duration(u.Wait), Timeout: time.Duration(u.Timeout), MaxConns: u.MaxConnections,
	}
	for _, address := range u.Contact {
		cfg.Contact = append(cfg.Contact, "mailto:"+address)
	}
	if cfg.TLSRoots, err = loadOptional("tls_root", u.TLSRoot); err != nil {
		return err
	}
	if cfg.Chain, err = u.chainOption.load(); err != nil {
		return err
	}
	if cfg.EAB, err = u.EAB.load(); err != nil {
		return err
	}
	if cfg.Challenge, cfg.Solver, err = u.solver(ctx); err != nil {
		return err
	}
	cfg.Accounts = newAccountFile(ctx.Storage(), u.URL, cfg.EAB)
	u.Upstream, err = acme.New(cfg)
	return u.orWrite(err, "https://HOST/DIRECTORY")
}

// load reads the MAC key once, so that a placeholder that stands for nothing is
// seen before it is needed. nil: there is no binding.
func (b *ACMEBinding) load() (*acme.EAB, error) {
	if b == nil {
		return nil, nil
	}
	id, err := expand("eab", b.KeyID)
	if err != nil {
		return nil, err
	}
	key, err := placeholder("eab", b.MACKey, acme.ParseMACKey)
	return &acme.EAB{KeyID: id, Key: key}, err
}

// CarriesAsWritten is what Carries says, without reading a file.
func (u *ACME) CarriesAsWritten() policy.Capabilities {
	return acme.Carries(u.CommonName)
}

// Identity is the address of the directory.
func (u *ACME) Identity() string { return "acme " + u.URL }

// afterWait is what an order may take beyond its time: answers to challenges are
// taken away.
const afterWait = 20 * time.Second

// IssueTimeout is how long issuing may take.
func (u *ACME) IssueTimeout() time.Duration {
	if u.Wait > 0 {
		return time.Duration(u.Wait) + afterWait
	}
	return acme.WaitFor(u.challenge()) + afterWait
}

// Needs refuses a policy all of whose certificates would end before the CA's do:
// each would be withheld.
func (u *ACME) Needs(validity time.Duration) error {
	if lifetime := time.Duration(u.Lifetime); validity < lifetime {
		return fmt.Errorf("the CA's certificates live %s (`lifetime`), and the policy plans %s at most: write `validity: {default: %s}` in the profile, and more where the CA counts from when it signs",
			policy.DurationText(lifetime), policy.DurationText(validity), policy.DurationText(lifetime))
	}
	return nil
}

// NoOwn refuses this server's own certificate: it is for id-kp-cmcRA.
func (*ACME) NoOwn() error {
	return errors.New("a CA that speaks ACME certifies no RA: write `certificate off`, so that Caddy gets the site's certificate as that of any site, or `certificate from` another upstream")
}

// CRLEnabled is false: ACME has no operation for a CRL.
func (*ACME) CRLEnabled() bool { return false }

// Expiries is empty: an account doesn't end.
func (*ACME) Expiries() map[string]time.Time { return nil }

var (
	_ Upstream              = (*ACME)(nil)
	_ writtenCapabilities   = (*ACME)(nil)
	_ ra.Revoker            = (*ACME)(nil)
	_ ra.Tolerance          = (*ACME)(nil)
	_ ra.Prober             = (*ACME)(nil)
	_ ra.Checker            = (*ACME)(nil)
	_ caddy.Provisioner     = (*ACME)(nil)
	_ caddyfile.Unmarshaler = (*ACME)(nil)
)
