// SPDX-License-Identifier: Apache-2.0

package cfssl_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/cfssl"
	"github.com/caddy-est/estra/ra/upstream/cfssl/cfssltest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

func open(t testing.TB, cfg cfssl.Config) *cfssl.Upstream {
	t.Helper()
	up, err := cfssl.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// byUsage is one upstream for each profile of CFSSL, as an operator has them: the
// suite's policies plan two sets of usages.
type byUsage struct {
	*cfssl.Upstream

	rewriting *cfssl.Upstream
}

func (b byUsage) Issue(ctx context.Context, o ra.Order) (ra.Issued, error) {
	if o.Valid() && o.Plan().KeyUsage&x509.KeyUsageKeyAgreement != 0 {
		return b.rewriting.Issue(ctx, o)
	}
	return b.Upstream.Issue(ctx, o)
}

// subject is a pair of profiles of CFSSL, for the suite.
func subject(ca *cfssltest.CA, prefix string, change func(*cfssl.Config)) upstreamtest.Subject {
	at := func(t testing.TB, place upstreamtest.Place) ra.Upstream {
		of := func(profile string) *cfssl.Upstream {
			cfg := ca.Config(prefix + profile)
			cfg.URL, cfg.Timeout = place.URL, place.Timeout
			change(&cfg)
			return open(t, cfg)
		}
		return byUsage{of(cfssltest.Devices), of(cfssltest.Rewriting)}
	}
	return upstreamtest.Subject{
		Open: at, Pins: []*x509.Certificate{ca.Root, ca.Intermediate}, CA: ca.Fronted(),
		Revoked: func(_ testing.TB, c *x509.Certificate) (bool, int) { return ca.Revoked(c) },
		// The profile wants a serial number, and isn't given one.
		Refuse: func(t testing.TB) upstreamtest.Refusal {
			return upstreamtest.Refusal{
				Upstream: open(t, ca.Config(cfssltest.Numbered+cfssltest.Devices)),
				Order:    ratest.Order(t, ratest.Case{OwnSerials: true}), Says: "CFSSL answered 400",
			}
		},
	}
}

func TestRealCFSSL(t *testing.T) {
	ca := cfssltest.Start(t, cfssltest.Options{})
	for name, c := range map[string]struct {
		prefix string
		change func(*cfssl.Config)
	}{
		"CFSSL numbers the certificates": {"", func(*cfssl.Config) {}},
		"we number the certificates":     {cfssltest.Numbered, func(c *cfssl.Config) { c.Serial = true }},
	} {
		t.Run(name, func(t *testing.T) {
			upstreamtest.Run(t, subject(ca, c.prefix, c.change))
		})
	}
	up := open(t, ca.Config(cfssltest.Devices))
	t.Run("what CFSSL never issued is refused", func(t *testing.T) { testRevoke(t, up, ca) })
	t.Run("a CRL is there or isn't", func(t *testing.T) { testCRL(t, ca) })
	t.Run("what can't be told isn't asked", func(t *testing.T) { testBeyond(t, up, ca) })
	t.Run("names that are told", func(t *testing.T) { testNames(t, up) })
	t.Run("a URI is one, or is withheld", func(t *testing.T) { testURI(t, ca) })
	t.Run("how it stands with CFSSL", func(t *testing.T) { testCheck(t, ca) })
	t.Run("credentials", func(t *testing.T) { testCredentials(t, ca) })
	if t.Failed() {
		t.Log(ca.Log())
	}
}

func testRevoke(t *testing.T, up *cfssl.Upstream, ca *cfssltest.CA) {
	lost := upstreamtest.Issue(t, up, ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true}))
	if err := up.RevokeSerial(t.Context(), lost.SerialNumber, ca.Intermediate, time.Time{}, 5); err != nil {
		t.Error(err)
	}
	if revoked, reason := ca.Revoked(lost); !revoked || reason != 5 {
		t.Errorf("by its serial number and its issuer: revoked %t, for reason %d", revoked, reason)
	}
	upstreamtest.Fails(t, up.RevokeSerial(t.Context(), big.NewInt(7), nil, time.Time{}, 5), ra.UpstreamRefused)
	stranger := ratest.NewRoot(t, "Somebody Else").Device(t, "device.example").Leaf
	if e := upstreamtest.Fails(t, up.Revoke(t.Context(), stranger, 0), ra.UpstreamRefused); !strings.Contains(e.Reason, "certificate not found") {
		t.Errorf("the reason is %q", e.Reason)
	}
}

