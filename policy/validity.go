// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"time"

	"cel.dev/cel-go/cel"
)

// leastValidity is the shortest life of a certificate: below it clocks that
// differ, and the time a CA takes, leave nothing of it.
const leastValidity = time.Minute

// A lifeLimit is a certificate that a new one may not outlive.
type lifeLimit struct {
	spot   spot
	anchor bool // the anchor's; else the client's own
}

func (b lifeLimit) String() string {
	if b.anchor {
		return "the anchor of the client certificate"
	}
	return "the client certificate"
}

// validity is read after the operations: `within` wants of each line of `who`
// that it demands a certificate.
func (c *compiler) validity(p *Profile, n node) {
	initial, longest := n.get("default"), n.get("max")
	p.validity, _ = initial.duration()
	p.validityAt = initial.spot()
	p.longest, p.longestAt = p.validity, p.validityAt
	if limit, ok := longest.duration(); ok {
		p.longest, p.longestAt = limit, longest.spot()
		if p.validity > limit {
			c.add(initial.at, "the validity %s is longer than the profile's max, %s", shortDuration(p.validity), shortDuration(limit))
		}
	}
	if _, ok := initial.duration(); ok && p.validity < leastValidity {
		c.add(initial.at, "the validity %s is too short: a minute is the least", shortDuration(p.validity))
	}
	if fence := c.guard.validity; fence > 0 && p.longest > fence {
		c.add(p.longestAt.at, "the validity %s is longer than the guardrail allows: %s on line %d",
			shortDuration(p.longest), shortDuration(fence), c.guard.validityAt.at.Line)
	}
	if set := n.get("set").get("cel"); set.present() {
		p.validityAt = n.get("set").spot()
		p.validityBy = c.expression(set, c.scope, cel.DurationType)
	}
	c.within(p, n.get("within"))
}

func (c *compiler) within(p *Profile, n node) {
	for _, item := range n.texts() {
		b := lifeLimit{spot: spot{item.at, item.path}, anchor: item.value() == "anchor"}
		if slices.ContainsFunc(p.within, func(other lifeLimit) bool { return other.anchor == b.anchor }) {
			c.add(item.at, "%s stands twice in `%s`", quote(item.value()), n.path)
			continue
		}
		p.within = append(p.within, b)
		if !b.anchor && p.Offers(SimpleReenroll) {
			c.warn(lintNoMoreTime, b.spot, "a renewal gives no more time: its client certificate is the one that it replaces")
		}
	}
	if n.isList() && len(n.items()) == 0 {
		c.add(n.at, "`%s` is an empty list: leave it out where nothing else bounds the validity", n.path)
	}
	if len(p.within) == 0 {
		return
	}
	for _, o := range p.offered() {
		if o.borrowed {
			continue
		}
		c.demandsCerts(o, n)
	}
}

func (c *compiler) demandsCerts(o *op, within node) {
	for _, line := range o.who {
		if !slices.ContainsFunc(line.proofs, proof.isCert) {
			c.add(within.at, "`%s` wants a client certificate, and the line of `%s.who` on line %d demands none",
				within.path, o.spot.path, line.spot.at.Line)
		}
	}
}

// validity sets the life of the certificate, and shortens it where another
// certificate ends before.
func (j *judge) validity() {
	if j.profile.validityBy != nil && !j.evaluateValidity() {
		return
	}
	if j.explain {
		j.asked(j.profile.validityAt, "", shortDuration(j.plan.Validity), "sets")
		if j.profile.longestAt != j.profile.validityAt {
			j.asked(j.profile.longestAt, "", "at most "+shortDuration(j.profile.longest), "holds")
		}
		if fence := j.profile.guard.validity; fence > 0 {
			j.asked(j.profile.guard.validityAt, "", "at most "+shortDuration(fence), "holds")
		}
	}
	for _, b := range j.profile.within {
		end, known := j.end(b)
		if !known {
			if j.line != nil { // without a line there is no identity to speak of
				j.refuse(b.spot, ByPolicy, "", "", "the certificate must end with %s, and when that is isn't known", b)
			}
			continue
		}
		j.endWith(b.spot, b.String(), end)
	}
	if !j.req.Until.IsZero() {
		j.endWith(j.op.spot, "what the registration authority asks for", j.req.Until)
	}
}

// evaluateValidity: what an expression gives lies within what the file says
// when it is loaded.
func (j *judge) evaluateValidity() bool {
	if j.input == nil {
		return false // nobody asks: there is no `who`
	}
	p := j.profile
	life, err := p.validityBy.duration(j.input)
	if err != nil {
		j.unevaluated(p.validityBy.at, "", err)
		return false
	}
	got := life.String()
	switch {
	case life < leastValidity:
		j.refuse(p.validityAt, ByPolicy, got, "a minute at least", "the expression gives the validity %s, and a minute is the least", got)
	case life > p.longest:
		j.refuse(p.longestAt, ByPolicy, got, "at most "+shortDuration(p.longest),
			"the expression gives the validity %s, and the profile's longest is %s", got, shortDuration(p.longest))
	default:
		j.plan.Validity = life.Truncate(time.Second)
		return true
	}
	return false
}

// end gives the last second of the certificate that bounds; of several anchors
// the first to end counts.
func (j *judge) end(b lifeLimit) (end time.Time, known bool) {
	who := j.req.Who
	if who.Cert == nil || j.line == nil {
		return time.Time{}, false
	}
	if !b.anchor {
		return who.Cert.NotAfter, true
	}
	for _, p := range j.line.proofs {
		i := slices.Index(who.Anchors, p.anchor)
		if !p.isCert() || i < 0 || i >= len(who.AnchorEnds) || who.AnchorEnds[i].IsZero() {
			continue
		}
		if !known || who.AnchorEnds[i].Before(end) {
			end, known = who.AnchorEnds[i], true
		}
	}
	return end, known
}

// endWith counts from the second at which the certificate begins, the last one
// included (RFC 5280 section 4.1.2.5).
func (j *judge) endWith(s spot, what string, end time.Time) {
	begin := j.req.Now.UTC().Truncate(time.Second)
	end = end.UTC().Truncate(time.Second)
	if !begin.Add(j.plan.Validity - time.Second).After(end) {
		j.asked(s, "", timeText(end), "holds")
		return
	}
	left := end.Sub(begin) + time.Second
	if left < leastValidity {
		j.refuse(s, ByPolicy, timeText(end), "a minute at least", "the certificate must end with %s, on %s, which leaves no time for it", what, timeText(end))
		return
	}
	j.add(s, Rewritten, ByPolicy, shortDuration(j.plan.Validity), shortDuration(left),
		"the validity %s is shortened to %s: %s ends on %s", shortDuration(j.plan.Validity), shortDuration(left), what, timeText(end))
	j.plan.Validity = left
}
