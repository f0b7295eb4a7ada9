// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-est/estra/policy/csr"
)

// A whoLine is one line of `who`: proofs that are all needed. The first line
// that holds decides: what it sets and checks is what counts.
type whoLine struct {
	spot   spot
	proofs []proof
	names  nameRules  // the operation's, with the line's set
	bounds nameBounds // of an RA's line
	checks []check
}

// A proof is one way to show who asks.
type proof struct {
	spot spot
	// anchor is set in a client_cert, method in all others: "http_basic",
	// "digest", "one_time_password" or the name of a provider.
	anchor   string
	registry string // of a client_cert; empty: none
	via      string // of a one_time_password: ViaBasic or ViaChallenge
	subject  []subjectValue
	spki     []byte
	pin      []byte // of the whole certificate
	matches  bool
	limits   certLimits
	role     bool // role: ra
	roleAt   Pos
	method   string
	anyUser  bool
	users    []listedUser
	subjects []pattern // of a token
	shared   bool
	anchorAt spot

	registryAt spot
}

type listedUser struct {
	at   Pos
	name string
}

type subjectValue struct {
	oid         asn1.ObjectIdentifier
	name, value string
}

// The proofs by an account of our own, by the words of Account.Method.
const (
	httpBasic  = "http_basic"
	httpDigest = "digest"
	// bearer is the key of a token's proof. Its Account.Method is
	// BearerMethod of its name.
	bearer = "bearer"
)

// BearerMethod is the Account.Method of a token that the `bearer` of this name
// has verified.
func BearerMethod(name string) string { return bearer + ":" + name }

// proofKinds are the proofs that a line may have.
var proofKinds = []string{"client_cert", httpBasic, httpDigest, oneTimePassword, "provider", bearer}

func (c *compiler) who(list node, names nameRules) []whoLine {
	var lines []whoLine
	for _, item := range list.items() {
		outer := c.scope
		c.scope.cert = lineDemandsCert(item)
		line := whoLine{spot: item.spot(), names: c.layer(names, item.get("set")), bounds: c.bounds(item.get("names")), checks: c.checks(item.get("checks"))}
		c.scope = outer
		for _, n := range c.proofNodes(item) {
			line.proofs = append(line.proofs, c.proof(n))
		}
		if len(line.proofs) > 0 {
			c.foreseen(line)
			c.apart(line)
			lines = append(lines, line)
		}
	}
	if list.isList() && len(list.items()) == 0 {
		c.add(list.at, "`%s` is empty: nobody could ask", list.path)
	}
	return lines
}

// foreseen: `matches: names` asks before there is a request, so it can't ask
// what an expression would give.
func (c *compiler) foreseen(line whoLine) {
	if !slices.ContainsFunc(line.proofs, func(p proof) bool { return p.matches }) {
		return
	}
	refuse := func(r *nameRule) {
		if r.setBy != nil && !r.bounded {
			c.add(line.spot.at, "`matches: names` can't foresee what the expression on line %d gives: write `allow` beside it", r.setAt.at.Line)
		}
	}
	for _, rule := range line.names.subject.rules {
		refuse(&rule.nameRule)
	}
	for _, rule := range line.names.san.rules {
		refuse(&rule.nameRule)
	}
}

// proofNodes gives the nodes of a line's proofs.
func (c *compiler) proofNodes(line node) []node {
	one := c.only(line, append(slices.Clone(proofKinds), "all"))
	if one.name != "all" {
		if !one.present() {
			return nil
		}
		return []node{one}
	}
	var proofs []node
	for _, item := range one.items() {
		if n := c.only(item, proofKinds); n.present() {
			proofs = append(proofs, n)
		}
	}
	if one.isList() && len(one.items()) < 2 {
		c.add(one.at, "`all` wants at least two proofs")
	}
	if len(proofs) != len(one.items()) {
		return nil // a line that was read in part would demand less
	}
	return proofs
}

