// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"maps"
	"slices"
)

// Bind holds the policy against the Caddyfile: it refuses anchors, accounts,
// providers and upstreams that aren't there, and an upstream that can't
// express what a profile plans. It chooses the upstream where there is only
// one. The error is Errors.
func (p *Policy) Bind(env Environment) error {
	b := &binder{env: env}
	for _, profile := range p.profiles {
		for _, operation := range profile.offered() {
			if !operation.borrowed {
				b.who(operation.who)
			}
			b.keygen(profile, operation)
			b.counts(operation.renewal.cap)
		}
		b.upstream(profile)
		b.registrars(profile)
		b.review(p, profile)
	}
	if at := p.readsData; at.at.Line > 0 && !env.Webhook {
		b.add(at.at, "`%s` reads who.data, and est has no `webhook` in the Caddyfile", at.path)
	}
	sortFindings(p.lint)
	return b.err()
}

// review adds the warnings that the Caddyfile answers, and takes away those
// that it refutes.
func (b *binder) review(p *Policy, profile *Profile) {
	renewable := func(anchor string) bool { return slices.Contains(b.env.AnyEKU, anchor) }
	anchors := profile.UsesAnchors(SimpleReenroll)
	p.lint = slices.DeleteFunc(p.lint, func(f Finding) bool {
		return f.Lint == lintNoClientAuth && f.Path == profile.usage.extAt.path && !slices.ContainsFunc(anchors, func(a string) bool { return !renewable(a) })
	})
	for _, o := range profile.offered() {
		if o.borrowed {
			continue
		}
		b.unrevoked(p, o)
		b.weakDigest(p, o)
	}
}

func (b *binder) unrevoked(p *Policy, o *op) {
	said := map[string]bool{}
	for _, line := range o.who {
		for _, proof := range line.proofs {
			if !proof.isCert() || said[proof.anchor] || !slices.Contains(b.env.Unrevoked, proof.anchor) {
				continue
			}
			said[proof.anchor] = true
			p.lint = append(p.lint, warning(lintNoRevocation, proof.anchorAt,
				"client certificates count under the anchor %s, and nobody can revoke them: it asks no CRL and no OCSP responder", quote(proof.anchor)))
		}
	}
}

func (b *binder) weakDigest(p *Policy, o *op) {
	for _, line := range o.who {
		for _, proof := range line.proofs {
			if b.env.Digest.MD5 && proof.method == httpDigest {
				p.lint = append(p.lint, warning(lintDigestMD5, proof.spot,
					"accounts of `digest` may answer with MD5, whose answers a graphics card tries by the billion: leave `md5` out of the Caddyfile once no device needs it"))
			}
		}
	}
}

type binder struct {
	problems
	env Environment
}

func (b *binder) who(lines []whoLine) {
	for _, line := range lines {
		for _, proof := range line.proofs {
			switch {
			case proof.isCert():
				b.known(proof.anchorAt.at, "anchor", "anchors", proof.anchor, b.env.Anchors)
				if proof.registry != "" {
					b.known(proof.registryAt.at, "registry", "registry", proof.registry, b.env.Registries)
				}
				if proof.profile != "" && !b.env.Store {
					b.add(proof.profileAt.at, "`%s` asks the inventory, which is in the store, and there is none", proof.profileAt.path)
				}
			case proof.method == oneTimePassword: // the store has those
			case proof.isSRP(): // BindRealms knows those
			case proof.method == httpBasic:
				for _, user := range proof.users {
					b.known(user.at, "user", "basic", user.name, b.env.Users)
				}
			case proof.method == httpDigest:
				if !b.env.Digest.Unread {
					for _, user := range proof.users {
						b.known(user.at, "user", "digest", user.name, b.env.Digest.Users)
					}
				}
			default:
				if name, isToken := proof.token(); isToken {
					b.known(proof.spot.at, "bearer", "bearer", name, b.env.Bearers)
					continue
				}
				b.known(proof.spot.at, "provider", "provider", proof.method, b.env.Providers)
			}
		}
	}
}

// keygen refuses an upstream that makes no keys, where it is to make them.
func (b *binder) keygen(p *Profile, o *op) {
	if o.keygen == nil || !o.keygen.upstream {
		return
	}
	if can, ok := b.env.Upstreams[b.upstreamOf(p)]; ok && !can.Keygen {
		b.add(o.keygen.madeByAt.at, "the upstream %s makes no keys: `%s: ra` has this server make them", quote(b.upstreamOf(p)), o.keygen.madeByAt.path)
	}
}

// counts refuses caps where what they count would be forgotten.
func (b *binder) counts(c renewalCap) {
	if b.env.Store {
		return
	}
	for _, at := range []struct {
		spot   spot
		counts bool
	}{{c.mostAt, c.most > 0}, {c.withinAt, c.within > 0}} {
		if at.counts {
			b.add(at.spot.at, "`%s` wants a store that keeps what was counted, and there is none", at.spot.path)
		}
	}
}

// upstreamOf gives the name of the upstream that will be the profile's.
func (b *binder) upstreamOf(p *Profile) string {
	if p.upstream == "" && len(b.env.Upstreams) == 1 {
		for name := range b.env.Upstreams {
			return name
		}
	}
	return p.upstream
}

// registrars refuses a role under an anchor whose issuers make no RAs for the
// profile. RFC 7030 section 3.7: an RA's certificate is issued by the EST CA,
// which for a profile is its upstream; other issuers, the Caddyfile names.
func (b *binder) registrars(p *Profile) {
	if p.onBehalf == nil {
		return
	}
	for _, line := range p.onBehalf.who {
		for _, proof := range line.proofs {
			name := proof.anchor
			if !proof.role || !slices.Contains(b.env.Anchors, name) || slices.Contains(b.env.RAIssuers, name) ||
				p.upstream != "" && b.env.Issuing[name] == p.upstream {
				continue
			}
			b.add(proof.anchorAt.at, "`role: ra` wants an anchor of the profile's own upstream, %s, or one that has `ra_issuer` in the Caddyfile; %s is neither",
				quote(p.upstream), quote(name))
		}
	}
}

// known refuses a name that isn't among those of an option of `est`.
func (b *binder) known(at Pos, what, option, name string, known []string) {
	if !slices.Contains(known, name) {
		b.add(at, "est has no %s %s in the Caddyfile's `%s`%s; there is: %s", what, quote(name), option, didYouMean(name, known), showList(known))
	}
}

func (b *binder) upstream(p *Profile) {
	names := slices.Sorted(maps.Keys(b.env.Upstreams))
	name := p.upstream
	switch {
	case name != "":
		if _, ok := b.env.Upstreams[name]; !ok {
			b.known(p.upstreamAt.at, "upstream", "upstream", name, names)
			return
		}
	case len(names) == 1:
		name = names[0]
	case len(names) == 0:
		b.add(p.spot.at, "the profile `%s` needs an upstream, and the Caddyfile has none", p.name)
		return
	default:
		b.add(p.spot.at, "the profile `%s` names no upstream, and the Caddyfile has several: %s", p.name, showList(names))
		return
	}
	b.carries(p, name, b.env.Upstreams[name])
	p.upstream = name
}
