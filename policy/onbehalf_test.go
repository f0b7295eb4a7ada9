// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"encoding/asn1"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

// A certificate makes an RA by id-kp-cmcRA and by its issuer, never by one of
// the two, and never by an identity that an end entity has.
func TestThreat_RAOverTrust_BothMakeARegistrar(t *testing.T) {
	ra := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}
	cert := func(usages ...asn1.ObjectIdentifier) *x509.Certificate {
		return testCert(t, "CN=ra.example", csrtest.Key(t, "P-256/ra"), testNow.AddDate(0, -1, 0), testNow.AddDate(0, 1, 0), usages...)
	}
	for name, c := range map[string]struct {
		cert    *x509.Certificate
		anchors []string
		issuers []string
		want    string
	}{
		"both":                                  {cert(ra), []string{"ours"}, []string{"ours"}, ""},
		"no certificate":                        {nil, []string{"ours"}, []string{"ours"}, "no client certificate"},
		"no cmcRA":                              {cert(), []string{"ours"}, []string{"ours"}, "not for id-kp-cmcRA"},
		"anyExtendedKeyUsage":                   {cert(asn1.ObjectIdentifier{2, 5, 29, 37, 0}), []string{"ours"}, []string{"ours"}, "not for id-kp-cmcRA"},
		"cmcCA":                                 {cert(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 27}), []string{"ours"}, []string{"ours"}, "not for id-kp-cmcRA"},
		"no issuer":                             {cert(ra), []string{"ours"}, nil, `verifies under "ours"`},
		"an issuer under which it doesn't hold": {cert(ra), []string{"ours"}, []string{"partner"}, `verifies under "ours"`},
	} {
		t.Run(name, func(t *testing.T) {
			by, err := NewRegistrar(Identity{Cert: c.cert, Anchors: c.anchors}, c.issuers)
			if err == nil != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || by.Proven() != (err == nil) {
				t.Errorf("%v, proven %v", err, by.Proven())
			}
		})
	}
}

