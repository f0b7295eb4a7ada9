// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/audit"
	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/replay"
)

// forCMCRA makes a certificate one for id-kp-cmcRA (RFC 6402 section 2.10).
func forCMCRA(c *x509.Certificate) {
	c.UnknownExtKeyUsage = append(c.UnknownExtKeyUsage, asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28})
}

func csrFor(t testing.TB, name string, more ...csrtest.Option) string {
	return csrBody(t, append(more, csrtest.Subject(csrtest.CN(name)), csrtest.SAN(csrtest.DNS(name)))...)
}

// The tests of the NIAP functional package for X.509, FIA_ESTS_EXT.1: who is
// named, who has id-kp-cmcRA, and whose CA signed it.
func TestThreat_RAOverTrust_ARegistrarEnrollsForAnUnknownSubject(t *testing.T) {
	x := newSite(t)
	ra := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	g := x.do(call{path: "sites/simpleenroll", certs: certOf(ra), body: csrFor(t, "unknown.example")})
	if g.StatusCode != 200 || g.certs(t)[0].Subject.CommonName != "unknown.example" {
		t.Fatalf("%d %s", g.StatusCode, g.body)
	}
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if record.Who.Role != "ra" || record.Who.ID != "CN=ra.example" || record.Op != "simpleenroll" || record.CSR.Subject != "CN=unknown.example" {
		t.Errorf("the record says %+v", record.Who)
	}
	for name, c := range map[string]tls.Certificate{
		"without cmcRA":   x.ca.Intermediate.Device(t, "ra.example"),
		"from another CA": x.vendor.Device(t, "ra.example", forCMCRA),
	} {
		g := x.do(call{path: "sites/simpleenroll", certs: certOf(c), body: csrFor(t, "unknown.example")})
		x.refused(t, g, 403, "unauthenticated", "authentication required")
		if record, _ := x.last(g.Header.Get("X-Request-Id")); record.Who.Role != "" || !strings.Contains(string(record.Reason), "id-kp-cmcRA") {
			t.Errorf("%s: role %q, %s", name, record.Who.Role, record.Reason)
		}
	}
	der := csrtest.New(t, csrtest.Subject(csrtest.CN("unknown.example")), csrtest.SAN(csrtest.DNS("unknown.example")))
	for at, want := range map[int]string{len(der) - 5: "pop_failed", strings.Index(string(der), "unknown"): "pop_failed"} {
		changed := []byte(string(der))
		changed[at] ^= 1
		g := x.do(call{path: "sites/simpleenroll", certs: certOf(ra), body: base64.StdEncoding.EncodeToString(changed)})
		if record, _ := x.last(g.Header.Get("X-Request-Id")); g.StatusCode != 400 || string(record.Kind) != want {
			t.Errorf("a byte changed at %d: %d %s", at, g.StatusCode, record.Kind)
		}
	}
	if n := len(x.ca.Orders()); n != 1 {
		t.Errorf("%d orders", n)
	}
}

// RFC 7030 section 3.7: an RA's requests are linked to the devices' connections
// with the RA. Nobody else's may be: not a device's, and not those of an RA that
// no line names, whatever its certificate says.
func TestThreat_RAOverTrust_ForeignLinkingIsAcceptedFromARegistrarAlone(t *testing.T) {
	x := newSite(t)
	ours := func(name string, change ...func(*x509.Certificate)) tls.Certificate {
		return x.ca.Intermediate.Device(t, name, change...)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		device := x.dial(t, version, x.device("device.example"))
		cs := device.ConnectionState()
		foreign := func(name string) string { return csrFor(t, name, linkingOf(t, &cs)) }
		for name, c := range map[string]struct {
			cert   tls.Certificate
			path   string
			as     string
			status int
			linked string
			role   string
		}{
			"an RA for a device":                        {ours("ra.example", forCMCRA), "mixed/simpleenroll", "a.site.example", 200, "mismatched", "ra"},
			"an RA for a device beyond its names":       {ours("ra.example", forCMCRA), "mixed/simpleenroll", "a.example", 403, "mismatched", "ra"},
			"an RA for itself":                          {ours("ra.example", forCMCRA), "mixed/simpleenroll", "ra.example", 403, "mismatched", "ra"},
			"an RA that renews its own certificate":     {ours("ra.example", forCMCRA), "mixed/simplereenroll", "ra.example", 403, "mismatched", ""},
			"an RA that brings a device's renewal":      {ours("ra.example", forCMCRA), "mixed/simplereenroll", "a.site.example", 403, "mismatched", ""},
			"an RA that no line names":                  {ours("other.example", forCMCRA), "mixed/simpleenroll", "a.site.example", 403, "mismatched", ""},
			"a device with the RA's name":               {ours("ra.example"), "mixed/simpleenroll", "a.site.example", 403, "mismatched", ""},
			"an RA where none is named":                 {ours("ra.example", forCMCRA), "simplereenroll", "ra.example", 403, "mismatched", ""},
			"a device that has a certificate of the CA": {ours("a.site.example"), "mixed/simpleenroll", "a.site.example", 403, "mismatched", ""},
		} {
			t.Run(tls.VersionName(version)+" "+name, func(t *testing.T) {
				before := len(x.ca.Orders())
				l := x.dial(t, version, c.cert)
				l.send(posting(c.path, foreign(c.as)))
				s := l.read()
				id, _ := s.get("X-Request-Id")
				record, rep := x.last(id)
				if s.status != c.status || record.TLS.Linked != c.linked || string(record.Who.Role) != c.role {
					t.Errorf("%d, linked %q, role %q: %v", s.status, record.TLS.Linked, record.Who.Role, rep.Err)
				}
				if n := len(x.ca.Orders()) - before; (n == 1) != (c.status == 200) {
					t.Errorf("%d orders", n)
				}
			})
		}
	}
}

