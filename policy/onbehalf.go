// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// RoleRA is the role of a client that asks on behalf of others.
const RoleRA = "ra"

// cmcRA is the name of id-kp-cmcRA (RFC 6402 section 2.10) in a policy file.
const cmcRA = "cmcRA"

// A Registrar is a client that is a registration authority (RFC 7030 section
// 3.7). It is a type of its own, which only NewRegistrar makes, so that no end
// entity's Identity comes where an RA's is wanted. The zero value is none.
type Registrar struct {
	who     Identity
	issuers []string
}

// NewRegistrar gives the RA that a verified client is. RFC 7030 section 3.7
// wants two things of its certificate: id-kp-cmcRA among the extended key
// usages, for which anyExtendedKeyUsage doesn't stand, and that the EST CA
// issued it. issuers are, of who.Anchors, those whose own issuing key signed
// the certificate and whose certificates for id-kp-cmcRA count; the caller has
// proven it. Which RA may ask for what, the lines of `on_behalf` say: an RA that
// none of them names is a client as any other.
func NewRegistrar(who Identity, issuers []string) (Registrar, error) {
	switch {
	case who.Cert == nil:
		return Registrar{}, errors.New("no client certificate was presented")
	case !CarriesCMCRA(who.Cert):
		return Registrar{}, errors.New("the client certificate is not for id-kp-cmcRA")
	}
	vouching := slices.DeleteFunc(slices.Clone(issuers), func(name string) bool { return !slices.Contains(who.Anchors, name) })
	if len(vouching) == 0 {
		return Registrar{}, fmt.Errorf("the client certificate is for id-kp-cmcRA, and no issuer of registration authorities has signed it: it verifies under %s",
			showList(who.Anchors))
	}
	return Registrar{who, vouching}, nil
}

// Proven tells an RA from the zero value.
func (r Registrar) Proven() bool { return r.who.Cert != nil && len(r.issuers) > 0 }

// Identity is what else is proven of the RA.
func (r Registrar) Identity() Identity { return r.who }

// Knowing is the same RA, with what a webhook says of the request.
func (r Registrar) Knowing(data Facts) Registrar {
	r.who.Data = data
	return r
}

// Issuers are the anchors whose issuing key signed the RA's certificate.
func (r Registrar) Issuers() []string { return slices.Clone(r.issuers) }

// CarriesCMCRA says whether a certificate is for id-kp-cmcRA; the usage
// anyExtendedKeyUsage isn't that. crypto/x509 has no name for id-kp-cmcRA (RFC 6402 section 2.10).
func CarriesCMCRA(cert *x509.Certificate) bool {
	oid, _ := extKeyUsageOID(cmcRA)
	return containsOID(cert.UnknownExtKeyUsage, oid)
}

// An OnBehalf is a request to /simpleenroll or /fullcmc that an RA brings for somebody
// else. Only DecideOnBehalf decides one, by the profile's `on_behalf`.
type OnBehalf struct {
	// CMC says that it came by /fullcmc; then `fullcmc.on_behalf` decides.
	CMC       bool
	Label     string
	By        Registrar
	CSR       *csr.Request
	Linking   Linking
	KeyHolder *KeyHolder
	Until     time.Time // as in Request
	Now       time.Time
}

// OffersOnBehalf tells whether RAs may ask for others.
func (p *Profile) OffersOnBehalf() bool { return p.onBehalf != nil }

// Takes tells whether the profile takes such a request from an RA.
func (r OnBehalf) Takes(p *Profile) bool { return p.registrarsOf(r.Op()) != nil && r.By.Proven() }

// Op is the operation by which it came.
func (r OnBehalf) Op() Op {
	if r.CMC {
		return CMCEnroll
	}
	return SimpleEnroll
}

// GateOnBehalf is Gate for an RA that a line of the operation's `on_behalf`
// names.
func (p *Profile) GateOnBehalf(name Op, by Registrar, now time.Time) Gate {
	return p.gateOnBehalf(p.registrarsOf(name), by, now)
}

func (p *Profile) gateOnBehalf(o *op, by Registrar, now time.Time) Gate {
	if o == nil {
		return Gate{Findings: []Finding{p.noOnBehalf()}}
	}
	_, gate := o.gate(asking{profile: p, op: o, who: by.who, by: by, now: now})
	return gate
}

// DecideOnBehalf is Decide for a request that an RA brings.
func (p *Profile) DecideOnBehalf(req OnBehalf) Decision {
	decision, _ := p.ExplainOnBehalf(req, false)
	return decision
}

// ExplainOnBehalf decides, and gives the rules asked where explain is set.
func (p *Profile) ExplainOnBehalf(req OnBehalf, explain bool) (Decision, []Step) {
	o := p.registrarsOf(req.Op())
	if o == nil || !req.By.Proven() {
		return Decision{Profile: p.name, Policy: p.policy, Findings: []Finding{p.noOnBehalf()}}, nil
	}
	return p.judge(o, req.Arrival().Request, req.By, explain)
}

func (p *Profile) noOnBehalf() Finding {
	f := finding(p.spot, Refused, "", "", "the profile `%s` takes no requests on behalf of others from this client", p.name)
	f.Class = BadIdentity
	return f
}

// An Arrival is a request as it came, before a profile has said whether its
// client asks for itself or for others. It is what a record keeps, since another
// policy may say otherwise.
type Arrival struct {
	Request
	By Registrar // the zero value where the client is no RA
}

