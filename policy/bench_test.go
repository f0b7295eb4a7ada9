// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

const benchProfile = `
  %[1]s:
    labels: [%[1]s]
    enroll:
      who:
        - client_cert: {anchor: idevid, subject: {O: "Acme Routers Inc"}}
        - http_basic: {users: [onboarding], shared: true}
      linking: required
    reenroll:
      who: [{client_cert: {anchor: ours, matches: names}}]
      linking: if_present
      window: 33%%
    subject:
      CN: {require: true, allow: ["rtr-*.branch.example.net"]}
      O: {set: "Example Net GmbH"}
    san:
      dns: {require: true, max: 20, allow: ["*.branch.example.net", "*.depot.example.net"]}
      ip: {allow: ["10.20.0.0/16"]}
    key: {ecdsa: [P-256], rsa: [3072]}
    usage: {key: [digitalSignature], ext: [clientAuth, serverAuth]}
    validity: {default: 90d}
`

const benchChecks = `    checks:
      - {id: cn-is-a-san, rule: csr.subject.CN in csr.san.dns, message: the common name must also be a DNS name}
      - {id: short, rule: "csr.san.dns.all(d, d.size() < 64)", message: names are short}
      - {id: plan, rule: "plan.subject.O == 'Example Net GmbH' && plan.validity <= duration('2160h')", message: the plan is ours}
`

func benchPolicy(b *testing.B, profiles int, more string) *Policy {
	b.Helper()
	var text strings.Builder
	text.WriteString("version: 1\nname: bench\ndefault: p0\nguardrails:\n  deny: {dns: [\"**.corp.example.net\", localhost], ip: [\"127.0.0.0/8\"]}\nprofiles:\n")
	for i := range profiles {
		fmt.Fprintf(&text, strings.TrimPrefix(benchProfile, "\n"), fmt.Sprintf("p%d", i))
		text.WriteString(more)
	}
	return mustCompile(b, "policy.yaml", []byte(text.String()))
}

// benchRequest has a subject of CN and O, and a number of DNS names.
func benchRequest(b *testing.B, names int) (Request, []byte) {
	b.Helper()
	var san [][]byte
	for i := range names {
		san = append(san, csrtest.DNS(fmt.Sprintf("rtr-%d.branch.example.net", i+1)))
	}
	der := csrtest.New(b, csrtest.Subject(csrtest.CN("rtr-1.branch.example.net")), csrtest.SAN(san...))
	parsed, err := csr.Parse(der)
	if err != nil {
		b.Fatal(err)
	}
	return Request{
		Op: SimpleEnroll, CSR: parsed, Linking: Matched, Now: testNow,
		Who: Identity{Accounts: []Account{{httpBasic, "onboarding"}}},
	}, der
}

func benchDecide(b *testing.B, policy *Policy, req Request) {
	b.Helper()
	profile, _ := policy.Profile("")
	if d := profile.Decide(req); d.Verdict != Allow {
		b.Fatalf("%s: %v", d.Verdict, d.Findings)
	}
	b.ReportAllocs()
	for b.Loop() {
		profile.Decide(req)
	}
}

func BenchmarkDecide(b *testing.B) {
	req, _ := benchRequest(b, 2)
	benchDecide(b, benchPolicy(b, 1, ""), req)
}

func BenchmarkDecideWithThreeRulesInCEL(b *testing.B) {
	req, _ := benchRequest(b, 2)
	benchDecide(b, benchPolicy(b, 1, benchChecks), req)
}

// The cost grows with the names of a request as they do.
func BenchmarkDecideByNames(b *testing.B) {
	policy := benchPolicy(b, 1, benchChecks)
	for _, names := range []int{1, 2, 4, 8, 16, 18} {
		req, _ := benchRequest(b, names)
		b.Run(fmt.Sprint(names), func(b *testing.B) { benchDecide(b, policy, req) })
	}
}

// The number of profiles costs nothing when a request comes.
func BenchmarkProfileByLabel(b *testing.B) {
	for _, profiles := range []int{1, 10, 100, 1000} {
		policy := benchPolicy(b, profiles, "")
		label := fmt.Sprintf("p%d", profiles-1)
		b.Run(fmt.Sprint(profiles), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok := policy.Profile(label); !ok {
					b.Fatal("no such profile")
				}
			}
		})
	}
}

// Without the signature, which is CheckPOP's.
func BenchmarkParseCSR(b *testing.B) {
	_, der := benchRequest(b, 2)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := csr.Parse(der); err != nil {
			b.Fatal(err)
		}
	}
}
