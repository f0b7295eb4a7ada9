// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// An asking is what who lines are held against.
type asking struct {
	profile *Profile
	op      *op
	names   nameRules // of the line
	who     Identity
	by      Registrar // where an RA asks on behalf of others
	now     time.Time
}

func (p proof) isCert() bool { return p.anchor != "" }

// isHTTP: an HTTP credential gives the proof, and a 401 asks for it.
func (p proof) isHTTP() bool { return !p.ofConnection() && !p.isBody() }

// isBody: the proof stands in the request's body.
func (p proof) isBody() bool { return p.via == ViaChallenge || p.via == ViaProof }

// check tells why a proof isn't given, or "".
func (p proof) check(a asking) string {
	switch {
	case p.via != "":
		return p.checkOnce(a)
	case !p.isCert():
		return p.checkAccount(a)
	}
	if reason := p.checkCert(a); reason != "" {
		return reason
	}
	return p.checkDevice(a)
}

// checkCert leaves out what a registry knows of the certificate's device: a
// registration authority that is blocked is still the one that a line names.
func (p proof) checkCert(a asking) string {
	cert := a.who.Cert
	if cert == nil {
		return fmt.Sprintf("no client certificate was presented, and this line wants one under the anchor %s", quote(p.anchor))
	}
	if !slices.Contains(a.who.Anchors, p.anchor) {
		return fmt.Sprintf("the client certificate doesn't verify under the anchor %s, but under %s", quote(p.anchor), showList(a.who.Anchors))
	}
	if a.now.Before(cert.NotBefore) {
		return "the client certificate is not valid before " + timeText(cert.NotBefore)
	}
	if a.now.After(cert.NotAfter.Add(a.op.expired)) {
		return "the client certificate expired on " + timeText(cert.NotAfter)
	}
	if p.spki != nil {
		hash := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
		if subtle.ConstantTimeCompare(hash[:], p.spki) != 1 {
			return "the client certificate has another key than this line wants"
		}
	}
	if p.pin != nil {
		hash := sha256.Sum256(cert.Raw)
		if subtle.ConstantTimeCompare(hash[:], p.pin) != 1 {
			return "the client certificate is another one than this line wants"
		}
	}
	if p.role && !slices.Contains(a.by.issuers, p.anchor) {
		return fmt.Sprintf("the client certificate isn't that of a registration authority under the anchor %s", quote(p.anchor))
	}
	if reason := p.limits.check(cert); reason != "" {
		return reason
	}
	if reason := p.checkInventory(a.who); reason != "" {
		return reason
	}
	return p.checkNames(a)
}

// certNames gives the names of the certificate.
func (i Identity) certNames() (csr.Names, error) {
	if i.CertNames != nil {
		return *i.CertNames, nil
	}
	return csr.NamesOf(i.Cert)
}

func (p proof) checkNames(a asking) string {
	if len(p.subject) == 0 && len(p.limits.san) == 0 && !p.matches {
		return ""
	}
	names, err := a.who.certNames()
	if err != nil {
		return "the names of the client certificate can't be read: " + show(err.Error())
	}
	for _, want := range p.subject {
		if got, ok := hasValue(names.Subject, want); !ok {
			return fmt.Sprintf("the client certificate has the %s%s %s, and this line wants %s",
				subjectAttribute, want.name, showList(got), quote(want.value))
		}
	}
	if reason := p.limits.checkSAN(names.SAN); reason != "" || !p.matches {
		return reason
	}
	if len(names.Subject) == 0 && len(names.SAN) == 0 {
		return "the client certificate has no name"
	}
	if !a.names.subject.takes(names.Subject) || !a.names.san.takes(names.SAN) {
		return fmt.Sprintf("the client certificate has names that the profile `%s` would not issue", a.profile.name)
	}
	return ""
}

// hasValue wants the attribute exactly once, with exactly the value: of two
// values nobody could say which one identifies the device.
func hasValue(subject csr.Name, want subjectValue) ([]string, bool) {
	var got []string
	text := true
	for _, rdn := range subject {
		for _, value := range rdn {
			if value.Type.Equal(want.oid) {
				got = append(got, value.Value)
				text = text && value.Text
			}
		}
	}
	return got, text && len(got) == 1 && got[0] == want.value
}

func (p proof) checkAccount(a asking) string {
	var seen []string
	for _, account := range a.who.Accounts {
		if p.takesAccount(account) {
			return ""
		}
		if p.isSRP() {
			realm, user, ok := account.srpUser()
			if ok && realm != p.realm {
				return fmt.Sprintf("the user of the connection is of the realm %s, and this line wants %s", quote(realm), quote(p.realm))
			}
			account.User = user
		}
		if account.Method == p.method && account.User != "" {
			seen = append(seen, account.User)
		}
	}
	what := p.accountText()
	if len(seen) == 0 && p.isSRP() {
		return "the connection is of no " + what
	}
	if len(seen) == 0 {
		return "no " + what + " was presented"
	}
	return fmt.Sprintf("the %s is %s, which is not on this line", what, showList(seen))
}

// accountText is what the proof wants, for people.
func (p proof) accountText() string {
	switch p.method {
	case httpBasic:
		return "HTTP Basic account"
	case httpDigest:
		return "HTTP Digest account"
	case SRPMethod:
		return "user of the realm " + quote(p.realm)
	}
	if name, isToken := p.token(); isToken {
		return "token of " + quote(name)
	}
	return "account of the provider " + quote(p.method)
}

