// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// renewal is what reenroll asks beyond enroll.
type renewal struct {
	namesAt   spot
	exact     bool // same_names: exact
	keyAt     spot
	keepKey   bool // same_key: allow
	windowAt  spot
	share     int // percent
	expiredAt spot
	cap       renewalCap
}

func (c *compiler) renewal(o *op, n node) {
	names, key, window, expired := n.get("same_names"), n.get("same_key"), n.get("window"), n.get("expired")
	o.renewal = renewal{
		namesAt: names.spot(), exact: names.value() == "exact",
		keyAt: key.spot(), keepKey: key.value() == "allow",
		windowAt: window.spot(), share: 100,
		expiredAt: expired.spot(),
		cap:       c.renewalCap(n),
	}
	if share, ok := window.share(); ok {
		o.renewal.share = share
	}
	o.expired, _ = expired.duration()
	if o.renewal.keepKey && !o.renewal.cap.counts() {
		c.warn(lintSameKey, o.renewal.keyAt, "the old key may be certified again: who has stolen it can renew for ever")
	}
}

// renewal holds a reenroll against the certificate that it replaces.
func (j *judge) renewal() {
	old := j.req.Renews
	if old == nil {
		j.refuse(j.op.spot, BadRenewal, "", "", "there is no certificate of this CA that the request could renew")
		return
	}
	j.sameNames(old)
	j.otherKey(old)
	j.inTime(old)
	if at := j.profile.usage.extAt; CarriesCMCRA(old) {
		j.add(at, Rewritten, ByPolicy, cmcRA, extKeyUsageText(j.plan.ExtKeyUsage),
			"the certificate being renewed is that of a registration authority; the new one is for %s alone, and makes none", extKeyUsageText(j.plan.ExtKeyUsage))
	}
}

// sameNames: RFC 7030 section 4.2.2, "the Subject field and SubjectAltName
// extension ... MUST be identical to the corresponding fields in the
// certificate being renewed". It is the request's own names that are compared,
// before any rewrite: the old certificate has the rewritten names already. What
// changeSubjectName asks for is decided as the names of any request are.
func (j *judge) sameNames(old *x509.Certificate) {
	rule := j.op.renewal
	names, err := csr.NamesOf(old)
	if err != nil {
		j.refuse(rule.namesAt, BadRenewal, "", "", "the names of the certificate being renewed can't be read: %s", show(err.Error()))
		return
	}
	asked := j.own
	switch {
	case !asked.Equal(names):
		j.refuse(rule.namesAt, BadRenewal, describeNames(asked), describeNames(names),
			"the names of the request are not those of the certificate being renewed (RFC 7030 section 4.2.2): %s; and there %s",
			describeNames(asked), describeNames(names))
	case asked.EqualDER(names):
		j.asked(rule.namesAt, "", "", "holds")
	case rule.exact:
		j.refuse(rule.namesAt, BadRenewal, describeNames(asked), "the same encoding",
			"the names of the request are those of the certificate being renewed, but not in the same encoding")
	default:
		j.add(rule.namesAt, Warned, ByPolicy, describeNames(asked), "the same encoding",
			"the names of the request are encoded in another way than those of the certificate being renewed")
	}
}

func (j *judge) otherKey(old *x509.Certificate) {
	if j.op.renewal.keepKey || !sameKey(j.req.CSR, old) {
		j.asked(j.op.renewal.keyAt, "", "", "holds")
		return
	}
	j.refuse(j.op.renewal.keyAt, KeyReuse, "the same key", "another key", "the request has the key of the certificate being renewed, and must have another")
}

// sameKey compares the keys, and not their encodings alone: of one RSA key
// there are several.
func sameKey(request *csr.Request, old *x509.Certificate) bool {
	if bytes.Equal(request.RawSPKI, old.RawSubjectPublicKeyInfo) {
		return true
	}
	key, ok := request.Key.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && old.PublicKey != nil && key.Equal(old.PublicKey)
}

// inTime: the window is the last share of the lifetime, and a grace may
// follow it.
func (j *judge) inTime(old *x509.Certificate) {
	rule := j.op.renewal
	lifetime := old.NotAfter.Sub(old.NotBefore)
	opens := old.NotAfter.Add(-portion(lifetime, rule.share))
	closes := old.NotAfter.Add(j.op.expired)
	now := timeText(j.req.Now)
	if j.req.Now.Before(opens) {
		j.refuse(rule.windowAt, BadRenewal, now, "from "+timeText(opens),
			"it is too early to renew: the last %d%% of the lifetime begin on %s", rule.share, timeText(opens))
	} else if j.explain {
		j.asked(rule.windowAt, now, "from "+timeText(opens), "holds")
	}
	if j.req.Now.After(closes) {
		j.refuse(rule.expiredAt, BadRenewal, now, "until "+timeText(closes),
			"it is too late to renew: the certificate expired on %s", timeText(old.NotAfter))
	} else if j.explain {
		j.asked(rule.expiredAt, now, "until "+timeText(closes), "holds")
	}
}

// portion gives share percent of a lifetime without overflow.
func portion(lifetime time.Duration, share int) time.Duration {
	return lifetime/100*time.Duration(share) + lifetime%100*time.Duration(share)/100
}
