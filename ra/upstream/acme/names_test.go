// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/acme"
	"github.com/caddy-est/estra/ra/upstream/acme/acmetest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// planning is ratest.Permissive with the usage of pebble, and lines changed.
func planning(t testing.TB, changes ...string) string {
	t.Helper()
	changes = append([]string{"      key: [digitalSignature]\n      ext: [clientAuth, serverAuth]\n", "      key: [digitalSignature]\n      ext: [serverAuth]\n"}, changes...)
	text := ratest.Permissive
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("the permissive policy has no %q", changes[i])
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	return text
}

// order is for names without a subject.
func order(t testing.TB, names ...string) ra.Order {
	t.Helper()
	var san [][]byte
	for _, name := range names {
		san = append(san, csrtest.DNS(name))
	}
	return ratest.Order(t, ratest.Case{Policy: planning(t), CSR: csrtest.New(t, csrtest.Subject(), csrtest.SAN(san...)), Now: time.Now(), OwnSerials: true})
}

// nobody is a configuration for a CA that can't be asked: what is refused needs none.
func nobody(t testing.TB) acme.Config {
	return acme.Config{
		Directory: "https://127.0.0.1:1/dir", Roots: []*x509.Certificate{ratest.NewRoot(t, "Root").Certificate}, Accounts: new(acmetest.Accounts),
		Challenge: acme.HTTP01, Solver: new(acmetest.Responder), Times: true,
	}
}

func TestWhatACMECannotBeToldIsRefusedBeforeAnOrderIsMade(t *testing.T) {
	dns, noSubject := csrtest.DNS, csrtest.Subject()
	for name, c := range map[string]struct {
		policy  []string
		request []csrtest.Option
		change  func(*acme.Config)
		want    string
	}{
		"a name that the policy sets":               {[]string{`dns: {allow: ["**"]}`, `dns: {set: "other.example"}`}, []csrtest.Option{noSubject, csrtest.SAN(dns("a.example"))}, nil, "plans the names other.example, and the request, which goes to the CA as it is, has a.example"},
		"a name that the policy adds":               {[]string{`uri: {allow: ["https://**/**"]}`, `uri: {set: "https://a.example/x"}`}, []csrtest.Option{noSubject, csrtest.SAN(dns("a.example"))}, nil, "which is no DNS name"},
		"an address":                                {nil, []csrtest.Option{noSubject, csrtest.SAN(dns("a.example"), csrtest.IP("192.0.2.7"))}, nil, "which is no DNS name"},
		"no name":                                   {nil, []csrtest.Option{csrtest.Subject(csrtest.CN("a.example"))}, nil, "there is no DNS name in the SAN"},
		"a CN where there is none":                  {nil, []csrtest.Option{csrtest.Subject(csrtest.CN("a.example")), csrtest.SAN(dns("a.example"))}, nil, "write `common_name` in the upstream"},
		"no CN where there is one":                  {nil, []csrtest.Option{noSubject, csrtest.SAN(dns("a.example"))}, withCN, "certificates of this CA have one CN"},
		"a CN that isn't among the names":           {nil, []csrtest.Option{csrtest.Subject(csrtest.CN("Device 7")), csrtest.SAN(dns("a.example"))}, withCN, "the CN Device 7 of the request isn't one of its DNS names"},
		"more than a CN":                            {nil, []csrtest.Option{csrtest.Subject(csrtest.CN("a.example"), csrtest.O("Example")), csrtest.SAN(dns("a.example"))}, withCN, "certificates of this CA have one CN"},
		"a CN that the policy sets":                 {[]string{`CN: {allow: ["**"]}`, `CN: {set: "b.example"}`}, []csrtest.Option{noSubject, csrtest.SAN(dns("b.example"))}, withCN, "the policy has rewritten the subject"},
		"a wildcard by http-01":                     {[]string{`dns: {allow: ["**"]}`, `dns: {wildcard: true, allow: ["*.a.example"]}`}, []csrtest.Option{noSubject, csrtest.SAN(dns("*.a.example"))}, nil, "wants `challenge dns-01`"},
		"an extension":                              {[]string{"    validity: {default: 1d}", "    extensions: {set: {\"1.3.6.1.4.1.32473.1.2\": {utf8: x}}}\n    validity: {default: 1d}"}, []csrtest.Option{noSubject, csrtest.SAN(dns("a.example"))}, nil, "can't be told the extension"},
		"an extension of the request that CAs copy": {[]string{"    validity: {default: 1d}", "    extensions: {ignore: [tlsFeature]}\n    validity: {default: 1d}"}, []csrtest.Option{noSubject, csrtest.SAN(dns("a.example")), csrtest.Extension("1.3.6.1.5.5.7.1.24", false, csrtest.SEQ(csrtest.INTEGER(5)))}, nil, "asks for the extension tlsFeature"},
		"an end before the CA's":                    {nil, []csrtest.Option{noSubject, csrtest.SAN(dns("a.example"))}, func(c *acme.Config) { c.Times, c.Lifetime = false, 90*24*time.Hour }, "the CA's certificates live 2160h0m0s (`lifetime`), and the policy plans 24h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := nobody(t)
			if c.change != nil {
				c.change(&cfg)
			}
			_, err := open(t, cfg).Issue(t.Context(), ratest.Order(t, ratest.Case{
				Policy: planning(t, c.policy...), CSR: csrtest.New(t, c.request...), Now: time.Now(), OwnSerials: true,
			}))
			if e := upstreamtest.Fails(t, err, ra.UpstreamRefused); !strings.Contains(e.Reason, c.want) {
				t.Errorf("the reason is %q, want %q", e.Reason, c.want)
			}
		})
	}
}

func withCN(c *acme.Config) { c.CommonName = true }

func TestAConfigurationThatCantWorkIsRefused(t *testing.T) {
	for want, change := range map[string]func(*acme.Config){
		"isn't an https URL":           func(c *acme.Config) { c.Directory = "http://ca.example/dir" },
		"more than a host, a port and": func(c *acme.Config) { c.Directory = "https://ca.example/dir?x=1" },
		"has a user name":              func(c *acme.Config) { c.Directory = "https://a:b@ca.example/dir" },
		"names no host":                func(c *acme.Config) { c.Directory = "https:///dir" },
		"no root certificate":          func(c *acme.Config) { c.Roots = nil },
		"keep the account in":          func(c *acme.Config) { c.Accounts = nil },
		"neither http-01 nor dns-01":   func(c *acme.Config) { c.Challenge = "tls-alpn-01" },
		"nothing is given to solve":    func(c *acme.Config) { c.Solver = nil },
		"a key id and a MAC key":       func(c *acme.Config) { c.EAB = &acme.EAB{KeyID: "kid"} },
		"no lifetime of its own":       func(c *acme.Config) { c.Lifetime = time.Hour },
		"lifetime -1h0m0s is negative": func(c *acme.Config) { c.Times, c.Lifetime = false, -time.Hour },
		"wait -1s is negative":         func(c *acme.Config) { c.Wait = -time.Second },
		"timeout -1s is negative":      func(c *acme.Config) { c.Timeout = -time.Second },
		"-1 connections make no sense": func(c *acme.Config) { c.MaxConns = -1 },
	} {
		cfg := nobody(t)
		change(&cfg)
		if _, err := acme.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
