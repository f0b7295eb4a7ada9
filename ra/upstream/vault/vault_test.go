// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
	"github.com/caddy-est/estra/ra/upstream/vault"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

// open gives the upstream that speaks with a server, by a token.
func open(t testing.TB, s *vaulttest.Server, mode vault.Mode, change ...func(*vault.Config)) *vault.Upstream {
	t.Helper()
	cfg := vault.Config{
		URL: s.URL, Roots: s.Roots, TLSRoots: s.TLSRoots, Namespace: s.Namespace, Mount: s.Mount, Mode: mode, Role: vaulttest.Role,
		Login: vault.Login{Method: vault.Token, Secret: given(s.Token)}, Timeout: 5 * time.Second,
	}
	if mode == vault.Verbatim {
		cfg.Role = ""
	}
	for _, f := range change {
		f(&cfg)
	}
	up, err := vault.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// fitting writes a role that is made for each order, as an operator has made one
// for a policy.
type fitting struct {
	*vault.Upstream
	server *vaulttest.Server
}

func (f fitting) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if o.Valid() {
		f.server.WriteRole(fit(o))
	}
	return f.Upstream.Issue(ctx, o)
}

func fit(o ra.Order) []byte {
	text, err := vault.Role(roleOptions(o))
	if err != nil {
		panic(err)
	}
	return text
}

func roleOptions(o ra.Order) vault.RoleOptions {
	return vault.RoleOptions{
		KeyUsage: o.Plan().KeyUsage, ExtKeyUsage: o.Plan().ExtKeyUsage, Longest: 60 * time.Hour,
		SerialNumber: true, UserID: true, IP: true, URI: true, OtherName: true, Wildcards: true,
	}
}

func roleText(t testing.TB, o vault.RoleOptions) []byte {
	t.Helper()
	text, err := vault.Role(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func encoded(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

func TestSignPassesTheSuiteOfUpstreams(t *testing.T) {
	upstreamtest.Run(t, subject(t, vaulttest.Start(t), vault.Sign))
}

func TestSignVerbatimPassesTheSuiteOfUpstreams(t *testing.T) {
	upstreamtest.Run(t, subject(t, vaulttest.Start(t), vault.Verbatim))
}

func TestCELPassesTheSuiteOfUpstreams(t *testing.T) {
	s := vaulttest.Start(t)
	s.WriteCELRole(celRole(t))
	upstreamtest.Run(t, subject(t, s, vault.CEL))
}

// subject is a mode of the upstream, for the suite.
func subject(t testing.TB, s *vaulttest.Server, mode vault.Mode) upstreamtest.Subject {
	return upstreamtest.Subject{
		Open: func(t testing.TB, place upstreamtest.Place) ra.Upstream {
			up := open(t, s, mode, func(c *vault.Config) {
				if c.URL = place.URL; place.Timeout > 0 {
					c.Timeout = place.Timeout
				}
			})
			if mode == vault.Sign {
				return fitting{up, s}
			}
			return up
		},
		Pins: s.Roots, CA: s.Fronted(), NoReasons: true,
		// As the documents show what a role says that refuses.
		Refuse: func(t testing.TB) upstreamtest.Refusal {
			f, up := fake(t, mode)
			failure := vaulttest.Failures(t)["role refuses"]
			instead(f, says(failure.Status, string(failure.Body)))
			return upstreamtest.Refusal{Upstream: up, Order: order(t), Says: "Vault answered 400: common name device.example not allowed by this role"}
		},
	}
}

func celRole(t testing.TB) []byte {
	t.Helper()
	text, err := vault.CELRole(60*time.Hour, "")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func order(t testing.TB) ra.Order {
	return ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true})
}

func fails(t *testing.T, err error, want ra.Kind, says string) *ra.Error {
	t.Helper()
	var e *ra.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v, want %v", err, want)
	}
	if e.Kind != want || !strings.Contains(e.Text(), says) {
		t.Errorf("%v: %s, want %v: … %s", e.Kind, e.Text(), want, says)
	}
	if strings.Contains(e.Public, "Vault") {
		t.Errorf("the client would read %q", e.Public)
	}
	return e
}

// server is a fake one as the tests of both kinds have it.
func server(f *vaulttest.Fake) *vaulttest.Server {
	return &vaulttest.Server{
		Fake: f, URL: f.URL, Roots: []*x509.Certificate{f.CA.Root.Certificate}, Mount: vaulttest.Mount, Token: secret.Text(f.NewToken(0, 0, false)),
	}
}

// fake gives a server in memory whatever the environment says, with both roles,
// and an upstream for it.
func fake(t testing.TB, mode vault.Mode, change ...func(*vault.Config)) (*vaulttest.Fake, *vault.Upstream) {
	t.Helper()
	f := vaulttest.NewFake(t)
	s := server(f)
	s.WriteRole(fit(order(t)))
	s.WriteCELRole(celRole(t))
	certificate := func(c *vault.Config) {
		if c.Login.Method == vault.TLS {
			c.Certificate = func() (*tls.Certificate, error) { return nil, errors.New("none") }
		}
	}
	return f, open(t, s, mode, append(change, certificate)...)
}

func given(text secret.Text) func() (secret.Text, error) {
	return func() (secret.Text, error) { return text, nil }
}

func own(f *vaulttest.Fake, t testing.TB) tls.Certificate {
	return f.CA.Intermediate.Device(t, "ra.example")
}

func BenchmarkOverhead(b *testing.B) {
	for name, mode := range map[string]vault.Mode{"sign": vault.Sign, "verbatim": vault.Verbatim, "cel": vault.CEL} {
		b.Run(name, func(b *testing.B) {
			s := vaulttest.Start(b)
			s.WriteRole(fit(order(b)))
			s.WriteCELRole(celRole(b))
			subject := subject(b, s, mode)
			subject.Open = func(t testing.TB, place upstreamtest.Place) ra.Upstream {
				return open(t, s, mode, func(c *vault.Config) { c.URL = place.URL })
			}
			upstreamtest.Overhead(b, subject)
		})
	}
}
