// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/asn1"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/caddy-est/estra/policy/csr"
)

// keygen is what `serverkeygen` says beside what it shares with the other
// operations. The zero value makes no key.
type keygen struct {
	key          keyChoice // the one that is made
	keyAt        spot
	own          bool // `key` stands under `serverkeygen`
	encryptionAt spot
	clear        bool // encryption: if_asked
	formAt       spot
	pkcs12       bool // form: pkcs12
	upstream     bool // made_by: upstream
	madeByAt     spot
	enabledAt    spot
}

// A Keygen says which key is made for a request to /serverkeygen, and how it is
// given out.
type Keygen struct {
	// Key has the kind alone: Public is nil.
	Key csr.Key
	// Upstream is true where the CA makes the key, and not this server.
	Upstream bool
	// PKCS12 is true where key and certificate go out in one PKCS #12, under a
	// password of the client's (RFC 8295 section 8.3).
	PKCS12 bool
	// For is the key that the private key is encrypted for; none: it goes out
	// in clear, inside TLS, or as PKCS12 says.
	For csr.DecryptKey
}

// KeyName gives a kind of key as a policy file names it, such as P-256 or
// rsa3072.
func KeyName(key csr.Key) string {
	return keyWord(keyChoice{algorithm: key.Algorithm, bits: key.Bits, curve: key.Curve})
}

// String says what is made and how it is given out, for operators.
func (k Keygen) String() string {
	by, form := "this server", "in clear inside TLS"
	if k.Upstream {
		by = "the upstream"
	}
	switch {
	case k.PKCS12:
		form = "in a PKCS #12 under the client's password"
	case k.For.Asked():
		form = "encrypted for " + decryptKeyText(k.For)
	}
	return KeyName(k.Key) + ", made by " + by + ", given out " + form
}

// decryptKeyText names the key for which one is encrypted.
func decryptKeyText(k csr.DecryptKey) string {
	name := csr.TypeName(mustOID(csr.OIDDecryptKeyID))
	if k.Asymmetric {
		name = csr.TypeName(mustOID(csr.OIDAsymmDecryptKeyID))
	}
	return name + " " + hex.EncodeToString(k.ID)
}

// madeKeys are the kinds of keys that are made. The modulus of a longer RSA key
// would take a core for many seconds, for whoever asks.
var madeKeys = []keyChoice{
	{algorithm: csr.ECDSA, curve: "P-256"}, {algorithm: csr.ECDSA, curve: "P-384"}, {algorithm: csr.ECDSA, curve: "P-521"},
	{algorithm: csr.Ed25519},
	{algorithm: csr.RSA, bits: 2048, most: 2048}, {algorithm: csr.RSA, bits: 3072, most: 3072}, {algorithm: csr.RSA, bits: 4096, most: 4096},
}

// keyWord is how a policy file names one kind of key.
func keyWord(k keyChoice) string {
	switch k.algorithm {
	case csr.ECDSA:
		return k.curve
	case csr.RSA:
		return strings.ToLower(strings.ReplaceAll(keyChoice{algorithm: csr.RSA, bits: k.bits, most: k.bits}.String(), " ", ""))
	default:
		return strings.ToLower(k.String())
	}
}

func madeKeyWords() []string {
	words := make([]string, len(madeKeys))
	for i, k := range madeKeys {
		words[i] = keyWord(k)
	}
	return words
}

// serverKeygen reads `serverkeygen`. Without a `who` of its own those hold who
// may enroll, with what the lines of `enroll` set and check.
func (c *compiler) serverKeygen(p *Profile, n node) {
	if !n.present() {
		return
	}
	enroll := p.operations[SimpleEnroll]
	var o *op
	switch {
	case n.get("who").present():
		o = c.operation(p, operationKey{name: "serverkeygen", op: ServerKeygen}, n)
	case enroll == nil:
		if n.get("enabled").on() {
			c.add(n.at, "`%s` says nobody who may ask, and there is no `enroll` whose `who` would hold: write `who`", n.path)
		}
		return
	default:
		o = c.asEnroll(enroll, n)
	}
	o.keygen = &keygen{
		encryptionAt: n.get("encryption").spot(), clear: n.get("encryption").value() == "if_asked",
		formAt: n.get("form").spot(), pkcs12: n.get("form").value() == "pkcs12",
		upstream: n.get("made_by").value() == "upstream", madeByAt: n.get("made_by").spot(), enabledAt: n.get("enabled").spot(),
	}
	c.pkcs12Alone(o.keygen)
	if !n.get("enabled").on() {
		return // it was read for its mistakes
	}
	if o.keygen.clear && !o.keygen.pkcs12 {
		c.warn(lintClearKey, o.keygen.encryptionAt, "a private key goes out in clear, inside TLS, where a request doesn't ask for encryption: who ends or breaks the TLS has it")
	}
	p.operations[ServerKeygen] = o
}

