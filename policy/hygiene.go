// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"math/big"
	"slices"
	"strconv"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/weakkey"
)

// hygiene are the keys that the guardrails refuse because somebody else has
// the private key, or can compute it. The zero value refuses nothing; what
// isn't written is on.
type hygiene struct {
	roca, closePrimes, smallFactors toggle
	debian, blocked                 []keyList
	reuseAt                         spot
	reuse                           bool // reuse: allow
}

// A toggle is a test that is on unless the policy says false.
type toggle struct {
	spot spot
	on   bool
}

func (c *compiler) hygiene(n node) hygiene {
	reuse := n.get("reuse")
	h := hygiene{
		roca:         c.toggle(n.get("roca"), "RSA keys of a generator with the ROCA weakness are accepted: who has the public key can compute the private one"),
		closePrimes:  c.toggle(n.get("close_primes"), "RSA keys with close primes are accepted: who has the public key can compute the private one"),
		smallFactors: c.toggle(n.get("small_factors"), "RSA keys with small factors are accepted: who has the public key can compute the private one"),
		debian:       c.keyLists(n.get("debian_weak"), weakkey.ParseDebianList),
		blocked:      c.keyLists(n.get("blocked"), weakkey.ParseSPKIList),
		reuseAt:      reuse.spot(),
		reuse:        reuse.value() == "allow",
	}
	if h.reuse {
		c.warn(lintHygiene, h.reuseAt, "a key may be certified for several names: who has the key of one device can be another")
	}
	return h
}

// toggle reads a test that is on unless written otherwise, which is warned of.
func (c *compiler) toggle(n node, off string) toggle {
	written, ok := n.boolean()
	on := written || !ok
	if !on {
		c.warn(lintHygiene, n.spot(), "%s", off)
	}
	return toggle{n.spot(), on}
}

// hygiene refuses keys whose private key others have.
func (j *judge) hygiene() {
	rules := j.profile.guard.hygiene
	var modulus *big.Int
	// A longer key is refused, and costs too much; the exponent of one that
	// isn't a key for Go is refused, too.
	if key, ok := j.req.CSR.Key.Public.(*rsa.PublicKey); ok && j.req.CSR.Key.Bits <= mostRSA {
		modulus = key.N
		j.weakRSA(rules, modulus)
	}
	if len(rules.blocked)+len(rules.debian) == 0 {
		return
	}
	sum := sha256.Sum256(j.req.CSR.RawSPKI)
	for _, list := range rules.blocked {
		j.listed(list, list.keys.HasSPKI(sum), sum, "the key is blocked")
	}
	for _, list := range rules.debian {
		j.listed(list, list.keys.HasSPKI(sum) || list.keys.HasModulus(modulus), sum,
			"the key is one of those that Debian's OpenSSL made (CVE-2008-0166)")
	}
}

func (j *judge) listed(list keyList, found bool, sum [sha256.Size]byte, message string) {
	want := "a key that isn't on " + show(list.name)
	if found {
		j.refuse(list.spot, BadKey, "SPKI SHA-256 "+hex.EncodeToString(sum[:]), want, "%s: it is on %s", message, show(list.name))
	} else {
		j.asked(list.spot, "", want, "holds")
	}
}

func (j *judge) weakRSA(rules hygiene, modulus *big.Int) {
	if rules.smallFactors.on {
		p := weakkey.SmallFactor(modulus)
		j.weak(rules.smallFactors, p != 0, "divisible by "+strconv.Itoa(p), "two large primes",
			"the RSA modulus is divisible by a small prime, "+strconv.Itoa(p))
	}
	if rules.roca.on {
		j.weak(rules.roca, weakkey.ROCA(modulus), "a modulus with the ROCA structure", "a key of another generator",
			"the RSA key was made by a generator with the ROCA weakness (CVE-2017-15361)")
	}
	if rules.closePrimes.on {
		j.weak(rules.closePrimes, weakkey.ClosePrimes(modulus), "close primes", "two primes that are far apart",
			"the primes of the RSA key are so close together that Fermat's method finds them (CVE-2022-26320)")
	}
}

func (j *judge) weak(rule toggle, found bool, got, want, message string) {
	if found {
		j.refuse(rule.spot, BadKey, got, want, "%s: who has the public key can compute the private one", message)
	} else {
		j.asked(rule.spot, "", want, "holds")
	}
}

// keyReuse refuses a key that was certified for other names: either two
// devices share it, or one of them isn't what it says.
func (j *judge) keyReuse() {
	const want = "a key of its own"
	rules, holder := j.profile.guard.hygiene, j.req.KeyHolder
	if holder == nil || j.holds(*holder) {
		j.asked(rules.reuseAt, "", want, "holds")
		return
	}
	certificate := "a certificate with other names"
	if holder.Serial != "" {
		certificate += ", serial number " + show(holder.Serial)
	}
	if rules.reuse {
		j.add(rules.reuseAt, Warned, ByPolicy, certificate, want, "the key was certified before: it is in %s", certificate)
		return
	}
	j.refuse(rules.reuseAt, KeyReuse, certificate, want, "the key was certified before: it is in %s", certificate)
}

// holds tells whether the certificate would be for whom the key was certified.
// A renewal is, when it replaces a certificate with those names: what the plan
// rewrites is the authority's word, not the device's.
func (j *judge) holds(holder KeyHolder) bool {
	same := func(names csr.Names) bool {
		digest, ok := names.Digest()
		return ok && digest == holder.Names
	}
	if same(j.plan.Names) {
		return true
	}
	if j.req.Op.Renews() && j.req.Renews != nil {
		if names, err := csr.NamesOf(j.req.Renews); err == nil && same(names) {
			return true
		}
	}
	// Where names are refused the plan lacks them, which says nothing of the key.
	return slices.ContainsFunc(j.findings, Finding.refuses) && same(j.req.CSR.Names)
}