// 1.2 has no /crl, and 1.6 has: each is told by what it answers.
func testCRL(t *testing.T, ca *cfssltest.CA) {
	_, err := open(t, ca.Config(cfssltest.Devices)).CRL(t.Context())
	upstreamtest.Fails(t, err, ra.UpstreamDown)
	cfg := ca.Config(cfssltest.Devices)
	cfg.CRL = true
	up := open(t, cfg)
	leaf := upstreamtest.Issue(t, up, ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true}))
	if err := up.Revoke(t.Context(), leaf, 4); err != nil {
		t.Fatal(err)
	}
	der, err := up.CRL(t.Context())
	if err != nil {
		if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !strings.Contains(e.Reason, "answered 404") {
			t.Errorf("the reason is %q", e.Reason)
		}
		t.Log("this CFSSL has no /crl")
		return
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(ca.Intermediate); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(leaf.SerialNumber) == 0 }) {
		t.Errorf("it isn't among the %d of the CRL", len(list.RevokedCertificateEntries))
	}
}

// rule is Permissive with one line changed.
func rule(t testing.TB, from, to string) string {
	t.Helper()
	if !strings.Contains(ratest.Permissive, from) {
		t.Fatalf("the permissive policy has no line %q", from)
	}
	return strings.Replace(ratest.Permissive, from, to, 1)
}

func testBeyond(t *testing.T, up *cfssl.Upstream, ca *cfssltest.CA) {
	dns := csrtest.SAN(csrtest.DNS("device.example"))
	for name, c := range map[string]struct {
		policy  string
		options []csrtest.Option
		want    string
	}{
		"an OU twice":                     {"", []csrtest.Option{csrtest.Subject(csrtest.CN("a.example"), ou("1"), ou("2")), dns}, "the OU of the subject twice"},
		"an attribute without a field":    {rule(t, "CN: {allow", "title: {set: Router}\n      CN: {allow"), []csrtest.Option{csrtest.Subject(csrtest.CN("a.example")), dns}, "the subject's title"},
		"two attributes in an RDN":        {rule(t, `serialNumber: {allow: ["**"]}`, `serialNumber: {set: "7", beside: CN}`), []csrtest.Option{csrtest.Subject(csrtest.CN("a.example")), dns}, "one text in each RDN"},
		"a URI":                           {"", []csrtest.Option{csrtest.Subject(csrtest.CN("a.example")), csrtest.SAN(csrtest.URI("https://a.example/x"))}, "the name uri:https://a.example/x in the SAN"},
		"usages of another profile":       {rule(t, "ext: [clientAuth, serverAuth]", "ext: [clientAuth]"), nil, "gives the usages digital signature, client auth, server auth, and the policy plans others"},
		"a key usage of another profile":  {rule(t, "key: [digitalSignature]", "key: [digitalSignature, keyAgreement]"), nil, "and the policy plans others"},
		"an end before the profile's own": {rule(t, "default: 1d", "default: 12h"), nil, "issues for 24h0m0s, and the policy plans 12h0m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			one := ratest.Case{Policy: c.policy, Now: time.Now(), OwnSerials: true}
			if c.options != nil {
				one.CSR = csrtest.New(t, c.options...)
			}
			_, err := up.Issue(t.Context(), ratest.Order(t, one))
			if e := upstreamtest.Fails(t, err, ra.UpstreamRefused); !strings.Contains(e.Reason, c.want) {
				t.Errorf("the reason is %q, want %q", e.Reason, c.want)
			}
		})
	}
	if strings.Contains(ca.Log(), "failed") {
		t.Error(ca.Log())
	}
}

