// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

const keygenPolicy = `
version: 1
name: x
default: a
guardrails: {keys: {rsa: [2048, 3072], ecdsa: [P-256, P-384]}}
profiles:
  a:
    serverkeygen: {enabled: true, who: [{http_basic: {users: [u]}}], KEY}
    subject: {CN: {allow: ["*.example.net"]}}
    PROFILE
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

// keygenProfile is keygenPolicy with more under serverkeygen and the profile.
func keygenProfile(t *testing.T, key, profile string) *Profile {
	t.Helper()
	src := strings.NewReplacer("KEY", key, "PROFILE", profile).Replace(keygenPolicy)
	p, ok := mustCompile(t, "policy.yaml", []byte(src)).Profile("")
	if !ok {
		t.Fatal("no profile")
	}
	return p
}

func TestTheKeyThatIsMade(t *testing.T) {
	for name, c := range map[string]struct{ key, profile, want string }{
		"its own":                          {"key: P-384", "key: {rsa: [2048]}", "P-384"},
		"the first of the profile's":       {"encryption: if_asked", "key: {rsa: [3072], ecdsa: [P-256]}", "rsa3072"},
		"the first of the guardrail's":     {"encryption: if_asked", "about: x", "rsa2048"},
		"that, where signatures are named": {"encryption: if_asked", "key: {signatures: [SHA256-RSA, ECDSA-SHA256]}", "rsa2048"},
	} {
		p := keygenProfile(t, c.key, c.profile)
		d := p.Decide(Request{
			Op: ServerKeygen, Who: Identity{Accounts: []Account{{httpBasic, "u"}}}, Keyless: keyless(t, csrtest.Subject(csrtest.CN("a.example.net"))),
			Now: testNow,
		})
		if c.key == "key: P-384" {
			if d.Verdict != Deny || d.Keygen != nil {
				t.Errorf("%s: nothing is to be given out in clear, and the verdict is %s, %v", name, d.Verdict, d.Keygen)
			}
			d.Keygen = &Keygen{Key: p.operations[ServerKeygen].keygen.key.key()}
		}
		if got := KeyName(d.Keygen.Key); got != c.want {
			t.Errorf("%s: %s is made, and %s is wanted", name, got, c.want)
		}
	}
}

func keyless(t *testing.T, opts ...csrtest.Option) *csr.Keyless {
	t.Helper()
	k, err := csr.ParseKeyless(csrtest.New(t, opts...))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestARequestWhoseKeyDoesNotCountIsForServerkeygenAlone(t *testing.T) {
	src := strings.NewReplacer("KEY", "encryption: if_asked", "PROFILE", "enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}").Replace(keygenPolicy)
	p, _ := mustCompile(t, "policy.yaml", []byte(src)).Profile("")
	who := Identity{Accounts: []Account{{httpBasic, "u"}}}
	parsed, err := csr.Parse(csrtest.New(t, csrtest.Subject(csrtest.CN("a.example.net"))))
	if err != nil {
		t.Fatal(err)
	}
	lenient := keyless(t, csrtest.Subject(csrtest.CN("a.example.net")))
	for name, c := range map[string]struct {
		req  Request
		want Verdict
	}{
		"keyless to serverkeygen":                  {Request{Op: ServerKeygen, Keyless: lenient}, Allow},
		"with a key to simpleenroll":               {Request{Op: SimpleEnroll, CSR: parsed}, Allow},
		"keyless to simpleenroll":                  {Request{Op: SimpleEnroll, Keyless: lenient}, Deny},
		"with a key to serverkeygen":               {Request{Op: ServerKeygen, CSR: parsed}, Deny},
		"both to serverkeygen":                     {Request{Op: ServerKeygen, CSR: parsed, Keyless: lenient}, Deny},
		"both to simpleenroll":                     {Request{Op: SimpleEnroll, CSR: parsed, Keyless: lenient}, Deny},
		"neither":                                  {Request{Op: ServerKeygen}, Deny},
		"its view, taken for one with a key":       {Request{Op: SimpleEnroll, CSR: lenient.Unkeyed()}, Deny},
		"an unproven linking value where it isn't": {Request{Op: SimpleEnroll, CSR: parsed, Linking: Unproven}, Deny},
	} {
		c.req.Who, c.req.Now = who, testNow
		if d := p.Decide(c.req); d.Verdict != c.want || (d.Keygen != nil) != (c.want == Allow && c.req.Op == ServerKeygen) {
			t.Errorf("%s: %s, keygen %v; findings %v", name, d.Verdict, d.Keygen, d.Findings)
		}
	}
}

func TestAKeyThatWasMadeIsHeldAgainstTheGuardrails(t *testing.T) {
	p := keygenProfile(t, "key: P-256", "about: x")
	request := func(signer crypto.Signer, opts ...csrtest.Option) *csr.Request {
		r, err := csr.Parse(csrtest.New(t, append(opts, csrtest.Signer(signer))...))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if findings := p.CheckMade(request(csrtest.Key(t, "P-256"))); len(findings) > 0 {
		t.Errorf("a good key: %v", findings)
	}
	for name, r := range map[string]*csr.Request{
		"another kind than was to be made": request(csrtest.Key(t, "P-384")),
		"a kind beyond the guardrail":      request(csrtest.Key(t, "ed25519")),
		"a weak key":                       request(csrtest.Key(t, "rsa2048"), csrtest.SPKI(marshalSPKI(t, &rsa.PublicKey{N: weakModulus(t, "roca"), E: exponentOfMade}))),
		"no key":                           keyless(t).Unkeyed(),
		"nothing":                          nil,
	} {
		if findings := p.CheckMade(r); len(findings) == 0 {
			t.Errorf("%s: nothing was found", name)
		}
	}
}

func TestCSRAttrsAskForAKeyToEncryptForWhereEveryRequestNeedsOne(t *testing.T) {
	asked := func(p *Profile) []string {
		var names []string
		for _, oid := range p.Hints(SimpleEnroll).Attributes {
			names = append(names, attributeName(oid))
		}
		return names
	}
	for name, c := range map[string]struct {
		key, profile string
		want         int
	}{
		"keys are made alone, and go out encrypted": {"encryption: required", "about: x", 2},
		"they may go out in clear":                  {"encryption: if_asked", "about: x", 0},
		"devices' own keys are certified, too":      {"encryption: required", "enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}", 0},
	} {
		got := asked(keygenProfile(t, c.key, c.profile))
		if len(got) != c.want || c.want > 0 && (got[0] != "decryptKeyID" || got[1] != "smimeCapabilities") {
			t.Errorf("%s: %v", name, got)
		}
	}
}
