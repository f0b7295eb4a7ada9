// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"slices"
	"strings"
)

// SRPMethod is the Account.Method of a user whom the connection itself has proven:
// TLS without certificates (RFC 7030 section 3.3.3), by SRP.
const SRPMethod = "srp"

// SRPAccount is the account of a user of a realm, which both name it: the same
// user of another realm is another.
func SRPAccount(realm, user string) Account { return Account{SRPMethod, realm + "/" + user} }

// srpUser takes the account apart. A realm has no slash in it.
func (a Account) srpUser() (realm, user string, ok bool) {
	if a.Method != SRPMethod {
		return "", "", false
	}
	realm, user, ok = strings.Cut(a.User, "/")
	return realm, user, ok && realm != "" && user != ""
}

// srp reads an srp.
func (c *compiler) srp(n node) proof {
	realm, users := n.get("realm"), n.get("user")
	p := proof{spot: n.spot(), method: SRPMethod, realm: realm.value(), anyUser: !users.present()}
	c.filled(realm)
	p.subjects = c.patternsOf(users.oneOrMore(), textForm)
	if users.isList() && len(users.items()) == 0 {
		c.add(users.at, "`%s` is an empty list: nobody is on it", users.path)
	}
	return p
}

// isSRP: the connection gives the proof.
func (p proof) isSRP() bool { return p.method == SRPMethod && !p.isCert() }

// ofConnection: nothing that comes after the handshake gives the proof.
func (p proof) ofConnection() bool { return p.isCert() || p.isSRP() }

// BindRealms refuses lines that name a realm which no listener has users of. The
// error is Errors.
func (p *Policy) BindRealms(known []string) error {
	b := &binder{}
	for _, profile := range p.profiles {
		for _, o := range profile.offered() {
			if !o.borrowed {
				b.realms(o.who, known)
			}
		}
	}
	return b.err()
}

func (b *binder) realms(lines []whoLine, known []string) {
	for _, line := range lines {
		for _, p := range line.proofs {
			switch {
			case !p.isSRP() || slices.Contains(known, p.realm):
			case len(known) == 0:
				b.add(p.spot.at, "nobody can prove to be a user of the realm %s: no listener of the Caddyfile has `est_srp`", quote(p.realm))
			default:
				b.add(p.spot.at, "no `est_srp` of the Caddyfile has the realm %s%s; there is: %s", quote(p.realm), didYouMean(p.realm, known), showList(known))
			}
		}
	}
}
