// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"

	"github.com/caddy-est/estra/policy/csr"
)

const oneTimePassword = "one_time_password"

// oneTime reads a one_time_password.
func (c *compiler) oneTime(n node) proof {
	p := proof{spot: n.spot(), method: oneTimePassword, via: n.get("via").value()}
	usual := ViaBasic
	if c.byCMC {
		usual = ViaProof
	}
	if p.via == "" {
		p.via = usual
	}
	if c.byCMC != (p.via == ViaProof) {
		c.add(n.get("via").at, "`via: %s` can't come here: under `fullcmc` a password comes as `identity_proof`, and nowhere else", p.via)
	}
	v1 := n.get("v1")
	if p.v1 = v1.on(); p.v1 && p.via != ViaProof {
		c.add(v1.at, "`%s` is of identity proofs, and this password comes by `via: %s`", v1.path, p.via)
	} else if p.v1 {
		c.warn(lintProofSHA1, v1.spot(), "an identity proof of the first version is taken, which is made with SHA-1 (RFC 5272 section 6.2.2): for clients that can't do identityProofV2 alone")
	}
	return p
}

// apart: Basic has one password, which can't be an account's and good once.
func (c *compiler) apart(line whoLine) {
	count := func(is func(proof) bool) (n int, at spot) {
		for _, p := range line.proofs {
			if is(p) {
				n, at = n+1, p.spot
			}
		}
		return n, at
	}
	basic, _ := count(func(p proof) bool { return p.method == httpBasic })
	once, at := count(func(p proof) bool { return p.via == ViaBasic })
	challenges, twice := count(func(p proof) bool { return p.via == ViaChallenge })
	proofs, again := count(func(p proof) bool { return p.via == ViaProof })
	switch {
	case once > 0 && basic > 0:
		c.add(at.at, "http_basic and one_time_password both want the one password of HTTP Basic: write `one_time_password: {via: otp_challenge}`")
	case once > 1:
		c.add(at.at, "a request has one password of HTTP Basic, and this line wants several that are good once")
	case proofs > 1:
		c.add(again.at, "a message has one identity proof, and this line wants several")
	case challenges > 1:
		c.add(twice.at, "a request has one otpChallenge, and this line wants several")
	}
}

// checkOnce tells why no one-time password was proven, or "".
func (p proof) checkOnce(a asking) string {
	if _, ok := p.password(a.who); ok {
		return ""
	}
	if p.via == ViaProof {
		return "no one-time password was proven by an identity proof in the message (RFC 5272 section 6.2)"
	}
	if p.via == ViaChallenge {
		return "no one-time password was proven by the attribute otpChallenge (RFC 7894 section 3.1)"
	}
	return "no one-time password was proven by HTTP Basic"
}

// takes says whether a password counts that came in this way.
func (p proof) takes(via string) bool {
	return p.via != "" && (p.via == via || p.v1 && via == ViaProofV1)
}

// password is the one that the proof is given by.
func (p proof) password(who Identity) (OneTimePassword, bool) {
	i := slices.IndexFunc(who.Passwords, func(w OneTimePassword) bool { return w.ID != "" && p.takes(w.Via) })
	if p.via == "" || i < 0 {
		return OneTimePassword{}, false
	}
	return who.Passwords[i], true
}

// checkDevice tells why the certificate is of no device that may ask, or "".
// A blocked device is refused under every registry, and where the line names
// none: blocking acts at once.
func (p proof) checkDevice(a asking) string {
	for _, d := range a.who.Devices {
		if d.State != Expected && d.State != Enrolled {
			return fmt.Sprintf("the device %s is %s", quote(d.ID()), show(string(d.State)))
		}
	}
	if p.registry == "" {
		return ""
	}
	d, ok := p.device(a.who)
	switch {
	case !ok && len(a.who.Cert.AuthorityKeyId) == 0:
		return "the client certificate has no authorityKeyIdentifier, by which a registry knows the issuer of a serial number, and is not listed itself in the registry " + quote(p.registry)
	case !ok:
		return "the client certificate is of no device in the registry " + quote(p.registry)
	case a.op.first() && d.State == Enrolled && !d.Again:
		return fmt.Sprintf("the device %s has had its first certificate, and was not armed anew", quote(d.ID()))
	}
	return ""
}

// device is the one that the proof is given by.
func (p proof) device(who Identity) (Device, bool) {
	i := slices.IndexFunc(who.Devices, func(d Device) bool { return d.Registry == p.registry })
	if p.registry == "" || i < 0 {
		return Device{}, false
	}
	return who.Devices[i], true
}

// first tells whether a device of a registry gets its first certificate by the
// operation. What a registration authority asks for is another's.
func (o *op) first() bool { return (o.name == SimpleEnroll || o.name == CMCEnroll) && !o.byRA }

// uses is what the line uses up: a password, and the first certificate of a
// device.
func (l *whoLine) uses(who Identity, o *op) []Use {
	var uses []Use
	for _, p := range l.proofs {
		if password, ok := p.password(who); ok {
			uses = append(uses, Use{UsePassword, password.ID})
		}
		if device, ok := p.device(who); ok && o.first() {
			uses = append(uses, Use{UseDevice, device.ID()})
		}
	}
	return uses
}

