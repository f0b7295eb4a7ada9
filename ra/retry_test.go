// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"crypto/x509"
	"testing"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
)

func parsed(t *testing.T, options ...csrtest.Option) *csr.Request {
	t.Helper()
	r, err := csr.Parse(csrtest.New(t, options...))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestARequestThatIsSentAgainHasTheSameKey(t *testing.T) {
	request := parsed(t, csrtest.Subject(csrtest.CN("a.example")))
	remade := parsed(t, csrtest.Subject(csrtest.CN("a.example")), csrtest.Attribute("1.2.840.113549.1.9.7", csrtest.UTF8("another binding")))
	remade.RawSPKI = request.RawSPKI // the key pair stays
	other := parsed(t, csrtest.Subject(csrtest.CN("b.example")))
	other.RawSPKI = request.RawSPKI
	user := func(name string) policy.Identity {
		return policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: name}}}
	}
	cert, second := &x509.Certificate{Raw: []byte{1}}, &x509.Certificate{Raw: []byte{2}}
	password := func(via string) policy.Identity {
		return policy.Identity{Passwords: []policy.OneTimePassword{{ID: "k3q7a2mlfw", Via: via}}}
	}
	type asked struct {
		t      task
		op     policy.Op
		label  string
		plan   policy.Plan
		renews *x509.Certificate
	}
	plan := policy.Plan{Names: request.Names, Upstream: "test"}
	first := asked{task{csr: request, who: user("a")}, policy.SimpleEnroll, "routers", plan, nil}
	with := func(change func(*asked)) asked {
		a := first
		change(&a)
		return a
	}
	for name, c := range map[string]struct {
		one, two asked
		same     bool
	}{
		"a CSR that was made anew": {first, with(func(a *asked) { a.t.csr = remade }), true},
		"another key": {first, with(func(a *asked) {
			a.t.csr = parsed(t, csrtest.Subject(csrtest.CN("a.example")), csrtest.Signer(csrtest.NewKey(t, "P-256")))
		}), false},
		"another label":                      {first, with(func(a *asked) { a.label = "printers" }), false},
		"another operation":                  {first, with(func(a *asked) { a.op = policy.CMCEnroll }), false},
		"another plan":                       {first, with(func(a *asked) { a.plan.Upstream = "other" }), false},
		"another account":                    {first, with(func(a *asked) { a.t.who = user("b") }), false},
		"another method of authentication":   {first, with(func(a *asked) { a.t.who.Accounts = []policy.Account{{Method: "digest", User: "a"}} }), false},
		"an account that looks like two":     {first, with(func(a *asked) { a.t.who = user(`a" account "http_basic" "b`) }), false},
		"a certificate to the account":       {first, with(func(a *asked) { a.t.who.Cert = cert }), false},
		"the certificate that is renewed":    {with(func(a *asked) { a.renews = cert }), with(func(a *asked) { a.renews = second }), false},
		"a renewal by the same certificate":  {with(func(a *asked) { a.renews = cert }), with(func(a *asked) { a.renews = cert }), true},
		"a password that comes in two ways":  {with(func(a *asked) { a.t.who = password(policy.ViaBasic) }), with(func(a *asked) { a.t.who = password(policy.ViaChallenge) }), true},
		"an RA that asks for another device": {with(func(a *asked) { a.t.role = policy.RoleRA }), with(func(a *asked) { a.t.role, a.t.csr = policy.RoleRA, other }), false},
	} {
		one, err := c.one.t.retryKey(c.one.op, c.one.label, c.one.plan, c.one.renews)
		if err != nil {
			t.Fatal(err)
		}
		two, err := c.two.t.retryKey(c.two.op, c.two.label, c.two.plan, c.two.renews)
		if err != nil {
			t.Fatal(err)
		}
		if (one == two) != c.same {
			t.Errorf("%s: it is the same request: %v, want %v", name, !c.same, c.same)
		}
	}
}