// The subject comes in CFSSL's order, and a name that isn't planned isn't there.
func testNames(t *testing.T, up *cfssl.Upstream) {
	leaf := upstreamtest.Issue(t, up, ratest.Order(t, ratest.Case{
		Policy: rule(t, `dns: {allow: ["**"]}`, `dns: {set: "only.example"}`),
		CSR: csrtest.New(t, csrtest.Subject(csrtest.SerialNumber("7"), csrtest.CN("a.example"), ou("Depot"), csrtest.O("Übung & Söhne")),
			csrtest.SAN(csrtest.DNS("a.example"), csrtest.DNS("b.example"), csrtest.IP("192.0.2.7"))),
		Now: time.Now(), OwnSerials: true,
	}))
	if got := leaf.Subject.String(); got != "SERIALNUMBER=7,CN=a.example,OU=Depot,O=Übung & Söhne" {
		t.Errorf("the subject is %s", got)
	}
	if !slices.Equal(leaf.DNSNames, []string{"only.example"}) || len(leaf.IPAddresses) != 1 {
		t.Errorf("the SAN is %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	leaf = upstreamtest.Issue(t, up, ratest.Order(t, ratest.Case{
		CSR: csrtest.New(t, csrtest.Subject(), csrtest.SAN(csrtest.IP("2001:db8::7"))), Now: time.Now(), OwnSerials: true,
	}))
	if len(leaf.RawSubject) != 2 || len(leaf.IPAddresses) != 1 {
		t.Errorf("the subject is %q", leaf.Subject)
	}
}

// 1.2 makes a DNS name of it.
func testURI(t *testing.T, ca *cfssltest.CA) {
	cfg := ca.Config(cfssltest.Devices)
	cfg.URIs = true
	up := open(t, cfg)
	order := ratest.Order(t, ratest.Case{
		CSR: csrtest.New(t, csrtest.Subject(csrtest.CN("a.example")), csrtest.SAN(csrtest.URI("https://a.example/x"))), Now: time.Now(), OwnSerials: true,
	})
	issued, err := up.Issue(t.Context(), order)
	if err != nil {
		t.Fatal(err)
	}
	err = ra.Conforms(issued.Certificate, order, up.Tolerates(), []*x509.Certificate{ca.Intermediate})
	if knows := len(issued.Certificate.URIs) == 1; knows != (err == nil) {
		t.Errorf("the names %v %v: %v", issued.Certificate.DNSNames, issued.Certificate.URIs, err)
	}
}

func testCredentials(t *testing.T, ca *cfssltest.CA) {
	order := ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true})
	cfg := ca.Config(cfssltest.Devices)
	key := "ff"
	cfg.Key = func() (secret.Bytes, error) { return cfssl.ParseKey(key) }
	up := open(t, cfg)
	_, err := up.Issue(t.Context(), order)
	if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !errors.Is(e, ra.ErrCredential) || !strings.Contains(e.Reason, "invalid token") {
		t.Errorf("another key: %v", e)
	}
	key = cfssltest.Key // the file is another now
	upstreamtest.Issue(t, up, order)
	cfg.Key = func() (secret.Bytes, error) { return nil, errors.New("no such file") }
	_, err = open(t, cfg).Issue(t.Context(), order)
	upstreamtest.Fails(t, err, ra.UpstreamDown)
}

func TestRealCFSSLWithMutualTLSAndWithoutADatabase(t *testing.T) {
	ca := cfssltest.Start(t, cfssltest.Options{MutualTLS: true, NoDatabase: true})
	order := ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true})
	_, err := open(t, ca.Config(cfssltest.Devices)).Issue(t.Context(), order)
	if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !strings.Contains(e.Reason, "refuses our TLS client certificate") {
		t.Errorf("without a certificate: %v", e)
	}
	shown := ca.Clients.Device(t, "somebody")
	cfg := ca.Config(cfssltest.Devices)
	cfg.Certificate = func() (*tls.Certificate, error) { return &shown, nil }
	_, err = open(t, cfg).Issue(t.Context(), order)
	if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !errors.Is(e, ra.ErrCredential) || !strings.Contains(e.Reason, "Invalid CN") {
		t.Errorf("with somebody's: %v", e)
	}
	shown = ca.Client() // it is renewed
	up := open(t, cfg)
	leaf := upstreamtest.Issue(t, up, order)
	if e := upstreamtest.Fails(t, up.Revoke(t.Context(), leaf, 0), ra.UpstreamDown); !strings.Contains(e.Reason, "404") {
		t.Errorf("without a database: %v", e)
	}
}