// pkcs12Alone refuses what a PKCS #12 leaves no choice of.
func (c *compiler) pkcs12Alone(k *keygen) {
	if !k.pkcs12 {
		return
	}
	if k.clear {
		c.add(k.encryptionAt.at, "a PKCS #12 is always encrypted under the client's password, and nobody asks for that: leave `encryption: if_asked` out")
	}
	if k.upstream {
		c.add(k.madeByAt.at, "a key that the upstream makes is passed on as it comes, and not put into a PKCS #12: leave `made_by: upstream` or `form: pkcs12` out")
	}
}

// asEnroll gives the operation for those who may enroll.
func (c *compiler) asEnroll(enroll *op, n node) *op {
	if set := n.get("set"); set.present() {
		c.add(set.at, "`%s` belongs to an operation that says who may ask: write `who` beside it", set.path)
	}
	o := *enroll
	o.name, o.spot, o.borrowed = ServerKeygen, n.spot(), true
	o.linked, o.linkAt = n.get("linking").value() == "required", n.get("linking").spot()
	c.scope = enroll.scope
	o.checks = slices.Concat(enroll.checks, c.checks(n.get("checks")))
	if n.asksApproval() { // else that of enroll
		o.approval = c.approval(n)
	}
	return &o
}

// keygenKey finds the key that is made, once the profile's own are known.
func (c *compiler) keygenKey(p *Profile, n node) {
	o := p.operations[ServerKeygen]
	if o == nil {
		return
	}
	k, own := o.keygen, n.get("key")
	k.keyAt, k.own = own.spot(), own.present()
	switch i := slices.IndexFunc(madeKeys, func(m keyChoice) bool { return keyWord(m) == own.value() }); {
	case k.own && i < 0:
		return // a checker has said so
	case k.own:
		k.key = madeKeys[i]
		if !c.guard.keys.takes(k.key.key()) {
			c.add(own.at, "%s keys are beyond the guardrail, which accepts %s", k.key, c.guard.keys)
		}
	default:
		k.key, k.keyAt = c.preferredKey(p)
	}
	if !k.own && !slices.ContainsFunc(madeKeys, func(m keyChoice) bool { return m.takes(k.key.key()) }) {
		c.add(n.at, "%s keys are preferred by `key`, and such a key isn't made here: write `%s.key`, one of %s", k.key, n.path, listWords(madeKeyWords()))
	}
	if p.usage.key != 0 && p.usage.keyOf(k.key.algorithm) == 0 {
		c.add(k.keyAt.at, "%s keys have no such use as %s: write an RSA key under `%s.key`, or another usage", k.key, keyUsageText(p.usage.key), n.path)
	}
}

// preferredKey is the first key of the profile, or of the guardrails; where
// neither is written, the one that each client can have.
func (c *compiler) preferredKey(p *Profile) (keyChoice, spot) {
	if !p.keys.written && !c.guard.keys.written || len(p.keys.choices) == 0 {
		return madeKeys[0], p.operations[ServerKeygen].spot
	}
	choice := p.keys.choices[0]
	if choice.spot.at.Line == 0 { // `keys` names signatures or exponents alone
		return madeKeys[0], p.operations[ServerKeygen].spot
	}
	return choice, choice.spot
}

// exponentOfMade is the RSA public exponent of the keys that are made.
const exponentOfMade = leastExponent

// unkeyed puts the kind of the key that will be made into a request that has
// none.
func (o *op) unkeyed(request *csr.Request) *csr.Request {
	keyed := *request
	keyed.Key = o.keygen.key.key()
	if keyed.Key.Algorithm == csr.RSA {
		keyed.Key.Exponent = exponentOfMade
	}
	return &keyed
}

