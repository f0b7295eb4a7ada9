// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/x509"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/upstream/vault/vaulttest"
)

// beforeVault is the Caddyfile of an RA before a Vault.
const beforeVault = `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
		upstream vault URL {
			root root.pem
			role est-ra
			approle ` + vaulttest.RoleID + `
			secret_id_file secret
			MODE
		}
		certificate off
	}
}
`

const byVault = `version: 1
name: TEST-VAULT
default: devices
profiles:
  devices:
    enroll:
      who:
        - http_basic: {users: [estuser], shared: true}
      linking: if_present
    subject:
      CN: {require: true, allow: ["*.site.example.net"]}
      O: {set: "Example Net"}
    san:
      dns: {allow: ["*.site.example.net"]}
      uri: {set: "urn:example:site:berlin"}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 1d}
REST`

func vaultSite(f *vaulttest.Fake, mode, rest string) config {
	return config{
		site:   strings.NewReplacer("URL", f.URL, "\t\t\tMODE\n", mode).Replace(beforeVault),
		policy: strings.Replace(byVault, "REST", rest, 1),
		files:  map[string]string{"root.pem": armour("CERTIFICATE", f.CA.Root.Certificate.Raw), "secret": vaulttest.SecretID + "\n"},
	}
}

// The role that our command prints for the policy is all that the server needs.
func TestADeviceEnrollsThroughAVault(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode, rest, subject string
		flags               []string
		write               func(*vaulttest.Fake, string, []byte) error
		extension           bool
	}{
		"sign":     {"", "", "CN=plc-1.site.example.net,O=Example Net", []string{"--plain"}, (*vaulttest.Fake).WriteRole, false},
		"cel/sign": {"\t\t\tcel\n", "    extensions: {set: {\"1.3.6.1.4.1.32473.1.2\": {utf8: \"depot 7\"}}}\n", "CN=plc-1.site.example.net,O=Example Net", nil, (*vaulttest.Fake).WriteCELRole, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := vaulttest.NewFake(t)
			s := serve(t, vaultSite(f, c.mode, c.rest))
			role := s.est(0, append([]string{"vault", "role", "--policy", "policy.yaml"}, c.flags...)...)
			if err := c.write(f, vaulttest.Role, []byte(role)); err != nil {
				t.Fatal(err)
			}
			status, text, id, leaf := s.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")))
			if status != http.StatusOK {
				t.Fatalf("%d %s: %s\n%v", status, text, s.record(id).Reason, f.Calls())
			}
			if leaf.Subject.String() != c.subject || leaf.CheckSignatureFrom(f.CA.Intermediate.Certificate) != nil || len(leaf.URIs) != 1 {
				t.Errorf("the subject is %s, of %s, with %v", leaf.Subject, leaf.Issuer, leaf.URIs)
			}
			has := false
			for _, e := range leaf.Extensions {
				has = has || e.Id.String() == "1.3.6.1.4.1.32473.1.2"
			}
			if has != c.extension {
				t.Errorf("the policy's extension is there: %v", has)
			}
			if record := s.record(id); record.Conforms == nil || !*record.Conforms || record.Upstream == nil || !strings.Contains(string(record.Upstream.Ref), ":") {
				t.Errorf("the record has conforms %v, upstream %+v", record.Conforms, record.Upstream)
			}

			// A certificate that isn't as planned is withheld, and revoked there.
			var made *x509.Certificate
			f.Change(func(f *vaulttest.Fake) {
				f.Issue = func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement; made = c }
			})
			status, text, id, _ = s.asks("plc-2.site.example.net")
			if record := s.record(id); status != http.StatusBadGateway || record.Kind != "nonconforming" || !strings.Contains(string(record.Reason), "it has been revoked") {
				t.Errorf("%d %s, recorded %s %s", status, text, record.Kind, record.Reason)
			}
			if !f.Revoked(made) {
				t.Error("it is not revoked at the server")
			}

			// The server's own words are for operators.
			f.Change(func(f *vaulttest.Fake) { f.Issue, f.Sealed = nil, true })
			status, text, id, _ = s.asks("plc-3.site.example.net")
			if record := s.record(id); status != http.StatusServiceUnavailable || record.Kind != "upstream_down" || !strings.Contains(string(record.Reason), "Vault is sealed") || strings.Contains(text, "Vault") {
				t.Errorf("%d %s, recorded %s %s", status, text, record.Kind, record.Reason)
			}
			for where, said := range map[string]string{"log": s.log.String(), "audit record": string(s.record(id).Reason)} {
				if strings.Contains(said, vaulttest.SecretID) || strings.Contains(said, "hvs.CAES") {
					t.Errorf("the %s shows a secret", where)
				}
			}
		})
	}
}

