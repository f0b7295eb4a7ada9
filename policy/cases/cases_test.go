// SPDX-License-Identifier: Apache-2.0

package cases

import (
	"crypto/x509"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

func compiled(t *testing.T, text string) *policy.Policy {
	t.Helper()
	file, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	p, err := policy.Compile(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const everything = `version: 1
name: everything
default: all
profiles:
  all:
    enroll: {who: [{http_basic: {users: [one]}}, {client_cert: {anchor: depot, issuer: {CN: depots}, serial: "0a1b", san: {dns: ["*.example"]}}}, {provider: {name: ldap}}], linking: if_present}
    reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, renewals: 4, enrolled_within: 365d}
    on_behalf: {who: [{client_cert: {anchor: ours, role: ra, subject: {CN: ra.example}}, names: ["*.site.example.net", "a.example.net"]}], linking: trusted}
    subject: {CN: {allow: ["*.example.net"]}}
    san:
      dns: {allow: ["*.example.net"]}
      upn: {allow: ["*@example.net"]}
    attributes: {allow: [friendlyName]}
    extensions: {allow: [tlsFeature]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func run(t *testing.T, text string, files fstest.MapFS) Run {
	t.Helper()
	tests, err := policy.ParseTests("policy_test.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Test(compiled(t, everything), tests.Cases, files, nil)
}

func TestACaseIsMadeOfItsFields(t *testing.T) {
	der := csrtest.New(t, csrtest.Subject(csrtest.CN("f.example.net")))
	result := run(t, `version: 1
cases:
  - name: fields
    who: {basic: one}
    csr:
      subject: CN=a.example.net
      san: ["dns:a.example.net", "upn:a@example.net"]
      key: ed25519
      attributes: {friendlyName: a friend}
      extensions: {tlsFeature: MAMCAQU=}
      key_usage: [digitalSignature]
      ext_key_usage: [clientAuth]
    want:
      verdict: allow
      plan:
        subject: CN=a.example.net
        san: ["upn:a@example.net", "dns:a.example.net"]
        key_usage: [digitalSignature]
        ext_key_usage: [clientAuth]
        extensions: [tlsFeature]
        validity: 720h
  - name: a file
    who: {provider: {name: ldap, user: two}}
    csr: {file: f.csr}
    want: {verdict: allow, plan: {subject: CN=f.example.net}}
  - name: a certificate
    who: {cert: {anchor: [depot, other], subject: CN=depot, issuer: CN=depots, serial: "0A:1B", san: ["dns:depot.example"], not_after: 2027-01-01T00:00:00Z}}
    linking: matched
    csr: {subject: CN=a.example.net, key: rsa2048}
    want: {verdict: allow}
  - name: one that has ended
    who: {cert: {anchor: depot, not_before: 2025-01-01T00:00:00Z, not_after: 2025-02-01T00:00:00Z}}
    csr: {subject: CN=a.example.net}
    want: {verdict: deny, findings: [enroll.who]}
  - name: the renewed key
    op: simplereenroll
    who: {cert: {anchor: ours, subject: CN=a.example.net}}
    csr: {subject: CN=a.example.net, same_key: true}
    want: {verdict: deny, findings: [{path: reenroll.same_key, effect: refused}], only: true}
  - name: renewed as often as may be
    op: simplereenroll
    renewed: 4
    who: {cert: {anchor: ours, subject: CN=a.example.net}}
    csr: {subject: CN=a.example.net}
    want: {verdict: deny, findings: [reenroll.renewals], only: true}
  - name: renewed once less
    op: simplereenroll
    renewed: 3
    who: {cert: {anchor: ours, subject: CN=a.example.net}}
    csr: {subject: CN=a.example.net}
    want: {verdict: allow}
  - name: enrolled long ago
    op: simplereenroll
    renewed: 3
    enrolled: 2024-01-01T00:00:00Z
    who: {cert: {anchor: ours, subject: CN=a.example.net}}
    csr: {subject: CN=a.example.net}
    want: {verdict: deny, findings: [reenroll.enrolled_within], only: true}
  - name: an RA for a device
    linking: mismatched
    who: {cert: {anchor: ours, role: ra, subject: CN=ra.example}}
    csr: {subject: CN=a.example.net}
    want: {verdict: allow}
  - name: an RA for a name that isn't its own to give
    who: {cert: {anchor: ours, role: ra, subject: CN=ra.example}}
    csr: {subject: CN=b.example.net}
    want: {verdict: deny, findings: [on_behalf.who.names], only: true}
  - name: its name without the role
    who: {cert: {anchor: ours, subject: CN=ra.example}}
    csr: {subject: CN=a.example.net}
    want: {verdict: deny, findings: [enroll.who]}
  - name: a key of another device
    who: {basic: one}
    key_held_by: CN=b.example.net
    csr: {subject: CN=a.example.net}
    want: {verdict: deny, findings: [guardrails.hygiene.reuse], only: true}
`, fstest.MapFS{"f.csr": {Data: der}})
	for _, r := range result.Results {
		if !r.Passed() {
			t.Errorf("%s:\n%s", r.Case.Name, strings.Join(r.Problems, "\n"))
		}
	}
}

func TestACaseThatWantsSomethingElseFailsAndSaysSo(t *testing.T) {
	for name, c := range map[string]struct{ want, problem string }{
		"the verdict":             {"{verdict: deny}", "the verdict is allow, and deny is wanted"},
		"a finding":               {"{verdict: allow, findings: [san.dns]}", "no finding is of san.dns"},
		"the effect of a finding": {"{verdict: allow, findings: [{path: x, effect: warned}]}", "no finding is warned of x"},
		"a part of the plan":      {"{verdict: allow, plan: {san: [\"dns:b.example.net\"]}}", `san of the certificate is "", and "dns:b.example.net" is wanted`},
	} {
		t.Run(name, func(t *testing.T) {
			result := run(t, "version: 1\ncases:\n  - {name: x, who: {basic: one}, csr: {subject: CN=a.example.net}, want: "+c.want+"}\n", nil)
			problems := strings.Join(result.Results[0].Problems, "\n")
			if !strings.Contains(problems, c.problem) || !strings.HasPrefix(problems, "policy_test.yaml:3:") {
				t.Errorf("got %q, want %q", problems, c.problem)
			}
		})
	}
}

func TestCoverageCountsWhatDecided(t *testing.T) {
	result := run(t, "version: 1\ncases:\n  - {name: x, who: {basic: one}, csr: {subject: CN=a.example.net}, want: {verdict: allow}}\n", nil)
	var paths []string
	for _, u := range result.Coverage.Untouched {
		paths = append(paths, u.Path+"="+u.Value)
	}
	for _, want := range []string{"profiles.all.enroll.who={provider: {name: ldap}}", "profiles.all.san.upn.allow=*@example.net", "profiles.all.reenroll=offered"} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s counts as asked; not asked are %q", want, paths)
		}
	}
	for _, asked := range []string{"profiles.all.subject.CN.allow=*.example.net", "profiles.all.enroll.linking=if_present", "profiles.all.enroll.who={http_basic: {users: [one]}}"} {
		if slices.Contains(paths, asked) {
			t.Errorf("%s counts as not asked", asked)
		}
	}
	if c := result.Coverage; c.Touched+len(c.Untouched) != c.Units || c.Percent() != 100*c.Touched/c.Units {
		t.Errorf("%+v", c)
	}
}

func TestAKeyIsTheSameEachTimeAndAnotherByAnotherName(t *testing.T) {
	for _, kind := range []string{"P-256", "P-384", "P-521", "ed25519", "rsa2048", "rsa3072", "rsa8192"} {
		der := func(name string) string {
			public, _, err := publicKey(kind, name)
			if err != nil {
				t.Fatal(err)
			}
			key, err := x509.MarshalPKIXPublicKey(public)
			if err != nil {
				t.Fatal(err)
			}
			return string(key)
		}
		if once, twice := der("a"), der("a"); once != twice || once == der("b") {
			t.Errorf("%s: another key each time, or the same by another name", kind)
		}
	}
}

// A modulus of a case must pass for a good one with every policy.
func TestAMadeModulusIsStrongAndHasItsLength(t *testing.T) {
	for _, bits := range []int{2048, 3072, 4100} {
		if n := modulus(bits, "x"); n.BitLen() != bits || !strong(n) {
			t.Errorf("%d: %d bits", bits, n.BitLen())
		}
	}
	if strong(big.NewInt(3*1000003)) || strong(new(big.Int).Mul(big.NewInt(1000003), big.NewInt(1000033))) {
		t.Error("a weak modulus is strong")
	}
}

// A request of fields decides as one with the same parts that a device signed.
func TestARequestOfFieldsDecidesAsASignedOne(t *testing.T) {
	der := csrtest.New(t, csrtest.Subject(csrtest.CN("a.example.org"), csrtest.O("x")), csrtest.SAN(csrtest.DNS("a.example.net"), csrtest.DNS("b.example.org")))
	result := run(t, `version: 1
cases:
  - {name: signed, who: {basic: one}, csr: {file: a.csr}, want: {verdict: deny}}
  - {name: of fields, who: {basic: one}, csr: {subject: "CN=a.example.org, O=x", san: ["dns:a.example.net", "dns:b.example.org"]}, want: {verdict: deny}}
`, fstest.MapFS{"a.csr": {Data: der}})
	signed, fields := policy.ExplainText(result.Results[0].Decision, policy.Gate{}), policy.ExplainText(result.Results[1].Decision, policy.Gate{})
	if signed != fields || !strings.Contains(signed, "refused") {
		t.Errorf("signed:\n%s\nof fields:\n%s", signed, fields)
	}
}

func TestARequestWhoseSignatureIsForgedIsNoRequest(t *testing.T) {
	der := csrtest.New(t, csrtest.Subject(csrtest.CN("f.example.net")))
	der[len(der)-1] ^= 1
	result := run(t, "version: 1\ncases:\n  - {name: a, who: {basic: one}, csr: {file: f.csr}, want: {verdict: allow}}\n", fstest.MapFS{"f.csr": {Data: der}})
	if problems := result.Results[0].Problems; len(problems) != 1 || !strings.Contains(problems[0], "policy_test.yaml:3:34: f.csr: ") {
		t.Errorf("%q", problems)
	}
}

func TestACaseMayHoldTheGateSizeSignatureAndAnchor(t *testing.T) {
	const bounded = `version: 1
name: bounded
default: all
guardrails: {limits: {csr_bytes: 2KiB}}
profiles:
  all:
    enroll: {who: [{http_basic: {users: [one]}}], linking: if_present}
    subject: {CN: {allow: ["*.example.net"]}}
    key: {ecdsa: [P-256], signatures: [ECDSA-SHA256]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
  within:
    labels: [within]
    enroll: {who: [{client_cert: {anchor: depot}}], linking: if_present}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d, within: [anchor]}
`
	tests, err := policy.ParseTests("t.yaml", []byte(`version: 1
cases:
  - {name: nobody, csr: {subject: CN=a.example.net}, want: {verdict: deny, gate: challenge}}
  - {name: somebody else, who: {cert: {anchor: other}}, csr: {subject: CN=a.example.net}, want: {verdict: deny, gate: challenge}}
  - {name: open, who: {basic: one}, csr: {subject: CN=a.example.net}, want: {verdict: allow, gate: open, plan: {validity: 30d}}}
  - {name: large, who: {basic: one}, csr: {subject: CN=a.example.net, size: 3KiB}, want: {verdict: deny, only: true, findings: [limits.csr_bytes]}}
  - {name: signed otherwise, who: {basic: one}, csr: {subject: CN=a.example.net, signature: ECDSA-SHA512}, want: {verdict: deny, only: true, findings: [key.signatures]}}
  - {name: an authority, who: {basic: one}, csr: {subject: CN=a.example.net, ca: true}, want: {verdict: deny, only: true, findings: [guardrails.never]}}
  - {name: no authority, who: {basic: one}, csr: {subject: CN=a.example.net, ca: false}, want: {verdict: allow}}
  - {name: not beyond the anchor, label: within, at: 2026-03-01T00:00:00Z, who: {cert: {anchor: depot, anchor_ends: 2026-03-10T23:59:59Z}}, csr: {subject: CN=a.example.net}, want: {verdict: allow, plan: {validity: 10d}}}
  - {name: wrong, who: {basic: one}, csr: {subject: CN=a.example.net}, want: {verdict: allow, gate: shut}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range Test(compiled(t, bounded), tests.Cases, nil, nil).Results {
		if wrong := i == len(tests.Cases)-1; wrong == r.Passed() {
			t.Errorf("%s: %q", r.Case.Name, r.Problems)
		}
	}
}

func FuzzParseTests(f *testing.F) {
	if src, err := os.ReadFile("../../module/command/testdata/test.txtar"); err == nil {
		f.Add(src)
	}
	f.Add([]byte("version: 1\ncases:\n  - {name: x, csr: {subject: CN=a}, want: {verdict: allow}}\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		tests, err := policy.ParseTests("fuzz.yaml", src)
		if err != nil {
			return
		}
		for _, c := range tests.Cases[:min(len(tests.Cases), 3)] {
			if strings.HasPrefix(c.CSR.Key, "rsa") {
				continue
			}
			_, _ = builder{nil, c}.request()
		}
	})
}

func TestANameIsWantedAsThePolicySpellsIt(t *testing.T) {
	const text = `version: 1
name: names
default: all
profiles:
  all:
    enroll: {who: [{http_basic: {users: [one]}}], linking: if_present}
    subject: {CN: {allow: ["*"]}}
    san: {other_name: {"1.2.3": {set: "ia5:x"}}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    extensions: {set: {"1.2.4": {utf8: x, critical: true}}}
    validity: {default: 30d}
`
	tests, err := policy.ParseTests("policy_test.yaml", []byte(`version: 1
cases:
  - name: an otherName
    who: {basic: one}
    csr: {subject: CN=a}
    want: {verdict: allow, plan: {san: ["other_name:1.2.3:ia5:x"]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	got := Test(compiled(t, text), tests.Cases, nil, nil)
	if !got.Results[0].Passed() {
		t.Error(got.Results[0].Problems)
	}
	for _, u := range got.Coverage.Untouched {
		if strings.Contains(u.Path, "extensions.set") {
			t.Errorf("%s is part of an extension that was set, and counts as not asked", u.Path)
		}
	}
}
