// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/acme/acmetest"
)

// beforeACME is the Caddyfile of an RA before an ACME CA, which looks for answers at
// Caddy's HTTP port.
const beforeACME = `http:// {
	respond "nothing here" 404
}
localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
		upstream acme URL {
			root root.pem
			tls_root tls.pem
			contact ra@site.example.net
			profile plain
			times
			OPTIONS
		}
		certificate off
	}
}
`

const byACME = `version: 1
name: TEST-ACME
default: devices
profiles:
  devices:
    enroll:
      who:
        - http_basic: {users: [estuser], shared: true}
      linking: if_present
REWRITE    san:
      dns: {allow: ["*.site.example.net", "*.example"]}
    usage: {key: [digitalSignature], ext: [serverAuth]}
    validity: {default: 1d}
`

// acmeSite is a site whose HTTP port the CA looks at.
func acmeSite(t *testing.T, o acmetest.Options, options, rewrite string) (*acmetest.CA, config) {
	port := freePort(t)
	o.HTTPPort = port
	ca := acmetest.Start(t, o)
	return ca, config{
		site: strings.NewReplacer("URL", ca.URL, "OPTIONS", options).Replace(beforeACME), policy: strings.Replace(byACME, "REWRITE", rewrite, 1),
		files: map[string]string{"root.pem": string(ca.RootPEM()), "tls.pem": string(ca.TLSPEM())}, http: port,
	}
}

// named are the options of a request without a subject.
func named(names ...string) csrtest.Option {
	var san [][]byte
	for _, name := range names {
		san = append(san, csrtest.DNS(name))
	}
	return csrtest.SAN(san...)
}

func TestADeviceEnrollsThroughACMEAndCaddyAnswersTheChallenge(t *testing.T) {
	t.Parallel()
	ca, c := acmeSite(t, acmetest.Options{}, "", "")
	s := serve(t, c)
	status, text, id, leaf := s.asks("", csrtest.Subject(), named("plc-1.site.example.net", "plc-1b.site.example.net"))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%s", status, text, s.record(id).Reason, ca.Log())
	}
	if len(leaf.DNSNames) != 2 || len(leaf.Subject.Names) != 0 || leaf.CheckSignatureFrom(ca.Intermediate()) != nil {
		t.Errorf("the names are %v, of %s", leaf.DNSNames, leaf.Issuer)
	}
	record := s.record(id)
	if record.Conforms == nil || !*record.Conforms || record.Upstream == nil || !strings.HasPrefix(string(record.Upstream.Ref), strings.TrimSuffix(ca.URL, "dir")) {
		t.Errorf("the record has conforms %v, upstream %+v", record.Conforms, record.Upstream)
	}
	if left, _ := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "acme", "*", "challenge_tokens", "*")); len(left) > 0 {
		t.Errorf("answers are left: %v", left)
	}

	// The issuing certificate came with it.
	res, err := s.client(nil).Get(s.url("cacerts"))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := estclient.ReadCertificates(res.Header.Get("Content-Type"), []byte(body(t, res)))
	if err != nil || !slices.ContainsFunc(certs, ca.Intermediate().Equal) {
		t.Errorf("/cacerts lacks what issues: %v", err)
	}

	table := s.est(0, "upstream", "check", "acme", "--probe", "probe.site.example.net", "--address", s.admin)
	for _, want := range [][3]string{{"directory", "good", ca.URL}, {"account", "good", "is valid"}, {"profile", "good", "plain: without a subject"},
		{"http-01", "good", "is found"}, {"issuing chain", "good", "1 that came"}, {"address " + strings.TrimSuffix(strings.TrimPrefix(ca.URL, "https://"), "/dir"), "good", "it answers"}, {"clock", "good", "as ours"}, {"probe", "good", "came as planned"}, {"revoke", "good", "is revoked again"}} {
		if !row(table, "acme", want[0], want[1], want[2]) {
			t.Errorf("no row %v in\n%s", want, table)
		}
	}

	// A name that the CA refuses, in the words of the CA, for operators alone.
	status, text, id, _ = s.asks("", csrtest.Subject(), named(acmetest.Blocked))
	if record := s.record(id); status != http.StatusBadGateway || record.Kind != "upstream_refused" || !strings.Contains(string(record.Reason), "rejectedIdentifier (400): Order included an identifier") || strings.Contains(text, "Order") {
		t.Errorf("%d %s, recorded %s %s", status, text, record.Kind, record.Reason)
	}
}

// Two servers that share Caddy's storage: what one puts there, the other answers.
func TestAnotherServerOfTheStorageAnswersTheChallenge(t *testing.T) {
	t.Parallel()
	ca, c := acmeSite(t, acmetest.Options{}, "", "")
	s := serve(t, c)
	shared := filepath.Join(s.dir, "data", "caddy")
	c.http, c.dir = 0, t.TempDir() // the CA comes to the first one
	c.extra = "storage file_system " + shared
	pki := filepath.Join(c.dir, "data", "caddy", "pki") // where the test looks for the site's root
	if err := errors.Join(os.MkdirAll(filepath.Dir(pki), 0o700), os.Symlink(filepath.Join(shared, "pki"), pki)); err != nil {
		t.Fatal(err)
	}
	asked := serve(t, c)
	status, text, id, leaf := asked.asks("", csrtest.Subject(), named("plc-1.site.example.net"))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%s\n%s", status, text, asked.record(id).Reason, ca.Log(), s.log)
	}
	if leaf.DNSNames[0] != "plc-1.site.example.net" || !strings.Contains(s.log.String(), "served key authentication") {
		t.Errorf("%v, and the other server has answered nothing\n%s", leaf.DNSNames, s.log)
	}
}

