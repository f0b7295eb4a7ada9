// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// cmcKeys are the operations that come by /fullcmc as well, under `fullcmc`.
// Each is as the operation of its name; who asks is what the CMC message proves,
// and not what the connection does: client_cert is the certificate that signed.
var cmcKeys = []operationKey{
	{"enroll", CMCEnroll, false}, {"reenroll", CMCReenroll, false}, {"on_behalf", CMCEnroll, true},
}

// Renews tells an operation that replaces a certificate.
func (name Op) Renews() bool { return name == SimpleReenroll || name == CMCReenroll }

// ByCMC tells an operation of /fullcmc.
func (name Op) ByCMC() bool {
	return name == CMCEnroll || name == CMCReenroll || name == CMCRevoke || name == FullCMC
}

// cmcRules are what `fullcmc` says beside its operations.
type cmcRules struct {
	spot      spot
	onBehalf  *op // apart, as Profile.onBehalf
	revokeAt  spot
	revokeOwn bool
	revokeRA  bool
	statusV1  bool
	anchors   bool
	// pendingByHTTP: what waits is answered by 202.
	pendingByHTTP bool
}

// fullCMC reads `fullcmc`.
func (c *compiler) fullCMC(p *Profile, n node) {
	if !n.present() {
		return
	}
	p.cmc.spot = n.spot()
	for _, key := range cmcKeys {
		o := c.operation(p, key, n.get(key.name))
		switch {
		case o == nil:
			continue
		case key.byRA:
			p.cmc.onBehalf = o
		default:
			p.operations[key.op] = o
		}
		for _, line := range o.who {
			c.provenByMessage(o, line)
		}
	}
	revoke := n.get("revoke")
	p.cmc.revokeAt, p.cmc.revokeOwn, p.cmc.revokeRA = revoke.spot(), revoke.get("own").on(), revoke.get("by_ra").on()
	if p.cmc.revokeRA && p.cmc.onBehalf == nil {
		c.add(revoke.get("by_ra").at, "`%s` names nobody: which RA may revoke what, the lines of `fullcmc.on_behalf` say", revoke.get("by_ra").path)
	}
	p.cmc.statusV1 = n.get("status_info").value() == bothStatuses
	p.cmc.pendingByHTTP = n.get("pending").value() == byHTTP
	p.cmc.anchors = n.get("publish_anchors").on()
	asks := func(key string) bool { return n.get(key).present() }
	if !p.Offers(FullCMC) && !slices.ContainsFunc([]string{"enroll", "reenroll", "on_behalf", "revoke"}, asks) {
		c.add(n.at, "`%s` offers nothing: it has none of `enroll`, `reenroll`, `on_behalf` and `revoke`", n.path)
	}
}

// bothStatuses stands for CMCStatusInfo beside CMCStatusInfoV2.
const bothStatuses = "both"

// StatusV1 says that answers of Full CMC have CMCStatusInfo beside
// CMCStatusInfoV2 (RFC 5272 section 6.1), for clients of RFC 2797.
func (p *Profile) StatusV1() bool { return p.cmc.statusV1 }

// byHTTP stands for 202 (RFC 7030 section 4.2.3).
const byHTTP = "http"

// PendingByHTTP says that a message of which all waits is answered by 202, and not by
// a message with the status pending.
func (p *Profile) PendingByHTTP() bool { return p.cmc.pendingByHTTP }

// PublishesAnchors says that answers of Full CMC have the roots of the CA (RFC
// 5272 section 6.15).
func (p *Profile) PublishesAnchors() bool { return p.cmc.anchors }

// provenByMessage: RFC 7030 section 3.3 lets the CMC message alone say who asks.
// Of a line that HTTP credentials fill, it would prove nothing.
func (c *compiler) provenByMessage(o *op, line whoLine) {
	proves := func(p proof) bool { return p.isCert() || p.via == ViaProof }
	if !slices.ContainsFunc(line.proofs, proves) {
		c.add(line.spot.at, "a line of `%s` wants what a CMC message itself proves: a `client_cert`, which signs it, or a `one_time_password`", o.whoAt.path)
	}
}

// registrarsOf gives the operation by which RAs ask for others.
func (p *Profile) registrarsOf(name Op) *op {
	switch name {
	case SimpleEnroll:
		return p.onBehalf
	case CMCEnroll, CMCRevoke:
		return p.cmc.onBehalf
	default:
		return nil
	}
}

// Relays says whether an RA may bring what others have signed: a message to
// /fullcmc whose signer is the device comes over the RA's own connection. There
// must be a line of `on_behalf`, under `fullcmc` or the profile, that names the
// RA and takes each of the names.
func (p *Profile) Relays(by Registrar, names csr.Names, now time.Time) bool {
	return p.mayAskFor(p.onBehalf, by, names, now) || p.mayAskFor(p.cmc.onBehalf, by, names, now)
}

func (p *Profile) mayAskFor(o *op, by Registrar, names csr.Names, now time.Time) bool {
	if o == nil || !by.Proven() {
		return false
	}
	line, _ := o.gate(asking{profile: p, op: o, who: by.who, by: by, now: now})
	if line == nil || len(names.Subject)+len(names.SAN) == 0 {
		return false
	}
	return !slices.ContainsFunc(line.bounds.names(names), func(n boundName) bool {
		if n.rule == nil || !n.text {
			return true
		}
		_, err := n.rule.accepts(n.value)
		return err != nil
	})
}

// A Revocation is a request to revoke a certificate of this CA.
type Revocation struct {
	// Names are those of the certificate.
	Names csr.Names
	// Own is true where that very certificate signed the request.
	Own bool
	// By is the RA that signed it; the zero value: none.
	By  Registrar
	Now time.Time
}

// DecideRevocation says whether a certificate may be revoked. Finding is why
// not.
func (p *Profile) DecideRevocation(r Revocation) (allowed bool, why Finding) {
	at := p.cmc.revokeAt
	if at.at.Line == 0 {
		at = p.spot
	}
	switch {
	case r.Own && p.cmc.revokeOwn:
		return true, Finding{}
	case r.By.Proven() && p.cmc.revokeRA && p.mayAskFor(p.cmc.onBehalf, r.By, r.Names, r.Now):
		return true, Finding{}
	case r.Own:
		return false, finding(at, Refused, describeNames(r.Names), "", "nobody may revoke the own certificate here (`fullcmc.revoke.own`)")
	case r.By.Proven():
		return false, finding(at, Refused, describeNames(r.Names), "", "no line of `fullcmc.on_behalf` lets this RA revoke a certificate for %s", describeNames(r.Names))
	default:
		return false, finding(at, Refused, describeNames(r.Names), "", "the certificate is not the one that signed the request, nor is the signer a registration authority")
	}
}