// bound holds the planned names against those that the password was made for.
// What the policy sets, and the password says nothing of, is the policy's.
func (j *judge) bound() {
	if j.line == nil {
		return
	}
	for _, p := range j.line.proofs {
		password, ok := p.password(j.req.Who)
		if !ok {
			continue
		}
		if password.Bound.Subject {
			j.boundSubject(p, password)
		}
		if password.Bound.SAN {
			j.boundSAN(p, password)
		}
	}
}

func (j *judge) boundSubject(p proof, password OneTimePassword) {
	want := password.Bound.Names.Subject
	types := map[string]bool{}
	for _, name := range []csr.Name{want, j.plan.Names.Subject} {
		for _, rdn := range name {
			for _, value := range rdn {
				types[value.Type.String()] = true
			}
		}
	}
	got := j.plan.Names.Subject
	for oid := range types {
		if len(ofType(want, oid)) == 0 && j.setsAttribute(oid) {
			continue
		}
		if !ofType(got, oid).Equal(ofType(want, oid)) {
			j.refuse(p.spot, BadIdentity, describeNames(csr.Names{Subject: got}), describeNames(csr.Names{Subject: want}),
				"the one-time password %s is for another subject: %s", show(password.ID), describeNames(csr.Names{Subject: want}))
			return
		}
	}
	j.asked(p.spot, "", describeNames(csr.Names{Subject: want}), "holds")
}

// ofType gives the values of one attribute, each as an RDN of its own: where
// they stand is the policy's business.
func ofType(name csr.Name, oid string) csr.Name {
	var values csr.Name
	for _, rdn := range name {
		for _, value := range rdn {
			if value.Type.String() == oid {
				values = append(values, csr.RDN{value})
			}
		}
	}
	return values
}

func (j *judge) setsAttribute(oid string) bool {
	rule := j.names.subject.byOID[oid]
	return rule != nil && rule.sets()
}

func (j *judge) boundSAN(p proof, password OneTimePassword) {
	want := password.Bound.Names.SAN
	// A form that the policy sets, and the password has no name of.
	left := slices.DeleteFunc(slices.Clone(j.plan.Names.SAN), func(g csr.GeneralName) bool {
		same := func(h csr.GeneralName) bool { return keyOf(h) == keyOf(g) }
		return !slices.ContainsFunc(want, same) && slices.ContainsFunc(j.names.san.rules, func(r *sanRule) bool { return r.kind.key == keyOf(g) && r.sets() })
	})
	if !(csr.Names{SAN: left}).Equal(csr.Names{SAN: want}) {
		j.refuse(p.spot, BadIdentity, describeSAN(left), describeSAN(want),
			"the one-time password %s is for another SAN: %s", show(password.ID), describeSAN(want))
		return
	}
	j.asked(p.spot, "", describeSAN(want), "holds")
}

// challenge: RFC 7894 section 4 wants each challenge that is there to succeed,
// also where another proof would do.
func (j *judge) challenge() {
	if _, present := j.req.CSR.Attribute(otpChallenge); !present || !j.op.takesChallenge() {
		return // where no line takes one, `attributes` refuses it
	}
	if !slices.ContainsFunc(j.req.Who.Passwords, func(w OneTimePassword) bool { return w.ID != "" && w.Via == ViaChallenge }) {
		j.refuse(j.op.whoAt, BadIdentity, "otpChallenge", "a one-time password that is good",
			"the request has the attribute otpChallenge, and it is no one-time password that is good here (RFC 7894 section 4)")
	}
}

func (o *op) takesChallenge() bool {
	return slices.ContainsFunc(o.who, func(l whoLine) bool {
		return slices.ContainsFunc(l.proofs, func(p proof) bool { return p.via == ViaChallenge })
	})
}

func isOnce(p proof) bool { return p.via != "" }

func (o *op) any(is func(proof) bool) bool {
	return slices.ContainsFunc(o.who, func(l whoLine) bool { return slices.ContainsFunc(l.proofs, is) })
}

// TakesPassword tells whether a line of the operation takes a one-time
// password that comes in this way.
func (p *Profile) TakesPassword(name Op, via string) bool {
	o := p.operations[name]
	return o != nil && o.any(func(p proof) bool { return p.takes(via) })
}

// UsesPasswords tells whether any profile takes one-time passwords.
func (p *Policy) UsesPasswords() bool { return p.any(isOnce) }

// UsesRegistries tells whether any profile names a device registry.
func (p *Policy) UsesRegistries() bool { return p.any(func(q proof) bool { return q.registry != "" }) }

func (p *Policy) any(is func(proof) bool) bool {
	return slices.ContainsFunc(p.profiles, func(profile *Profile) bool {
		for _, o := range profile.offered() {
			if o.any(is) {
				return true
			}
		}
		return false
	})
}
