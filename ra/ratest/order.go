// SPDX-License-Identifier: Apache-2.0

package ratest

import (
	"crypto/tls"
	"testing"
	"testing/fstest"
	"time"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/binding"
)

// Upstream is the name of the one upstream that policies here are bound to.
const Upstream = "test"

// User is the HTTP Basic account that Permissive lets enroll.
const User = "ratest"

// Permissive takes nearly any name, for one day, from User; and a reenroll
// from any certificate under the anchor `ours`.
const Permissive = `
version: 1
name: permissive policy for tests
profiles:
  any:
    labels: [any]
    enroll:
      who:
        - http_basic: {users: [ratest]}
        - client_cert: {anchor: ours}
      linking: if_present
    reenroll:
      who: [{client_cert: {anchor: ours}}]
      linking: if_present
      same_key: allow
    subject:
      CN: {allow: ["**"]}
      O: {allow: ["**"]}
      OU: {allow: ["**"]}
      C: {allow: ["**"]}
      L: {allow: ["**"]}
      ST: {allow: ["**"]}
      serialNumber: {allow: ["**"]}
    san:
      dns: {allow: ["**"]}
      ip: {allow: ["0.0.0.0/0", "::/0"]}
      email: {allow: ["**@**"]}
      uri: {allow: ["https://**/**"]}
    usage:
      key: [digitalSignature]
      ext: [clientAuth, serverAuth]
    validity: {default: 1d}
default: any
`

// Policy compiles a policy file and binds it to the upstream Upstream, which
// carries everything, to User, and to the anchors `ours` and `idevid`.
func Policy(t testing.TB, text string) *policy.Policy {
	t.Helper()
	file, err := policy.Parse("policy.yaml", []byte(text))
	if err != nil {
		t.Fatalf("ratest: %v", err)
	}
	p, err := policy.Compile(file, fstest.MapFS{})
	if err != nil {
		t.Fatalf("ratest: %v", err)
	}
	err = p.Bind(policy.Environment{
		Anchors:   []string{"ours", "idevid"},
		Users:     []string{User},
		Upstreams: map[string]policy.Capabilities{Upstream: new(CA).Carries()},
	})
	if err != nil {
		t.Fatalf("ratest: %v", err)
	}
	return p
}

// A Case says what Order is for. The zero value is a day's certificate for
// CN=device.example with one dNSName, by Permissive.
type Case struct {
	Policy string          // the policy file's text; "": Permissive
	Label  string          // "": the default profile
	CSR    []byte          // DER
	Who    policy.Identity // zero: User
	Now    time.Time       // zero: the time
	Linked bool            // the request was linked to a TLS 1.3 channel
	// OwnSerials says that the CA, for which the order is, numbers its
	// certificates itself.
	OwnSerials bool
}

// Order makes an order the way all orders are made: a real Authority takes
// the case through a policy, and the test's own CA is its upstream. A case
// that is refused fails the test.
func Order(t testing.TB, c Case) ra.Order {
	t.Helper()
	if c.Policy == "" {
		c.Policy = Permissive
	}
	if c.CSR == nil {
		c.CSR = csrtest.New(t,
			csrtest.Subject(csrtest.CN("device.example")),
			csrtest.SAN(csrtest.DNS("device.example")))
	}
	if c.Who.Cert == nil && len(c.Who.Accounts) == 0 {
		c.Who = policy.Identity{Accounts: []policy.Account{{Method: "http_basic", User: User}}}
	}
	request, err := csr.Parse(c.CSR)
	if err != nil {
		t.Fatalf("ratest: %v", err)
	}
	if err := request.CheckPOP(); err != nil {
		t.Fatalf("ratest: %v", err)
	}
	p := Policy(t, c.Policy)
	profile, ok := p.Profile(c.Label)
	if !ok {
		t.Fatalf("ratest: the policy has no label %q", c.Label)
	}
	ca := NewCA(t)
	ca.Set(Knobs{OwnSerials: c.OwnSerials})
	linking, channel := policy.Absent, binding.Channel{}
	if c.Linked {
		linking, channel = policy.Matched, binding.Channel{Version: tls.VersionTLS13}
	}
	authority := &ra.Authority{Policy: p, CAs: map[string]*ra.CA{Upstream: ca.Known(Upstream)}}
	_, err = authority.Enroll(t.Context(), profile, ra.Request{
		ID: "ratest", Channel: channel,
		Request: policy.Request{
			Op: policy.SimpleEnroll, Label: c.Label, Who: c.Who, CSR: request, Linking: linking, Now: c.Now,
		},
	})
	if err != nil {
		t.Fatalf("ratest: no order: %v", err)
	}
	return ca.Orders()[0]
}