// linkingOf is the value of a connection, in challengePassword.
func linkingOf(t testing.TB, cs *tls.ConnectionState) csrtest.Option {
	t.Helper()
	return csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable(binding.FromTLS(cs).Value()))
}

// An RA serves many devices over one connection: what is linked to another one
// spends nothing.
func TestARegistrarsConnectionStaysOpen(t *testing.T) {
	x := newSite(t)
	cs := x.dial(t, tls.VersionTLS13, x.device("device.example")).ConnectionState()
	l := x.dial(t, tls.VersionTLS13, x.ca.Intermediate.Device(t, "ra.example", forCMCRA))
	for _, name := range []string{"a.site.example", "b.site.example"} {
		l.send(posting("mixed/simpleenroll", csrFor(t, name, linkingOf(t, &cs))))
		if s := l.read(); s.status != 200 {
			t.Fatalf("%s: %d %q", name, s.status, s.body)
		}
	}
}

// An RA that is named asks for others on /simpleenroll, and renews its own
// certificate on /simplereenroll as any client does.
func TestARegistrarRenewsItsOwnCertificate(t *testing.T) {
	x := newSite(t)
	ra := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	g := x.do(call{path: "mixed/simplereenroll", certs: certOf(ra), body: csrFor(t, "ra.example")})
	if g.StatusCode != 200 {
		t.Fatalf("%d %s", g.StatusCode, g.body)
	}
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	if record.Who.Role != "" || record.ReplacesSerial != audit.Serial(ra.Leaf.SerialNumber) {
		t.Errorf("role %q, replaces %q", record.Who.Role, record.ReplacesSerial)
	}
}

func TestThreat_RAOverTrust_NoDeviceHasTheKeyOrNameOfItsRegistrar(t *testing.T) {
	x := newSite(t)
	ra := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	x.refused(t, x.do(call{path: "sites/simpleenroll", certs: certOf(ra), body: csrFor(t, "ra.example")}), 403, "refused", "refused by policy")
	x.refused(t, x.do(call{path: "sites/simpleenroll", certs: certOf(ra), body: csrFor(t, "a.example", csrtest.Signer(ra.PrivateKey.(crypto.Signer)))}),
		403, "key_reuse", "key must change")
	if n := len(x.ca.Orders()); n != 0 {
		t.Errorf("%d orders", n)
	}
}

// What a record keeps of an RA's request decides it again, also under a policy
// that doesn't name the RA.
func TestARecordOfARegistrarsRequestDecidesAsTheRequestDid(t *testing.T) {
	x := newSite(t)
	ra := x.ca.Intermediate.Device(t, "ra.example", forCMCRA)
	g := x.do(call{path: "mixed/simpleenroll", certs: certOf(ra), body: csrFor(t, "a.site.example", csrtest.Attribute(csrtest.ChallengePassword, csrtest.Printable("AAAAAAAAAAAAAAAA")))})
	record, _ := x.last(g.Header.Get("X-Request-Id"))
	again, err := replay.Request(record)
	if err != nil || g.StatusCode != 200 {
		t.Fatalf("%d, %v", g.StatusCode, err)
	}
	profile, _ := x.Policy.Profile("mixed")
	if d := again.Decide(profile); d.Verdict.String() != record.Decision.Verdict {
		t.Errorf("%s, and the record says %s: %v", d.Verdict, record.Decision.Verdict, d.Findings)
	}
	other, _ := policyOf(t, strings.ReplaceAll(strings.ReplaceAll(rules, "BODY", strings.Trim(body, "\n")), "CN: ra.example", "CN: other.example")).Profile("mixed")
	if d := again.Decide(other); d.Verdict.String() != "deny" || !strings.Contains(d.Findings[0].Path, "enroll.linking") {
		t.Errorf("where it isn't named: %s %v", d.Verdict, d.Findings)
	}
	record.Input.Cert = x.ca.Intermediate.Device(t, "ra.example").Leaf.Raw
	if _, err := replay.Request(record); err == nil {
		t.Error("a certificate without cmcRA is taken for an RA's")
	}
}