// sign-verbatim is for policies that rewrite nothing; the message names what could.
func TestAPolicyThatRewritesNeedsARole(t *testing.T) {
	t.Parallel()
	f := vaulttest.NewFake(t)
	c := vaultSite(f, "\t\t\tverbatim\n", "    upstream: vault\n")
	c.site = strings.Replace(c.site, "\t\tcertificate off\n", "\t\tupstream internal\n\t\tcertificate off\n", 1)
	s := prepare(t, c)
	errs, code := s.validate()
	if code == 0 || !strings.Contains(errs, `policy.yaml:12:11: the upstream \"vault\" can't be told the subject's O, which`) || !strings.Contains(errs, `this one can: \"internal\"`) {
		t.Errorf("%d %s", code, errs)
	}

	unchanged := strings.NewReplacer("      O: {set: \"Example Net\"}\n", "", "      uri: {set: \"urn:example:site:berlin\"}\n", "").Replace(c.policy)
	c.policy = unchanged
	live := serve(t, c)
	status, text, id, leaf := live.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")))
	if status != http.StatusOK || leaf.Subject.String() != "CN=plc-1.site.example.net" {
		t.Fatalf("%d %s: %s\n%v", status, text, live.record(id).Reason, f.Calls())
	}
}

// Our own certificate, which another upstream issues, logs in.
func TestOurOwnCertificateLogsInToAVault(t *testing.T) {
	t.Parallel()
	f := vaulttest.NewFake(t)
	f.Change(func(f *vaulttest.Fake) { f.AnyCertificate = true })
	c := vaultSite(f, "\t\t\tcel\n", "    upstream: vault\n")
	c.site = strings.NewReplacer("\ttls internal\n", "", "\t\t\tapprole "+vaulttest.RoleID+"\n\t\t\tsecret_id_file secret\n", "\t\t\tcert est-ra\n",
		"\t\tcertificate off\n", "\t\tupstream internal\n\t\tcertificate from internal\n").Replace(c.site)
	s := serve(t, c)
	if err := f.WriteCELRole(vaulttest.Role, []byte(s.est(0, "vault", "role", "--max-validity", "1d"))); err != nil {
		t.Fatal(err)
	}
	status, text, id, _ := s.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%v", status, text, s.record(id).Reason, f.Calls())
	}
	if !strings.Contains(strings.Join(f.Calls(), "\n"), "POST auth/cert/login") {
		t.Errorf("the calls were %v", f.Calls())
	}
}

func TestTheCheckOfAVault(t *testing.T) {
	t.Parallel()
	f := vaulttest.NewFake(t)
	s := serve(t, vaultSite(f, "\t\t\tcel\n", ""))
	if err := f.WriteCELRole(vaulttest.Role, []byte(s.est(0, "vault", "role", "--max-validity", "1d"))); err != nil {
		t.Fatal(err)
	}
	table := s.est(0, "upstream", "check", "vault", "--probe", "probe.site.example.net", "--address", s.admin)
	for _, want := range [][2]string{{"health", "it answers"}, {"token", "it is renewed"}, {"rights", "may sign and revoke"}, {"role est-ra", "it takes what we tell it"}, {"probe", "as planned"}, {"revoke", "is revoked again"}} {
		if !row(table, "vault", want[0], "good", want[1]) {
			t.Errorf("no row %v in\n%s", want, table)
		}
	}
}
