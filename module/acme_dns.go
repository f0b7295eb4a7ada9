// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-est/estra/ra/upstream/acme"
)

// ACMEDNS has names proven by dns-01, with a DNS provider module of Caddy.
type ACMEDNS struct {
	// The DNS provider.
	ProviderRaw json.RawMessage `json:"provider,omitempty" caddy:"namespace=dns.providers inline_key=name"`
	// DNS resolvers by which zones are found and records are looked for. Default:
	// the system's, and the authoritative servers for records.
	Resolvers []string `json:"resolvers,omitempty"`
	// How long to wait before records are looked for. Default: 0.
	PropagationDelay caddy.Duration `json:"propagation_delay,omitempty"`
	// How long records are looked for; -1: they aren't. Default: 2m.
	PropagationTimeout caddy.Duration `json:"propagation_timeout,omitempty"`
	// The name of the record in place of _acme-challenge.NAME, which leads there by
	// a CNAME. Default: none.
	OverrideDomain string `json:"override_domain,omitempty"`
}

// dns is where the options of dns-01 go, wherever `challenge` stands.
func (u *ACME) dns() *ACMEDNS {
	if u.DNS == nil {
		u.DNS = new(ACMEDNS)
	}
	return u.DNS
}

// challengeOption reads the type, and the module of a DNS provider.
func challengeOption(u *ACME) option {
	return func(b upstreamBlock) error {
		if !b.NextArg() {
			return b.Errf("acme: challenge takes http-01, or dns-01 and a DNS provider: `challenge dns-01 PROVIDER`")
		}
		switch kind := b.Val(); kind {
		case acme.HTTP01:
			if b.NextArg() {
				return b.Errf("acme: challenge http-01 takes nothing more, and has %q", b.Val())
			}
			return nil
		case acme.DNS01:
		default:
			return b.Errf("acme: challenge %q is neither http-01 nor dns-01", kind)
		}
		if !b.NextArg() {
			return b.Errf("acme: challenge dns-01 needs a DNS provider module of Caddy, such as `challenge dns-01 cloudflare {env.CF_API_TOKEN}`")
		}
		name := b.Val()
		mod, err := caddyfile.UnmarshalModule(b.Dispenser, "dns.providers."+name)
		if err != nil {
			return err
		}
		u.dns().ProviderRaw = caddyconfig.JSONModuleObject(mod, "name", name, nil)
		return nil
	}
}

func resolversOption(u *ACME) option {
	return func(b upstreamBlock) error {
		if u.dns().Resolvers = b.RemainingArgs(); len(u.DNS.Resolvers) == 0 {
			return b.Errf("acme: resolvers takes one address at least: `resolvers ADDRESS…`")
		}
		return nil
	}
}

func propagationDelayOption(u *ACME) option {
	return func(b upstreamBlock) error { return b.duration("30s", &u.dns().PropagationDelay) }
}

// propagationTimeoutOption: records that nobody else sees needn't be looked for.
func propagationTimeoutOption(u *ACME) option {
	return func(b upstreamBlock) error {
		if next := *b.Dispenser; next.NextArg() && next.Val() == "off" && !next.NextArg() {
			b.NextArg()
			u.dns().PropagationTimeout = -1
			return nil
		}
		return b.duration("2m", &u.dns().PropagationTimeout)
	}
}

func overrideDomainOption(u *ACME) option {
	return func(b upstreamBlock) error { return b.value("NAME", &u.dns().OverrideDomain) }
}

// challenge is the type that is solved.
func (u *ACME) challenge() string {
	if u.DNS != nil {
		return acme.DNS01
	}
	return acme.HTTP01
}

// solver is what proves names.
func (u *ACME) solver(ctx caddy.Context) (string, acme.Solver, error) {
	if u.DNS == nil {
		return acme.HTTP01, newHTTPSolver(ctx), nil
	}
	if err := expandAll(expandable{"override_domain", &u.DNS.OverrideDomain}); err != nil {
		return "", nil, err
	}
	if err := expandEach("resolvers", u.DNS.Resolvers); err != nil {
		return "", nil, err
	}
	mod, err := ctx.LoadModule(u.DNS, "ProviderRaw")
	if err != nil {
		return "", nil, err
	}
	provider, ok := mod.(certmagic.DNSProvider)
	if !ok {
		return "", nil, errors.New("the DNS provider can't add and delete records")
	}
	return acme.DNS01, dnsSolver{&certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: provider, Resolvers: u.DNS.Resolvers, OverrideDomain: u.DNS.OverrideDomain,
		PropagationDelay: time.Duration(u.DNS.PropagationDelay), PropagationTimeout: time.Duration(u.DNS.PropagationTimeout),
		Logger: ctx.Logger().Named("dns"),
	}}}, nil
}

// dnsSolver is certmagic's. A name has as many TXT records as there are orders.
type dnsSolver struct{ *certmagic.DNS01Solver }

// Hold implements acme.Solver.
func (dnsSolver) Hold(context.Context, []string) (func(), error) { return func() {}, nil }

var _ acme.Solver = dnsSolver{}