// keygen says which key is made, and holds how it is to be given out against
// the policy. RFC 7030 section 4.4.1: who asks for encryption says for which key
// and by which algorithms, and so must everybody where the policy demands it.
func (j *judge) keygen() *Keygen {
	k := j.op.keygen
	j.asked(k.enabledAt, "", "true", "holds")
	j.asked(k.keyAt, "", keyWord(k.key), "sets")
	before := len(j.findings)
	wanted, err := j.req.CSR.DecryptKey()
	switch {
	case k.pkcs12:
		j.pkcs12(wanted, err)
	case err != nil:
		j.encryption(Refused, "", "one key identifier", "the request doesn't say clearly for which key the private key is to be encrypted: "+show(err.Error()))
	case !wanted.Asked() && !k.clear:
		j.encryption(Required, "", "decryptKeyID or asymmDecryptKeyID",
			"the private key is given out encrypted only, and the request names no key for it: decryptKeyID or asymmDecryptKeyID, with smimeCapabilities (RFC 7030 section 4.4.1)")
	case !wanted.Asked():
		j.asked(k.encryptionAt, "", "if_asked", "holds")
	case len(wanted.Capabilities) == 0:
		j.encryption(Required, decryptKeyText(wanted), "smimeCapabilities",
			"the request wants the private key encrypted, and doesn't say by which algorithms: the attribute smimeCapabilities is missing (RFC 7030 section 4.4.1)")
	default:
		j.asked(k.encryptionAt, decryptKeyText(wanted), "", "holds")
	}
	if len(j.findings) > before {
		return nil // how it would go out can't be said
	}
	return &Keygen{Key: j.req.CSR.Key, Upstream: k.upstream, PKCS12: k.pkcs12, For: wanted}
}

// pkcs12: RFC 8295 section 8.3.1 has no key identifier with a PKCS #12. Who
// names one counts on its encryption.
func (j *judge) pkcs12(wanted csr.DecryptKey, err error) {
	k := j.op.keygen
	if err == nil && !wanted.Asked() {
		j.asked(k.formAt, "", "pkcs12", "holds")
		return
	}
	got := "key identifiers that can't be read"
	if err == nil {
		got = decryptKeyText(wanted)
	}
	f := finding(k.formAt, Refused, got, "no decryptKeyID and no asymmDecryptKeyID",
		"the request names a key to encrypt the private key for, and here it is given out in a PKCS #12 under a password (RFC 8295 section 8.3.1): leave decryptKeyID and asymmDecryptKeyID out")
	f.Disclose = true
	j.found(f)
}

// encryption refuses, and lets the client know why: it is about the shape of
// the request.
func (j *judge) encryption(effect Effect, got, want, message string) {
	f := finding(j.op.keygen.encryptionAt, effect, got, want, "%s", message)
	f.Disclose = true
	j.found(f)
}

// keygenAttributes are read by keygen, and by nothing else.
var keygenAttributes = []string{csr.OIDDecryptKeyID, csr.OIDAsymmDecryptKeyID, csr.OIDSMIMECapabilities}

// readsKeygen tells whether the operation reads an attribute by itself.
func (o *op) readsKeygen(oid string) bool {
	return o.keygen != nil && slices.Contains(keygenAttributes, oid)
}

// hintsKeygen are the attributes that every request of the profile must have
// for the sake of /serverkeygen. RFC 7030 section 4.5.2 lets /csrattrs name any
// attribute, and there is one list for all operations: where keys of a device's
// own are certified, too, it would have them ask for what they don't need. Which
// identifier it is depends on who may ask: everybody with a client certificate
// has a key that counts.
func (p *Profile) hintsKeygen() []asn1.ObjectIdentifier {
	o := p.operations[ServerKeygen]
	if o == nil || o.keygen.clear || o.keygen.pkcs12 || len(p.offered()) > 1 {
		return nil
	}
	identifier := csr.OIDAsymmDecryptKeyID
	if slices.ContainsFunc(o.who, func(l whoLine) bool { return !slices.ContainsFunc(l.proofs, proof.isCert) }) {
		identifier = csr.OIDDecryptKeyID
	}
	return []asn1.ObjectIdentifier{mustOID(identifier), mustOID(csr.OIDSMIMECapabilities)}
}

// CheckMade holds a key that was made against the guardrails, as the key of a
// request would be: what refuses is a fault of who made it. The request is one
// with that key.
func (p *Profile) CheckMade(request *csr.Request) []Finding {
	o := p.operations[ServerKeygen]
	if o == nil || request == nil {
		return []Finding{p.notOffered(ServerKeygen)}
	}
	j := &judge{profile: p, op: o, req: Request{Op: ServerKeygen, CSR: request}}
	j.key()
	j.hygiene()
	if !o.keygen.key.takes(request.Key) {
		j.refuse(o.keygen.keyAt, BadKey, describeKey(request.Key), o.keygen.key.String(), "the key is %s, and %s was to be made", describeKey(request.Key), o.keygen.key)
	}
	return slices.DeleteFunc(j.findings, func(f Finding) bool { return !f.refuses() })
}
