// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

const chainPolicy = `
version: 1
name: x
default: a
profiles:
  a:
    enroll: {who: [{client_cert: {anchor: ours}}, {http_basic: {users: [u]}}], linking: if_present}
    reenroll:
      who: [{client_cert: {anchor: ours}}, {all: [{client_cert: {anchor: ours}}, {http_basic: {users: [u]}}]}]
      linking: if_present
      CAP
    fullcmc:
      reenroll: {who: [{client_cert: {anchor: ours}}], linking: if_present, CMC}
    subject: {CN: {allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

func TestThreat_EndlessRenewal_ACapBoundsAChainOfCertificates(t *testing.T) {
	const day = 24 * time.Hour
	subject, err := mustName(t, "CN=a.example.net").MarshalDER()
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{RawSubject: subject, NotBefore: testNow.Add(-20 * day), NotAfter: testNow.Add(10 * day)}
	parsed, err := csr.Parse(csrtest.New(t, csrtest.Subject(csrtest.CN("a.example.net"))))
	if err != nil {
		t.Fatal(err)
	}
	since := testNow.Add(-100 * day)
	chain := func(renewals int) *Chain { return &Chain{renewals, since} }
	account := []Account{{httpBasic, "u"}}
	for name, c := range map[string]struct {
		caps, cmc string
		op        Op
		accounts  []Account
		old       *Chain
		path      string // of what refuses
		want      *Chain
	}{
		"nothing counts without a cap":             {"window: 100%", "window: 100%", SimpleReenroll, nil, chain(900), "", nil},
		"one that nobody has counted is the first": {"renewals: 1", "window: 100%", SimpleReenroll, nil, nil, "", &Chain{1, cert.NotBefore}},
		"the last one":                          {"renewals: 5", "window: 100%", SimpleReenroll, nil, chain(4), "", chain(5)},
		"one too many":                          {"renewals: 5", "window: 100%", SimpleReenroll, nil, chain(5), "profiles.a.reenroll.renewals", chain(6)},
		"more after a lower cap":                {"renewals: 5", "window: 100%", SimpleReenroll, nil, chain(50), "profiles.a.reenroll.renewals", chain(51)},
		"with a password beside it":             {"renewals: 5", "window: 100%", SimpleReenroll, account, chain(5), "", &Chain{0, testNow}},
		"an account of nobody":                  {"renewals: 5", "window: 100%", SimpleReenroll, []Account{{httpBasic, "x"}}, chain(5), "profiles.a.reenroll.renewals", chain(6)},
		"by the certificate to enroll":          {"renewals: 5", "window: 100%", SimpleEnroll, nil, chain(5), "profiles.a.reenroll.renewals", chain(6)},
		"a foreign certificate to enroll":       {"renewals: 5", "window: 100%", SimpleEnroll, nil, nil, "", &Chain{0, testNow}},
		"an account to enroll":                  {"renewals: 5", "window: 100%", SimpleEnroll, account, nil, "", &Chain{0, testNow}},
		"by CMC, which has none":                {"renewals: 5", "window: 100%", CMCReenroll, nil, chain(5), "profiles.a.reenroll.renewals", chain(6)},
		"by CMC, which has its own":             {"renewals: 5", "renewals: 7", CMCReenroll, nil, chain(5), "", chain(6)},
		"over HTTP, where CMC alone has one":    {"window: 100%", "renewals: 5", SimpleReenroll, nil, chain(5), "profiles.a.fullcmc.reenroll.renewals", chain(6)},
		"within the time":                       {"enrolled_within: 100d", "window: 100%", SimpleReenroll, nil, chain(70), "", chain(71)},
		"after the time":                        {"enrolled_within: 99d", "window: 100%", SimpleReenroll, nil, chain(0), "profiles.a.reenroll.enrolled_within", chain(1)},
		"one that nobody has counted, in time":  {"enrolled_within: 20d", "window: 100%", SimpleReenroll, nil, nil, "", &Chain{1, cert.NotBefore}},
		"one that nobody has counted, too late": {"enrolled_within: 19d", "window: 100%", SimpleReenroll, nil, nil, "profiles.a.reenroll.enrolled_within", &Chain{1, cert.NotBefore}},
	} {
		t.Run(name, func(t *testing.T) {
			src := strings.NewReplacer("CAP", c.caps, "CMC", c.cmc).Replace(chainPolicy)
			p, _ := mustCompile(t, "policy.yaml", []byte(src)).Profile("")
			req := Request{
				Op: c.op, CSR: parsed, Now: testNow, Chain: c.old,
				Who: Identity{Cert: cert, Anchors: []string{"ours"}, Accounts: c.accounts},
			}
			if c.op.Renews() {
				req.Renews = cert
			}
			d := p.Decide(req)
			f, refused := d.Refusal()
			if f.Path != c.path || refused != (c.path != "") || refused && (f.Class != BadRenewal || f.Got == "" || f.Want == "" || f.Pos.Line == 0) {
				t.Errorf("%+v", d.Findings)
			}
			if (d.Chain == nil) != (c.want == nil) || c.want != nil && *d.Chain != *c.want {
				t.Errorf("the chain is %v, want %v", d.Chain, c.want)
			}
			if p.CountsRenewals() != (c.want != nil) {
				t.Error("whether the profile counts is wrong")
			}
		})
	}
}

func TestBindRefusesACapThatWouldBeForgotten(t *testing.T) {
	src := strings.NewReplacer("CAP", "renewals: 5\n      enrolled_within: 90d", "CMC", "renewals: 9").Replace(chainPolicy)
	env := Environment{Anchors: []string{"ours"}, Users: []string{"u"}, Upstreams: map[string]Capabilities{"ca": {Subject: true, SAN: true, KeyUsage: true, ExtKeyUsage: true}}}
	bind := func(src string) []string {
		p := mustCompile(t, "policy.yaml", []byte(src))
		err := p.Bind(env)
		if err == nil {
			return nil
		}
		return strings.Split(err.Error(), "\n")
	}
	want := []string{
		"policy.yaml:11:7: `profiles.a.reenroll.renewals` wants a store that keeps what was counted, and there is none",
		"policy.yaml:12:7: `profiles.a.reenroll.enrolled_within` wants a store that keeps what was counted, and there is none",
		"policy.yaml:14:77: `profiles.a.fullcmc.reenroll.renewals` wants a store that keeps what was counted, and there is none",
	}
	if got := bind(src); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	env.Store = true
	if got := bind(src); got != nil {
		t.Errorf("with a store: %q", got)
	}
}