// only gives the one proof of a map, which has exactly one.
func (c *compiler) only(n node, kinds []string) node {
	members := slices.DeleteFunc(n.members(), func(m node) bool {
		return slices.ContainsFunc(lineKeys, func(k key) bool { return k.name == m.name })
	})
	if len(members) == 1 && slices.Contains(kinds, members[0].name) {
		return members[0]
	}
	known := slices.ContainsFunc(members, func(m node) bool { return !slices.Contains(kinds, m.name) })
	if !known && n.present() {
		c.add(n.at, "a line of `%s` has exactly one of %s; `all` joins several", n.path, listWords(kinds))
	}
	return node{at: n.at, path: n.path}
}

func (c *compiler) proof(n node) proof {
	switch n.name {
	case "client_cert":
		return c.clientCert(n)
	case httpBasic, httpDigest:
		p := proof{spot: n.spot(), method: n.name, shared: n.get("shared").on()}
		p.users = c.users(n.get("users"))
		return p
	case bearer:
		name := n.get("name")
		p := proof{spot: n.spot(), method: BearerMethod(name.value()), anyUser: !n.get("subjects").present()}
		p.subjects = c.patterns(n.get("subjects"), textForm)
		c.filled(name)
		return p
	case oneTimePassword:
		return c.oneTime(n)
	default:
		name := n.get("name")
		p := proof{spot: n.spot(), method: name.value(), anyUser: !n.get("users").present()}
		p.users = c.users(n.get("users"))
		c.filled(name)
		if slices.Contains(proofKinds, p.method) || strings.HasPrefix(p.method, BearerMethod("")) {
			c.add(name.at, "%s can't be the name of a provider: it is a proof of its own", quote(p.method))
		}
		return p
	}
}

func (c *compiler) users(n node) []listedUser {
	var users []listedUser
	for _, item := range n.texts() {
		if _, err := spellText(item.value()); err != nil {
			c.add(item.at, "%s can't be a user: %v", quote(item.value()), err)
		}
		users = append(users, listedUser{item.at, item.value()})
	}
	if n.isList() && len(n.items()) == 0 {
		c.add(n.at, "`%s` is an empty list: nobody is on it", n.path)
	}
	return users
}

func (c *compiler) clientCert(n node) proof {
	anchor := n.get("anchor")
	p := proof{spot: n.spot(), anchor: anchor.value(), anchorAt: anchor.spot(), matches: n.get("matches").value() == "names"}
	if registry := n.get("registry"); registry.present() {
		p.registry, p.registryAt = registry.value(), registry.spot()
		c.filled(registry)
	}
	c.filled(anchor)
	p.subject, p.limits = c.exactValues(n.get("subject")), c.certLimits(n)
	p.spki, p.pin = c.hash(n.get("spki_sha256")), c.hash(n.get("cert_sha256"))
	p.role, p.roleAt = n.get("role").value() == RoleRA, n.get("role").at
	return p
}

// hash reads a SHA-256; nil where there is none.
func (c *compiler) hash(n node) []byte {
	if !n.isText() {
		return nil
	}
	hash, err := hex.DecodeString(strings.ToLower(n.value()))
	if err != nil || len(hash) != sha256.Size {
		c.add(n.at, "`%s` wants 64 hexadecimal digits", n.path)
	}
	return hash
}

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
func (p proof) isHTTP() bool { return !p.isCert() && !p.isBody() }

// isBody: the proof stands in the request's body.
func (p proof) isBody() bool { return p.via == ViaChallenge }

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
		if account.Method == p.method && account.User != "" {
			seen = append(seen, account.User)
		}
	}
	what := p.accountText()
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
	certs := false // one is missing
	for _, p := range l.proofs {
		reason := p.check(a)
		if reason == "" {
			continue
		}
		reasons = append(reasons, reason)
		certs = certs || p.isCert()
		if p.isHTTP() {
			r.could = append(r.could, p.method)
		}
	}
	r.matched = len(l.proofs) > 0 && len(reasons) == 0
	if certs {
		r.could = nil
	}
	r.body = len(reasons) > 0 && !certs && len(r.could) == 0
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
			if w.user == "" && p.takesAccount(account) {
				w.user = account.User
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
