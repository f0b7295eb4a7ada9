// SPDX-License-Identifier: Apache-2.0

package policy

import (
	eddsa "crypto/ed25519"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

const oncePolicy = `version: 1
name: once
default: a
profiles:
  a:
    enroll:
      who:
        - one_time_password: {}
          checks:
            - {id: known, rule: 'who.password.id == "one" && who.password.via == "basic"', message: another one}
        - all: [{http_basic: {users: [u]}}, {one_time_password: {via: otp_challenge}}]
        - client_cert: {anchor: idevid, registry: routers}
          checks:
            - {id: device, rule: 'who.device.registry == "routers" && who.device.identity == "serialNumber:" + csr.subject.serialNumber', message: another device}
        - client_cert: {anchor: plain}
      linking: if_present
    reenroll:
      who: [{client_cert: {anchor: ours, registry: routers}}]
      linking: if_present
      same_key: allow
    subject: {CN: {allow: ["*.example.net"]}, serialNumber: {allow: ["*"]}, O: {set: Example}}
    san: {dns: {allow: ["*.example.net"]}, ip: {set: 10.0.0.1}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func onceProfile(t *testing.T) *Profile {
	t.Helper()
	file, err := Parse("policy.yaml", []byte(oncePolicy))
	if err != nil {
		t.Fatal(err)
	}
	p, err := Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.UsesPasswords() && p.UsesRegistries(); !got {
		t.Error("the policy uses neither passwords nor registries")
	}
	profile, _ := p.Profile("")
	return profile
}

func signer(t *testing.T) eddsa.PrivateKey {
	t.Helper()
	_, key, err := eddsa.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func boundTo(t *testing.T, subject string, san ...string) BoundNames {
	t.Helper()
	b := BoundNames{Subject: subject != "", SAN: len(san) > 0}
	var err error
	if b.Names.Subject, err = csr.ParseName(subject); err != nil {
		t.Fatal(err)
	}
	for _, text := range san {
		name, err := csr.ParseGeneralName(text)
		if err != nil {
			t.Fatal(err)
		}
		b.Names.SAN = append(b.Names.SAN, name)
	}
	return b
}

func TestAOneTimePasswordIsGoodForItsNames(t *testing.T) {
	profile := onceProfile(t)
	for name, c := range map[string]struct {
		bound BoundNames
		want  string // in a refusing finding; "": allowed
	}{
		"free names":                             {BoundNames{}, ""},
		"its subject":                            {boundTo(t, "CN=a.example.net"), ""},
		"its subject, with what the policy sets": {boundTo(t, "O=Example, CN=A.example.net"), ""},
		"its SAN":                                {boundTo(t, "", "dns:a.example.net"), ""},
		"its SAN, with what the policy sets":     {boundTo(t, "", "ip:10.0.0.1", "dns:a.example.net"), ""},
		"another CN":                             {boundTo(t, "CN=b.example.net"), "for another subject: CN=b.example.net"},
		"a prefix of its CN":                     {boundTo(t, "CN=a.example.ne"), "for another subject"},
		"an attribute more":                      {boundTo(t, "CN=a.example.net, serialNumber=7"), "for another subject"},
		"another value than the policy sets":     {boundTo(t, "CN=a.example.net, O=Other"), "for another subject"},
		"another attribute alone":                {boundTo(t, "serialNumber=7"), "for another subject"},
		"another SAN":                            {boundTo(t, "", "dns:b.example.net"), "for another SAN: dns:b.example.net"},
		"a name less":                            {boundTo(t, "", "dns:a.example.net", "dns:b.example.net"), "for another SAN"},
		"an address that the policy doesn't set": {boundTo(t, "", "dns:a.example.net", "ip:10.0.0.2"), "for another SAN"},
	} {
		t.Run(name, func(t *testing.T) {
			req := parseRequest(t, "subject CN=a.example.net\nsan dns:a.example.net")
			req.Who.Passwords = []OneTimePassword{{ID: "one", Via: ViaBasic, Bound: c.bound}}
			d := profile.Decide(req)
			if c.want == "" {
				if d.Verdict != Allow || len(d.Uses) != 1 || d.Uses[0] != (Use{UsePassword, "one"}) {
					t.Errorf("%s, uses %v: %v", d.Verdict, d.Uses, d.Findings)
				}
				return
			}
			f, refused := d.Refusal()
			if !refused || f.Class != BadIdentity || !strings.Contains(f.Message, c.want) {
				t.Errorf("%s: %v, want %q", d.Verdict, d.Findings, c.want)
			}
		})
	}
}

func TestAPasswordForOneSANRefusesOthersBeside(t *testing.T) {
	req := parseRequest(t, "subject CN=a.example.net\nsan dns:a.example.net | dns:b.example.net")
	req.Who.Passwords = []OneTimePassword{{ID: "one", Via: ViaBasic, Bound: boundTo(t, "", "dns:a.example.net")}}
	if d := onceProfile(t).Decide(req); d.Verdict != Deny {
		t.Errorf("%s: %v", d.Verdict, d.Findings)
	}
}

func TestTheGateWaitsForTheBodyOnlyWhereItCanDecide(t *testing.T) {
	profile := onceProfile(t)
	basic := OneTimePassword{ID: "one", Via: ViaBasic}
	account := []Account{{Method: "http_basic", User: "u"}}
	for name, c := range map[string]struct {
		who  Identity
		want string
	}{
		"nobody":                          {Identity{}, "shut; an HTTP credential could open it (401)"},
		"a password by Basic":             {Identity{Passwords: []OneTimePassword{basic}}, "open"},
		"one without an id":               {Identity{Passwords: []OneTimePassword{{Via: ViaBasic}}}, "shut; an HTTP credential could open it (401)"},
		"an account alone":                {Identity{Accounts: account}, "shut; an HTTP credential could open it (401)"},
		"an account with its challenge":   {Identity{Accounts: account, Passwords: []OneTimePassword{{ID: "two", Via: ViaChallenge}}}, "open"},
		"a challenge without the account": {Identity{Passwords: []OneTimePassword{{ID: "two", Via: ViaChallenge}}}, "shut; an HTTP credential could open it (401)"},
	} {
		g := profile.Gate(SimpleEnroll, c.who, testNow)
		if got := g.String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
		if want := name == "an account alone"; g.Body != want {
			t.Errorf("%s: waits for the body: %v", name, g.Body)
		}
	}
}

func TestAChallengeThatIsThereMustBeRight(t *testing.T) {
	profile := onceProfile(t)
	req := parseRequest(t, "subject CN=a.example.net")
	parsed, err := csr.Parse(csrtest.New(t, csrtest.Subject(csrtest.CN("a.example.net")), csrtest.Attribute(otpChallenge, csrtest.UTF8("x"))))
	if err != nil {
		t.Fatal(err)
	}
	req.CSR = parsed
	req.Who.Passwords = []OneTimePassword{{ID: "one", Via: ViaBasic}}
	if d := profile.Decide(req); d.Verdict != Deny || !strings.Contains(d.Findings[0].Message, "no one-time password that is good here") {
		t.Errorf("a challenge that isn't proven: %s: %v", d.Verdict, d.Findings)
	}
	req.Who.Passwords = append(req.Who.Passwords, OneTimePassword{ID: "two", Via: ViaChallenge})
	if d := profile.Decide(req); d.Verdict != Allow {
		t.Errorf("one that is: %s: %v", d.Verdict, d.Findings)
	}
	req.Op, req.Renews = SimpleReenroll, nil
	if d := profile.Decide(req); d.Verdict != Deny {
		t.Error("an operation that takes none takes it")
	}
}

func TestADeviceBootstrapsOnceAndABlockedOneGetsNothing(t *testing.T) {
	profile := onceProfile(t)
	cert := testCert(t, "CN=x", signer(t), testNow.AddDate(0, -1, 0), testNow.AddDate(0, 1, 0))
	device := Device{Registry: "routers", Issuer: "aa", Identity: "serialNumber:7", State: Expected}
	for name, c := range map[string]struct {
		op      Op
		anchor  string
		state   DeviceState
		again   bool
		in      string // registry
		verdict Verdict
	}{
		"expected":                          {SimpleEnroll, "idevid", Expected, false, "routers", Allow},
		"enrolled":                          {SimpleEnroll, "idevid", Enrolled, false, "routers", Deny},
		"enrolled, and its answer was lost": {SimpleEnroll, "idevid", Enrolled, true, "routers", Allow},
		"blocked":                           {SimpleEnroll, "idevid", Blocked, false, "routers", Deny},
		"blocked, though it may ask again":  {SimpleEnroll, "idevid", Blocked, true, "routers", Deny},
		"in another registry":               {SimpleEnroll, "idevid", Expected, false, "spares", Deny},
		"a state that nobody knows":         {SimpleEnroll, "idevid", "", false, "routers", Deny},
		"no registry is asked":              {SimpleEnroll, "plain", Expected, false, "spares", Allow},
		"no registry is asked, and blocked": {SimpleEnroll, "plain", Blocked, false, "spares", Deny},
		"enrolled and renewing":             {SimpleReenroll, "ours", Enrolled, false, "routers", Allow},
		"blocked and renewing":              {SimpleReenroll, "ours", Blocked, false, "routers", Deny},
		"blocked elsewhere and renewing":    {SimpleReenroll, "ours", Blocked, false, "spares", Deny},
	} {
		t.Run(name, func(t *testing.T) {
			req := parseRequest(t, "subject serialNumber=7 | CN=a.example.net")
			if c.op == SimpleReenroll {
				req = parseRequest(t, "subject CN=x")
			}
			req.Op, req.Who.Cert, req.Who.Anchors = c.op, cert, []string{c.anchor}
			d := device
			d.Registry, d.State, d.Again = c.in, c.state, c.again
			req.Who.Devices = []Device{d}
			if c.op == SimpleReenroll {
				// Names are another rule's: the gate is asked.
				if open := profile.Gate(c.op, req.Who, req.Now).Open; open != (c.verdict == Allow) {
					t.Errorf("the gate is open: %v", open)
				}
				return
			}
			got := profile.Decide(req)
			if got.Verdict != c.verdict {
				t.Errorf("%s: %v", got.Verdict, got.Findings)
			}
			if uses := len(got.Uses) > 0; uses != (c.verdict == Allow && c.anchor == "idevid") {
				t.Errorf("it uses %v", got.Uses)
			}
		})
	}
}

func TestACertificateThatNamesNoIssuersKeyIsToldSo(t *testing.T) {
	p := proof{registry: "routers"}
	cert := testCert(t, "CN=x | serialNumber=S 7", signer(t), testNow, testNow.AddDate(0, 1, 0))
	for name, c := range map[string]struct {
		keyID []byte
		want  string
	}{
		"none":    {nil, "has no authorityKeyIdentifier"},
		"another": {[]byte{1}, `is of no device in the registry "routers"`},
	} {
		t.Run(name, func(t *testing.T) {
			cert.AuthorityKeyId = c.keyID
			got := p.checkDevice(asking{op: &op{name: SimpleEnroll}, who: Identity{Cert: cert}})
			if !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}

func TestDeviceKeysAreThoseThatTellTheDevice(t *testing.T) {
	read := func(names string) DeviceKeys {
		cert := testCert(t, names, signer(t), testNow, testNow.AddDate(0, 1, 0))
		cert.AuthorityKeyId = []byte{0xAB, 1}
		return DeviceKeysOf(cert)
	}
	keys := read("CN=x | serialNumber=S 7")
	if keys.Issuer != "ab01" || len(keys.Identities) != 1 || keys.Identities[0] != "serialNumber:S 7" || keys.Certificate == [32]byte{} {
		t.Errorf("%+v", keys)
	}
	if keys := read("serialNumber=1 | serialNumber=2"); len(keys.Identities) != 0 {
		t.Errorf("of two serial numbers one counts: %v", keys.Identities)
	}
	if keys := DeviceKeysOf(&x509.Certificate{}); keys.Issuer != "" || len(keys.Identities) != 0 {
		t.Errorf("an empty certificate has %+v", keys)
	}
}

func TestCSRAttrsAskForAChallengeWhereEachLineWantsOne(t *testing.T) {
	for who, want := range map[string]bool{
		"{one_time_password: {via: otp_challenge}}":                                      true,
		"{one_time_password: {via: otp_challenge}}, {http_basic: {users: [u]}}":          false,
		"{all: [{one_time_password: {via: otp_challenge}}, {http_basic: {users: [u]}}]}": true,
		"{one_time_password: {}}": false,
	} {
		text := strings.Replace(oncePolicy, oncePolicy[strings.Index(oncePolicy, "      who:\n"):strings.Index(oncePolicy, "      linking: if_present\n    reenroll")], "      who: ["+who+"]\n", 1)
		file, err := Parse("policy.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Compile(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		profile, _ := p.Profile("")
		got := false
		for _, oid := range profile.Hints(SimpleEnroll).Attributes {
			got = got || oid.String() == otpChallenge
		}
		if got != want {
			t.Errorf("%s: it is asked for: %v", who, got)
		}
	}
}