func TestRealCFSSLThatFails(t *testing.T) {
	ca := cfssltest.Start(t, cfssltest.Options{})
	order := ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: true})
	cfg := ca.Config(cfssltest.Devices)
	cfg.Timeout = 400 * time.Millisecond
	warm, cold := open(t, cfg), open(t, cfg)
	if _, err := warm.CACerts(t.Context()); err != nil {
		t.Fatal(err)
	}
	ca.Pause()
	_, err := warm.Issue(t.Context(), order)
	if e := upstreamtest.Fails(t, err, ra.UpstreamTimeout); !strings.Contains(e.Reason, "may have issued") {
		t.Errorf("frozen, on an open connection: %v", e)
	}
	_, err = cold.Issue(t.Context(), order)
	upstreamtest.Fails(t, err, ra.UpstreamDown)
	ca.Resume()
	upstreamtest.Issue(t, open(t, ca.Config(cfssltest.Devices)), order)
	ca.Stop()
	_, err = cold.Issue(t.Context(), order)
	if e := upstreamtest.Fails(t, err, ra.UpstreamDown); e.RetryAfter == 0 {
		t.Error("stopped: no Retry-After")
	}
}

func TestCarriesIsWhatCFSSLHasFieldsFor(t *testing.T) {
	can := cfssl.Carries(false, false)
	if can.Subject || can.SAN || can.ExtKeyUsage || can.Extensions || can.Serial || !can.PKCS10 {
		t.Errorf("it carries %+v", can)
	}
	for name, c := range map[string]struct{ got, want bool }{
		"O": {can.Attribute("2.5.4.10"), true}, "title": {can.Attribute("2.5.4.12"), false},
		"a purpose": {can.Purpose("1.3.6.1.5.5.7.3.2"), true}, "cmcRA": {can.Purpose("1.3.6.1.5.5.7.3.28"), false},
		"a URI": {can.Name(6), false}, "a URI of 1.6": {cfssl.Carries(false, true).Name(6), true},
	} {
		if c.got != c.want {
			t.Errorf("%s: %t", name, c.got)
		}
	}
}

func ou(s string) []byte { return csrtest.RDN(csrtest.ATV("2.5.4.11", csrtest.UTF8(s))) }

func testCheck(t *testing.T, ca *cfssltest.CA) {
	for name, c := range map[string]struct {
		change func(*cfssl.Config)
		want   []ra.Check
	}{
		"all is well": {func(*cfssl.Config) {}, []ra.Check{
			{What: "profile devices", Result: ra.Good, Detail: "digital signature, client auth, server auth, for 24h0m0s"},
			{What: "key", Result: ra.Good, Detail: "CFSSL takes it: it reads what we send"},
			{},
			{What: "clock", Result: ra.Good, Detail: "as ours, to 5s"},
		}},
		"another key": {func(c *cfssl.Config) { c.Key = func() (secret.Bytes, error) { return cfssl.ParseKey("ff") } }, []ra.Check{
			{}, {What: "key", Result: ra.Bad, Detail: "CFSSL answered 400: invalid token (400)"}, {}, {},
		}},
		"another root": {func(c *cfssl.Config) { c.Roots = []*x509.Certificate{ratest.NewRoot(t, "Root").Certificate} }, []ra.Check{{}}},
	} {
		cfg := ca.Config(cfssltest.Devices)
		c.change(&cfg)
		got := open(t, cfg).Check(t.Context())
		if len(got) != len(c.want) {
			t.Fatalf("%s: %v", name, got)
		}
		for i, want := range c.want {
			if want != (ra.Check{}) && (got[i].What != want.What || got[i].Result != want.Result || !strings.HasPrefix(got[i].Detail, want.Detail)) {
				t.Errorf("%s: %+v, want %+v", name, got[i], want)
			}
		}
	}
}

func BenchmarkOverhead(b *testing.B) {
	upstreamtest.Overhead(b, subject(cfssltest.Start(b, cfssltest.Options{}), "", func(*cfssl.Config) {}))
}
