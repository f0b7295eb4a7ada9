// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// A Chain is how a certificate goes back to an enrolment by other credentials:
// who has stolen a key renews with nothing else (CVE-2021-20179).
type Chain struct {
	// Renewals is how many certificates in a row, this one among them, were
	// issued on the strength of nothing but the one before.
	Renewals int
	// Since is when the enrolment was.
	Since time.Time
}

// ChainOf gives the chain of a certificate. A zero time: it began with the
// certificate itself, as that of one which nobody has counted.
func ChainOf(cert *x509.Certificate, renewals int, since time.Time) *Chain {
	if since.IsZero() {
		since = cert.NotBefore
	}
	return &Chain{renewals, since}
}

// next is the chain of a certificate that is issued for one of this chain.
func (c Chain) next() Chain { return Chain{c.Renewals + 1, c.Since} }

// renewalCap is what bounds a chain. The zero value is no bound.
type renewalCap struct {
	most     int // renewals; 0: any number
	mostAt   spot
	within   time.Duration // enrolled_within; 0: for ever
	withinAt spot
}

func (r renewalCap) counts() bool { return r.most > 0 || r.within > 0 }

func (c *compiler) renewalCap(n node) renewalCap {
	most, within := n.get("renewals"), n.get("enrolled_within")
	r := renewalCap{mostAt: most.spot(), withinAt: within.spot()}
	var ok bool
	if r.most, ok = most.number(); ok && r.most == 0 {
		c.add(most.at, "`%s` is 0, so that nothing could be renewed: leave `%s` out", most.path, n.path)
	}
	if r.within, ok = within.duration(); ok && r.within == 0 {
		c.add(within.at, "`%s` is 0, so that nothing could be renewed: leave `%s` out", within.path, n.path)
	}
	return r
}

// caps are those that hold for an operation: its own or, so that no other way
// leads past them, those of the profile.
func (p *Profile) caps(o *op) []renewalCap {
	if o.renewal.cap.counts() {
		return []renewalCap{o.renewal.cap}
	}
	var all []renewalCap
	for _, other := range p.offered() {
		if other.renewal.cap.counts() {
			all = append(all, other.renewal.cap)
		}
	}
	return all
}

// CountsRenewals tells whether the profile bounds how often a certificate is
// renewed: then Request.Chain is asked for, and Decision.Chain is to be kept.
func (p *Profile) CountsRenewals() bool {
	return slices.ContainsFunc(p.offered(), func(o *op) bool { return o.renewal.cap.counts() })
}

// CountsRenewals tells whether any profile bounds how often a certificate is
// renewed.
func (p *Policy) CountsRenewals() bool {
	return slices.ContainsFunc(p.profiles, (*Profile).CountsRenewals)
}

// Grace is how long after its notAfter a certificate of the profile may still
// be renewed.
func (p *Profile) Grace() time.Duration {
	var longest time.Duration
	for _, o := range p.offered() {
		longest = max(longest, o.expired)
	}
	return longest
}

// chain holds a request that nothing but a certificate of this CA proves
// against the caps, and gives the chain of the new certificate. Nil: nobody
// counts.
func (j *judge) chain() *Chain {
	caps := j.profile.caps(j.op)
	if len(caps) == 0 {
		return nil
	}
	old := j.req.Chain
	if old == nil && j.req.Op.Renews() && j.req.Renews != nil {
		// It was issued when nobody counted, or what was counted is lost.
		old = ChainOf(j.req.Renews, 0, time.Time{})
	}
	if old == nil || j.fresh() {
		return &Chain{Since: j.req.Now}
	}
	for _, c := range caps {
		j.often(c, *old)
		j.long(c, *old)
	}
	next := old.next()
	return &next
}

func (j *judge) often(c renewalCap, old Chain) {
	if c.most == 0 {
		return
	}
	next := old.next().Renewals
	got, want := fmt.Sprint(next), fmt.Sprintf("at most %d", c.most)
	if next <= c.most {
		j.asked(c.mostAt, got, want, "holds")
		return
	}
	j.refuse(c.mostAt, BadRenewal, got, want, "it would be renewal %d in a row since the enrolment on %s, and there may be %d: "+
		"the device must enrol again with other credentials than its certificate", next, timeText(old.Since), c.most)
}

func (j *judge) long(c renewalCap, old Chain) {
	if c.within == 0 {
		return
	}
	ends := old.Since.Add(c.within)
	got, want := timeText(j.req.Now), "until "+timeText(ends)
	if !j.req.Now.After(ends) {
		j.asked(c.withinAt, got, want, "holds")
		return
	}
	j.refuse(c.withinAt, BadRenewal, got, want,
		"the enrolment was on %s, more than %s ago: the device must enrol again with other credentials than its certificate", timeText(old.Since), shortDuration(c.within))
}

// fresh tells whether some line of the operation holds by more than a
// certificate, whichever line decides.
func (j *judge) fresh() bool {
	a := asking{profile: j.profile, op: j.op, who: j.req.Who, by: j.by, now: j.req.Now}
	return slices.ContainsFunc(j.op.who, func(l whoLine) bool {
		return slices.ContainsFunc(l.proofs, func(p proof) bool { return !p.isCert() }) && l.check(a).matched
	})
}

// otherWays warns of a profile that takes the certificates of another one's
// anchor, whose cap it doesn't have.
func (c *compiler) otherWays() {
	counted := map[string]*Profile{}
	for _, p := range c.policy.profiles {
		if p.CountsRenewals() {
			for _, anchor := range slices.Concat(p.UsesAnchors(SimpleReenroll), p.UsesAnchors(CMCReenroll)) {
				counted[anchor] = p
			}
		}
	}
	for _, p := range c.policy.profiles {
		if p.CountsRenewals() {
			continue
		}
		for _, o := range p.offered() {
			if !o.name.Renews() {
				continue
			}
			for _, line := range o.who {
				for _, proof := range line.proofs {
					if by := counted[proof.anchor]; by != nil {
						c.warn(lintUncounted, proof.anchorAt, "the profile `%s` bounds how often certificates under the anchor %s are renewed, and this one doesn't: "+
							"who has stolen a key may renew here for ever", by.name, quote(proof.anchor))
					}
				}
			}
		}
	}
}