// token gives the name of the `bearer` whose tokens the proof wants.
func (p proof) token() (string, bool) { return strings.CutPrefix(p.method, BearerMethod("")) }

// A lineResult is what a line says. Where it doesn't match, could are the
// methods of the HTTP credentials that could still make it, and body tells that
// the request's body could, and nothing else is missing.
type lineResult struct {
	matched bool
	could   []string
	body    bool
	why     Finding
}

func (l *whoLine) check(a asking) lineResult {
	a.names = l.names
	var reasons []string
	var r lineResult
	other := false // it would need another connection
	for _, p := range l.proofs {
		reason := p.check(a)
		if reason == "" {
			continue
		}
		reasons = append(reasons, reason)
		other = other || p.ofConnection()
		if p.isHTTP() {
			r.could = append(r.could, p.method)
		}
	}
	r.matched = len(l.proofs) > 0 && len(reasons) == 0
	if other {
		r.could = nil
	}
	r.body = len(reasons) > 0 && !other && len(r.could) == 0
	f := finding(l.spot, Refused, "", "", "%s", strings.Join(reasons, "; "))
	f.Class = BadIdentity
	r.why = f
	return r
}

// identity is the variable `who` where the line decides: what its proofs
// have shown, and nothing beside.
func (l *whoLine) identity(who Identity) (*celWho, error) {
	w := &celWho{method: l.proofs[0].name(), role: l.role(), data: who.Data}
	for _, p := range l.proofs {
		if _, isToken := p.token(); isToken {
			w.claims = who.Claims
		}
		if password, ok := p.password(who); ok && w.password.ID == "" {
			w.password = password
		}
		if device, ok := p.device(who); ok {
			w.device = device
		}
		if p.isCert() {
			w.anchor = p.anchor
			cert, err := newCELCert(who.Cert)
			if err != nil {
				return nil, err
			}
			w.certificate = cert
			continue
		}
		for _, account := range who.Accounts {
			if w.user != "" || !p.takesAccount(account) {
				continue
			}
			w.user = account.User
			if realm, user, ok := account.srpUser(); ok && p.isSRP() {
				w.realm, w.user = realm, user
			}
		}
	}
	return w, nil
}

// text says who was shown, for Explain.
func (l *whoLine) text(who Identity) string {
	var parts []string
	for _, p := range l.proofs {
		if p.isCert() {
			what := "client_cert"
			if p.role {
				what = "registration authority"
			}
			parts = append(parts, what+" under "+p.anchor+": "+subjectOf(who.Cert))
			if d, ok := p.device(who); ok {
				parts = append(parts, "device "+d.ID()+" ("+string(d.State)+")")
			}
			continue
		}
		if password, ok := p.password(who); ok {
			parts = append(parts, oneTimePassword+" "+password.ID+" ("+password.Via+")")
		}
		for _, account := range who.Accounts {
			if p.takesAccount(account) {
				parts = append(parts, p.method+" "+account.User)
				break
			}
		}
	}
	return show(strings.Join(parts, " + "))
}

// role is the RA's in a line of on_behalf, or "".
func (l *whoLine) role() string {
	if slices.ContainsFunc(l.proofs, func(p proof) bool { return p.role }) {
		return RoleRA
	}
	return ""
}

func subjectOf(cert *x509.Certificate) string {
	names, err := csr.NamesOf(cert)
	if err != nil {
		return "(unreadable)"
	}
	return describeNames(names)
}

func (p proof) name() string {
	if p.isCert() {
		return "client_cert"
	}
	return p.method
}

func (p proof) takesAccount(account Account) bool {
	if p.isSRP() {
		realm, user, ok := account.srpUser()
		if !ok || realm != p.realm {
			return false
		}
		account.User = user
	}
	spelled, err := spellText(account.User)
	return account.Method == p.method && account.User != "" &&
		(p.anyUser || err == nil && slices.ContainsFunc(p.subjects, func(s pattern) bool { return s.match(spelled) }) || slices.ContainsFunc(p.users, func(u listedUser) bool { return u.name == account.User }))
}

// Gate answers before the body is read, by the who lines alone. Findings are
// there only when it is shut.
func (p *Profile) Gate(name Op, who Identity, now time.Time) Gate {
	operation := p.operations[name]
	if operation == nil {
		return Gate{Findings: []Finding{p.notOffered(name)}}
	}
	_, gate := operation.gate(asking{profile: p, op: operation, who: who, now: now})
	return gate
}

// gate gives the line that decides: the first one that holds, in file order.
// Without one the gate is shut.
func (o *op) gate(a asking) (*whoLine, Gate) {
	var gate Gate
	for i := range o.who {
		line := &o.who[i]
		r := line.check(a)
		if r.matched {
			return line, Gate{Open: true}
		}
		gate.Challenge, gate.Body = gate.Challenge || len(r.could) > 0, gate.Body || r.body
		for _, method := range r.could {
			if !slices.Contains(gate.Methods, method) {
				gate.Methods = append(gate.Methods, method)
			}
		}
		gate.Findings = append(gate.Findings, r.why)
	}
	return nil, gate
}

// UsesAnchors gives the anchors that the who lines of an operation name, by
// whomever it comes, each once.
func (p *Profile) UsesAnchors(name Op) []string {
	var anchors []string
	for _, o := range p.offered() {
		if o.name != name {
			continue
		}
		for _, line := range o.who {
			for _, proof := range line.proofs {
				if proof.isCert() && !slices.Contains(anchors, proof.anchor) {
					anchors = append(anchors, proof.anchor)
				}
			}
		}
	}
	return anchors
}
