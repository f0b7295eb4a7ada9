// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	. "github.com/caddy-est/estra/policy/csr/csrtest"
)

const cmcPolicy = `
version: 1
name: cmc
default: a
profiles:
  a:
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    fullcmc:
      enroll: {who: [{one_time_password: {}}], linking: required}
      reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, window: 50%}
      on_behalf:
        who: [{client_cert: {anchor: ours, role: ra, subject: {CN: ra}}, names: ["*.site.example"]}]
        linking: trusted
      revoke: {own: true, by_ra: true}
    subject: {CN: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestWhoMayComeByCMCIsSaidUnderFullCMCAlone(t *testing.T) {
	profile := mustProfile(t, cmcPolicy)
	ask := func(op Op, who Identity) Request {
		r, err := csr.Parse(New(t, Subject(CN("a.site.example"))))
		if err != nil {
			t.Fatal(err)
		}
		return Request{Op: op, Who: who, CSR: r, Linking: Matched, Now: testNow}
	}
	basic := Identity{Accounts: []Account{{Method: "http_basic", User: "u"}}}
	proof := Identity{Passwords: []OneTimePassword{{ID: "x", Via: ViaProof}}}
	plain := Identity{Passwords: []OneTimePassword{{ID: "x", Via: ViaBasic}}}
	for name, test := range map[string]struct {
		req  Request
		want Verdict
	}{
		"an account at /simpleenroll":             {ask(SimpleEnroll, basic), Allow},
		"an account by CMC":                       {ask(CMCEnroll, basic), Deny},
		"a password by CMC":                       {ask(CMCEnroll, proof), Allow},
		"a password of HTTP Basic by CMC":         {ask(CMCEnroll, plain), Deny},
		"a password of CMC at /simpleenroll":      {ask(SimpleEnroll, proof), Deny},
		"a renewal at /simplereenroll":            {ask(SimpleReenroll, proof), Deny},
		"a renewal by CMC without a certificate":  {ask(CMCReenroll, proof), Deny},
		"an operation that is the path's alone":   {ask(FullCMC, proof), Deny},
		"revocation, which is no request for one": {ask(CMCRevoke, proof), Deny},
	} {
		t.Run(name, func(t *testing.T) {
			if d := profile.Decide(test.req); d.Verdict != test.want {
				t.Errorf("%v: %v", d.Verdict, d.Findings)
			}
		})
	}
	if !profile.Offers(FullCMC) || !profile.Offers(CMCReenroll) || profile.Offers(SimpleReenroll) || profile.OffersOnBehalf() {
		t.Error("what the profile offers is wrong")
	}
}

func TestALineSaysWhichIdentityProofsItTakes(t *testing.T) {
	r, err := csr.Parse(New(t, Subject(CN("a.site.example"))))
	if err != nil {
		t.Fatal(err)
	}
	for line, wants := range map[string]map[string]Verdict{
		"one_time_password: {}":          {ViaProof: Allow, ViaProofV1: Deny},
		"one_time_password: {v1: false}": {ViaProof: Allow, ViaProofV1: Deny},
		"one_time_password: {v1: true}":  {ViaProof: Allow, ViaProofV1: Allow, ViaBasic: Deny},
	} {
		profile := mustProfile(t, strings.Replace(cmcPolicy, "one_time_password: {}", line, 1))
		for via, want := range wants {
			who := Identity{Passwords: []OneTimePassword{{ID: "x", Via: via}}}
			if d := profile.Decide(Request{Op: CMCEnroll, Who: who, CSR: r, Linking: Matched, Now: testNow}); d.Verdict != want {
				t.Errorf("%s, by %s: %v %v", line, via, d.Verdict, d.Findings)
			}
			if profile.TakesPassword(CMCEnroll, via) != (want == Allow) || profile.TakesPassword(SimpleEnroll, via) {
				t.Errorf("%s: by %s", line, via)
			}
		}
	}
}

// A request says by popLinkWitnessV2 that it is linked. Outside of CMC nothing
// reads it.
func TestTheLinkOfACMCMessageIsNoAttributeOfThePolicy(t *testing.T) {
	profile := mustProfile(t, cmcPolicy)
	r, err := csr.Parse(New(t, Subject(CN("a.site.example")), Attribute("1.3.6.1.5.5.7.7.33", SEQ())))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		op   Op
		who  Identity
		want Verdict
	}{
		"by CMC":          {CMCEnroll, Identity{Passwords: []OneTimePassword{{ID: "x", Via: ViaProof}}}, Allow},
		"at simpleenroll": {SimpleEnroll, Identity{Accounts: []Account{{Method: "http_basic", User: "u"}}}, Deny},
	} {
		if d := profile.Decide(Request{Op: test.op, Who: test.who, CSR: r, Linking: Matched, Now: testNow}); d.Verdict != test.want {
			t.Errorf("%s: %v %v", name, d.Verdict, d.Findings)
		}
	}
}

// mustProfile compiles a policy of one profile.
func mustProfile(t *testing.T, text string) *Profile {
	t.Helper()
	file, err := Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.Profiles()[0]
}

func TestWhatAnRAMayRelayAndRevoke(t *testing.T) {
	profile := mustProfile(t, cmcPolicy)
	registrar := func(cn string) Registrar {
		r, err := NewRegistrar(Identity{Cert: raCert(t, cn), Anchors: []string{"ours"}}, []string{"ours"})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	named, other := registrar("ra"), registrar("rb")
	inside := csr.Names{Subject: mustName(t, "CN=a.site.example")}
	outside := csr.Names{Subject: mustName(t, "CN=a.example")}
	for name, test := range map[string]struct {
		by    Registrar
		names csr.Names
		own   bool
		relay bool
		revok bool
	}{
		"a name of the line":           {named, inside, false, true, true},
		"another name":                 {named, outside, false, false, false},
		"no name":                      {named, csr.Names{}, false, false, false},
		"an RA that no line names":     {other, inside, false, false, false},
		"nobody":                       {Registrar{}, inside, false, false, false},
		"nobody, for its own":          {Registrar{}, outside, true, false, true},
		"another RA, for its own":      {other, outside, true, false, true},
		"a form that the line has not": {named, csr.Names{SAN: mustSAN(t, "ip:10.0.0.1"), HasSAN: true}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := profile.Relays(test.by, test.names, testNow); got != test.relay {
				t.Errorf("relays: %t", got)
			}
			got, why := profile.DecideRevocation(Revocation{Names: test.names, Own: test.own, By: test.by, Now: testNow})
			if got != test.revok || got == (why.Message != "") {
				t.Errorf("revokes: %t, %s", got, why)
			}
		})
	}
	quiet := mustProfile(t, onlyEnroll)
	if ok, why := quiet.DecideRevocation(Revocation{Own: true, Names: inside}); ok || why.Pos.Line == 0 {
		t.Errorf("a profile without fullcmc revokes: %t, %v", ok, why)
	}
}

const onlyEnroll = `
version: 1
name: x
default: a
profiles:
  a:
    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}
    subject: {CN: {allow: ["**"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func mustName(t *testing.T, text string) csr.Name {
	t.Helper()
	name, err := csr.ParseName(text)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func mustSAN(t *testing.T, text string) []csr.GeneralName {
	t.Helper()
	name, err := csr.ParseGeneralName(text)
	if err != nil {
		t.Fatal(err)
	}
	return []csr.GeneralName{name}
}

// raCert is a certificate with id-kp-cmcRA.
func raCert(t *testing.T, cn string) *x509.Certificate {
	t.Helper()
	subject, err := mustName(t, "CN="+cn).MarshalDER()
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{
		RawSubject: subject, NotBefore: testNow.AddDate(-1, 0, 0), NotAfter: testNow.AddDate(1, 0, 0),
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 28}},
	}
}