const twoWays = `version: 1
name: x
default: a
profiles:
  a:
    on_behalf:
      who: [{client_cert: {anchor: ANCHOR, role: ra, subject: {CN: ra.example}}, names: ["*.example.net"]}]
      linking: trusted
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestThreat_RAOverTrust_NoEndEntityReachesOnBehalf(t *testing.T) {
	profile, _ := mustCompile(t, "p.yaml", []byte(strings.Replace(twoWays, "ANCHOR", "ours", 1))).Profile("")
	arrival := parseArrival(t, "ra ours CN=ra.example\nsubject CN=a.example.net\nlinking mismatched")
	if d := arrival.Decide(profile); d.Verdict != Allow {
		t.Fatalf("%s %v", d.Verdict, d.Findings)
	}
	for _, op := range []Op{SimpleEnroll, SimpleReenroll, ServerKeygen, FullCMC, "on_behalf", ""} {
		asEndEntity := arrival.Request
		asEndEntity.Op = op
		if d := profile.Decide(asEndEntity); d.Verdict != Deny || profile.Gate(op, asEndEntity.Who, testNow).Open {
			t.Errorf("%q as an end entity: %s %v", op, d.Verdict, d.Findings)
		}
	}
	for _, op := range []Op{SimpleReenroll, ServerKeygen, FullCMC, "on_behalf"} {
		other := arrival
		other.Op = op
		if d := other.Decide(profile); d.Verdict != Deny || other.Gate(profile).Open {
			t.Errorf("%q by an RA: %s %v", op, d.Verdict, d.Findings)
		}
	}
	onBehalf, ok := arrival.OnBehalf(profile)
	if !ok {
		t.Fatal("not on behalf")
	}
	onBehalf.By = Registrar{}
	if d := profile.DecideOnBehalf(onBehalf); d.Verdict != Deny || profile.GateOnBehalf(SimpleEnroll, Registrar{}, testNow).Open {
		t.Errorf("by nobody: %s", d.Verdict)
	}
	if d := profile.DecideOnBehalf(OnBehalf{}); d.Verdict != Deny {
		t.Errorf("the zero value: %s", d.Verdict)
	}
}

// /csrattrs is one list for everybody: an RA is told of an otpChallenge, too,
// and one that it passes on is refused. It proves nothing for it.
func TestTheListIsForThoseWhoAskForThemselves(t *testing.T) {
	both := strings.Replace(strings.Replace(twoWays, "ANCHOR", "ours", 1), "    on_behalf:",
		"    enroll: {who: [{one_time_password: {via: otp_challenge}}], linking: if_present}\n    on_behalf:", 1)
	for text, want := range map[string]Verdict{both: Deny, both + "    attributes: {ignore: [otpChallenge]}\n": Allow} {
		profile, _ := mustCompile(t, "p.yaml", []byte(text)).Profile("")
		if !slices.ContainsFunc(profile.Hints(CSRAttrs).Attributes, mustOID(otpChallenge).Equal) {
			t.Error("the list has no otpChallenge")
		}
		arrival := parseArrival(t, "ra ours CN=ra.example\nsubject CN=a.example.net\nlinking mismatched")
		if d := arrival.Decide(profile); d.Verdict != Allow {
			t.Errorf("without it: %s %v", d.Verdict, d.Findings)
		}
		var err error
		arrival.CSR, err = csr.Parse(csrtest.New(t, csrtest.Subject(csrtest.CN("a.example.net")), csrtest.Attribute(otpChallenge, csrtest.UTF8("x"))))
		if err != nil {
			t.Fatal(err)
		}
		if d := arrival.Decide(profile); d.Verdict != want {
			t.Errorf("with it: %s, want %s: %v", d.Verdict, want, d.Findings)
		}
	}
}

func TestARoleWantsAnAnchorOfIssuersOfRAs(t *testing.T) {
	all := Capabilities{Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true}
	for name, c := range map[string]struct {
		anchor string
		want   string
	}{
		"the issuing keys of the profile's upstream": {"ours", ""},
		"another upstream's":                         {"theirs", "is neither"},
		"files":                                      {"vendor", "is neither"},
		"files that the configuration names":         {"partner", ""},
		"none":                                       {"nobody", "no anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			p := mustCompile(t, "p.yaml", []byte(strings.Replace(twoWays, "ANCHOR", c.anchor, 1)+"    upstream: ca\n"))
			err := p.Bind(Environment{
				Anchors: []string{"ours", "theirs", "vendor", "partner"}, Upstreams: map[string]Capabilities{"ca": all, "other": all},
				Issuing: map[string]string{"ours": "ca", "theirs": "other"}, RAIssuers: []string{"partner"},
			})
			if err == nil != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
}

// A registration authority that is blocked is still the one that the policy
// names, so that it doesn't become a client as any other; and what it asks for
// uses up nothing of its own entry in a registry.
func TestThreat_RAOverTrust_ABlockedRegistrarAsksForNobody(t *testing.T) {
	source := strings.NewReplacer("ANCHOR, ", "ours, registry: ras, ", "    on_behalf:", "    enroll: {who: [{http_basic: {users: [u]}}], linking: if_present}\n    on_behalf:").Replace(twoWays)
	profile, _ := mustCompile(t, "p.yaml", []byte(source)).Profile("")
	for name, c := range map[string]struct {
		devices []Device
		want    string // "": allowed
	}{
		"in no registry":       {nil, `is of no device in the registry "ras"`},
		"expected":             {[]Device{{Registry: "ras", Issuer: "00", Identity: "serialNumber:1", State: Expected}}, ""},
		"enrolled":             {[]Device{{Registry: "ras", Issuer: "00", Identity: "serialNumber:1", State: Enrolled}}, ""},
		"blocked":              {[]Device{{Registry: "ras", Issuer: "00", Identity: "serialNumber:1", State: Blocked}}, "is blocked"},
		"blocked in some list": {[]Device{{Registry: "others", Issuer: "00", Identity: "serialNumber:1", State: Blocked}}, "is blocked"},
	} {
		t.Run(name, func(t *testing.T) {
			arrival := parseArrival(t, "ra ours CN=ra.example\nsubject CN=a.example.net\nlinking mismatched")
			arrival.Who.Accounts, arrival.Who.Devices = []Account{{Method: "http_basic", User: "u"}}, c.devices
			arrival.Who.Cert.AuthorityKeyId = []byte{1}
			by, err := NewRegistrar(arrival.Who, arrival.Who.Anchors)
			if err != nil {
				t.Fatal(err)
			}
			arrival.By = by
			if _, is := arrival.OnBehalf(profile); !is {
				t.Error("it asks for itself")
			}
			d, gate := arrival.Decide(profile), arrival.Gate(profile)
			if c.want == "" {
				if d.Verdict != Allow || !gate.Open || len(d.Uses) != 0 {
					t.Errorf("%s, gate %s, uses %v: %v", d.Verdict, gate, d.Uses, d.Findings)
				}
				return
			}
			if d.Verdict != Deny || gate.Open || len(gate.Findings) != 1 || !strings.Contains(gate.Findings[0].Message, c.want) {
				t.Errorf("%s, gate %s: %v", d.Verdict, gate, gate.Findings)
			}
		})
	}
}