// Arrival gives the request as it came.
func (r OnBehalf) Arrival() Arrival {
	return Arrival{By: r.By, Request: Request{
		Op: r.Op(), Label: r.Label, Who: r.By.who, CSR: r.CSR, Linking: r.Linking, KeyHolder: r.KeyHolder, Until: r.Until, Now: r.Now,
	}}
}

// OnBehalf gives the request as one that an RA brings: it came to /simpleenroll
// from an RA that a line of `on_behalf` names. Whatever else that line wants, the
// RA never asks for itself there. /simplereenroll is never on behalf: what is
// renewed is the certificate that the client presents (RFC 7030 section 3.3.2),
// and of a device's behind an RA nothing is proven.
func (a Arrival) OnBehalf(p *Profile) (OnBehalf, bool) {
	if !p.registers(p.registrarsOf(a.Op), a.By, a.Now) {
		return OnBehalf{}, false
	}
	return OnBehalf{CMC: a.Op.ByCMC(), Label: a.Label, By: a.By.Knowing(a.Who.Data), CSR: a.CSR, Linking: a.Linking, KeyHolder: a.KeyHolder, Until: a.Until, Now: a.Now}, true
}

// registers tells whether a line of `on_behalf` names an RA.
func (p *Profile) registers(o *op, by Registrar, now time.Time) bool {
	if o == nil || !by.Proven() {
		return false
	}
	a := asking{profile: p, op: o, who: by.who, by: by, now: now}
	return slices.ContainsFunc(o.who, func(line whoLine) bool {
		a.names = line.names
		return slices.ContainsFunc(line.proofs, func(proof proof) bool { return proof.role && proof.checkCert(a) == "" })
	})
}

// Gate is the answer of the profile's gate. Where an RA that no line names is
// kept out, the lines of `on_behalf` say why, too.
func (a Arrival) Gate(p *Profile) Gate {
	if _, on := a.OnBehalf(p); on {
		return p.gateOnBehalf(p.registrarsOf(a.Op), a.By, a.Now)
	}
	gate := p.Gate(a.Op, a.Who, a.Now)
	if o := p.registrarsOf(a.Op); !gate.Open && o != nil && a.By.Proven() {
		gate.Findings = append(gate.Findings, p.gateOnBehalf(o, a.By, a.Now).Findings...)
	}
	return gate
}

// Decide is what the profile decides.
func (a Arrival) Decide(p *Profile) Decision {
	decision, _ := a.decide(p, false)
	return decision
}

// Explain decides, and gives each rule that was asked, in that order.
func (a Arrival) Explain(p *Profile) (Decision, []Step) { return a.decide(p, true) }

func (a Arrival) decide(p *Profile, explain bool) (Decision, []Step) {
	if on, is := a.OnBehalf(p); is {
		return p.ExplainOnBehalf(on, explain)
	}
	return p.decide(a.Request, explain)
}

// registrars refuses what makes a line of an RA no line, or an RA of a line that
// is none. Our own server's certificate carries id-kp-cmcRA too, so an RA is
// named by what is its alone.
func (c *compiler) registrars(o *op, line whoLine) {
	i := slices.IndexFunc(line.proofs, func(p proof) bool { return p.role })
	if !o.byRA {
		if i >= 0 {
			c.add(line.proofs[i].roleAt, "`role: ra` belongs to `on_behalf`: elsewhere a registration authority is a client as any other")
		}
		if line.bounds.written {
			c.add(line.bounds.spot.at, "`%s` belongs to `on_behalf`", line.bounds.spot.path)
		}
		return
	}
	if i < 0 {
		c.add(line.spot.at, "a line of `%s` wants a `client_cert` with `role: ra`: only registration authorities ask for others (RFC 7030 section 3.7)", o.whoAt.path)
		return
	}
	if i := slices.IndexFunc(line.proofs, isOnce); i >= 0 {
		c.add(line.proofs[i].spot.at, "`%s` is a device's own, which asks for itself: it can't stand under `on_behalf`", oneTimePassword)
	}
	if p := line.proofs[i]; p.spki == nil && p.pin == nil && len(p.subject) == 0 {
		c.add(p.spot.at, "`role: ra` without a name stands for every certificate with id-kp-cmcRA under the anchor %s, this server's own too: "+
			"write `spki_sha256`, `cert_sha256` or `subject`", quote(p.anchor))
	}
	if !line.bounds.written {
		c.add(line.spot.at, "`names` is missing: patterns of the names for which the RA may ask")
		return
	}
	c.boundSets(line)
}

// boundSets: a value that the policy sets and the RA may not have would refuse
// every request.
func (c *compiler) boundSets(line whoLine) {
	disagree := func(r *nameRule, bound *nameRule) {
		for _, value := range r.set {
			if bound == nil {
				c.add(r.setAt.at, "`set` and the `names` of line %d disagree: the RA may have no %s", line.bounds.spot.at.Line, r.label)
			} else if _, err := bound.accepts(value); err != nil {
				c.add(r.setAt.at, "`set` and the `names` of line %d disagree: %s can't be set: %v", line.bounds.spot.at.Line, quote(value), err)
			}
		}
	}
	for _, rule := range line.names.subject.rules {
		if bound, is := line.bounds.of(rule.oid.String()); is {
			disagree(&rule.nameRule, bound)
		}
	}
	for _, rule := range line.names.san.rules {
		disagree(&rule.nameRule, line.bounds.san[rule.kind.key])
	}
}