func TestAPolicyThatACMECannotBeToldIsRefusedWhenItIsLoaded(t *testing.T) {
	t.Parallel()
	c := config{site: strings.NewReplacer("URL", "https://127.0.0.1:1/dir", "OPTIONS", "", "\t\t\ttimes\n", "\t\t\tlifetime 90d\n").Replace(beforeACME)}
	c.files = map[string]string{"root.pem": armour("CERTIFICATE", ratest.NewRoot(t, "Root").Certificate.Raw)}
	c.files["tls.pem"] = c.files["root.pem"]
	for rewrite, want := range map[string]string{
		"    subject: {CN: {allow: [\"*.example\"]}}\n": `policy.yaml:10:15: the upstream \"acme\" can't be told the subject's CN of a request`,
		"": "the CA's certificates live 90d (`lifetime`), and the policy plans 1d at most",
	} {
		c.policy = strings.Replace(byACME, "REWRITE", rewrite, 1)
		if errs, code := prepare(t, c).validate(); code == 0 || !strings.Contains(errs, want) {
			t.Errorf("%d %s, want %s", code, errs, want)
		}
	}
	c.policy = strings.Replace(byACME, "REWRITE", "", 1) // the last of the loop is any
	c.site = strings.Replace(c.site, "\t\tcertificate off\n", "", 1)
	c.site = strings.Replace(c.site, "\ttls internal\n", "", 1)
	c.site = strings.Replace(c.site, "\t\t\tlifetime 90d\n", "", 1)
	if errs, code := prepare(t, c).validate(); code == 0 || !strings.Contains(errs, "a CA that speaks ACME certifies no RA: write `certificate off`") {
		t.Errorf("%d %s", code, errs)
	}
}

func TestAnExternalAccountBindingOpensTheCA(t *testing.T) {
	t.Parallel()
	const mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	o := acmetest.Options{EAB: map[string]string{"kid-1": mac}}
	for name, tt := range map[string]struct {
		options, key, want string
	}{
		"with the key":     {"eab kid-1 {file.eab.key}", mac, ""},
		"with another key": {"eab kid-1 {file.eab.key}", strings.ToLower(mac), "account: the ACME server answered "},
		"without one":      {"", mac, "the CA wants an external account binding: write `eab KEY_ID PLACEHOLDER`"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c := acmeSite(t, o, tt.options, "")
			c.files["eab.key"] = tt.key + "\n"
			s := serve(t, c)
			status, text, id, _ := s.asks("", csrtest.Subject(), named("plc-1.site.example.net"))
			reason := string(s.record(id).Reason)
			if want := map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable}[tt.want == ""]; status != want || !strings.Contains(reason, tt.want) {
				t.Errorf("%d %s, recorded %s", status, text, reason)
			}
			if table := s.est(map[bool]int{true: 0, false: 2}[tt.want == ""], "upstream", "check", "acme", "--address", s.admin); tt.want == "" && !row(table, "acme", "account", "good", "bound to kid-1") {
				t.Errorf("no row of the account in\n%s", table)
			}
			if all := s.log.String() + text + fmt.Sprint(s.records()); strings.Contains(strings.ToLower(all), strings.ToLower(mac)) {
				t.Error("the MAC key is in the log or in a record")
			}
		})
	}
}

// What examples/acme has, with the addresses and files of a test.
func TestTheExampleOfACMEEnrolls(t *testing.T) {
	t.Parallel()
	const mac = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
	ca, c := acmeSite(t, acmetest.Options{EAB: map[string]string{"kid-1": mac}}, "", "")
	maker := ratest.NewRoot(t, "Acme Appliances")
	example := page(t, "../examples/acme/Caddyfile")
	c.site = "http:// {\n\trespond 404\n}\n" + strings.NewReplacer("{$EST_HOST:est.example.net} {", "localhost:PORT {\n\ttls internal", "/etc/caddy/est/", "",
		"https://ca.example.net/acme/directory", ca.URL, "\t\t\tlifetime 90d", "\t\t\ttls_root tls.pem\n\t\t\tprofile plain\n\t\t\tlifetime 1d").Replace(example)
	c.policy = strings.NewReplacer("validity: {default: 91d}", "validity: {default: 25h}", "linking: required", "linking: if_present").Replace(page(t, "../examples/acme/policy.yaml"))
	c.files["idevid.pem"], c.files["chain.pem"] = armour("CERTIFICATE", maker.Certificate.Raw), armour("CERTIFICATE", ca.Intermediate().Raw)
	s := prepare(t, c)
	s.env = []string{"ACME_KEY_ID=kid-1", "ACME_MAC_KEY=" + mac}
	s.run()
	device := maker.Device(t, "appliance", func(c *x509.Certificate) {
		c.Subject = pkix.Name{Organization: []string{"Acme Appliances Inc"}, SerialNumber: "SN7"}
	})
	for name, want := range map[string]int{"console-sn7.example.net": http.StatusOK, "console-sn8.example.net": http.StatusForbidden} {
		der := csrtest.New(t, csrtest.Signer(newKey(t)), csrtest.Subject(), named(name))
		res, err := s.client(func(c *tls.Config) { c.Certificates = []tls.Certificate{device} }).Post(s.url("simpleenroll"), "application/pkcs10", strings.NewReader(base64.StdEncoding.EncodeToString(der)))
		if err != nil {
			t.Fatal(err)
		}
		if text := body(t, res); res.StatusCode != want {
			t.Errorf("%s: %d %s\n%s", name, res.StatusCode, text, s.record(res.Header.Get("X-Request-Id")).Reason)
		}
	}
}
