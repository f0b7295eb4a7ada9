// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-est/estra/policy/csr"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/upstream/stepca/stepcatest"
)

// headquarters is the policy of the server that issues: for the RA of a site
// and nobody else.
const headquarters = `version: 1
name: TEST-HQ
default: devices
profiles:
  devices:
    labels: [devices]
OPERATIONS
    subject:
      CN: {require: true, allow: ["*.site.example.net"]}
      O: {allow: ["Example Net"]}
    san:
      dns: {allow: ["*.site.example.net"]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

const behalf = `    on_behalf:
      who:
        - client_cert: {anchor: ours, role: ra, subject: {CN: ra.example.net}}
          names: ["*.site.example.net"]
      linking: trusted`

// atSite is the policy of the RA.
const atSite = `version: 1
name: TEST-SITE
default: devices
profiles:
  devices:
    enroll:
      who:
        - http_basic: {users: [estuser], shared: true}
      linking: if_present
    subject:
      CN: {require: true, allow: ["*.site.example.net", "*.elsewhere.example.net"]}
REWRITE
    san:
      dns: {allow: ["*.site.example.net"]}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: VALIDITY}
    upstream: est
`

// registrar is a Caddyfile as docs/upstream-est.md has it: one certificate for
// both sides.
const registrar = `localhost:PORT {
	tls ra.pem ra.key
	est {
		policy policy.yaml
		basic {
			estuser HASH
		}
		upstream est https://localhost:HQ {
			root hq-root.pem
			label devices
			certificate ra.pem
			key ra.key
			MODE
		}
		certificate off
	}
}
`

// chained starts two servers: the one that issues, and an RA of it. The RA's
// certificate is made by an operator at headquarters, as the docs have it.
func chained(t *testing.T, mode, operations string, rewrite *strings.Replacer) (ra, hq *site) {
	t.Helper()
	need(t, "openssl")
	hq = serve(t, config{site: smallest, policy: strings.Replace(headquarters, "OPERATIONS", operations, 1)})
	madeByTheOperator(t, hq, "/CN=ra.example.net", func(script string) string {
		return strings.Replace(script, "extendedKeyUsage = ", "subjectAltName = DNS:localhost\nextendedKeyUsage = serverAuth, ", 1)
	})
	files := map[string]string{}
	dir := filepath.Dir(hq.root("est"))
	for name, from := range map[string]string{"hq-root.pem": "root.crt", "ra.pem": "ra.pem", "ra.key": "ra.key"} {
		text, err := os.ReadFile(filepath.Join(dir, from))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	// What a TLS server sends, and a CMC message has: up to the root.
	files["ra.pem"] += "\n" + page(t, filepath.Join(dir, "intermediate.crt"))
	block := strings.NewReplacer("HQ", fmt.Sprint(hq.port), "MODE", mode).Replace(registrar)
	return serve(t, config{site: block, policy: rewrite.Replace(atSite), files: files}), hq
}

// asks is a device with an account at the RA.
func (s *site) asks(name string, more ...csrtest.Option) (status int, text, id string, leaf *x509.Certificate) {
	s.t.Helper()
	der := csrtest.New(s.t, append([]csrtest.Option{csrtest.Signer(newKey(s.t)), csrtest.Subject(csrtest.CN(name))}, more...)...)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url("simpleenroll"), strings.NewReader(base64.StdEncoding.EncodeToString(der)))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/pkcs10")
	req.SetBasicAuth(user, password)
	res, err := s.client(nil).Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	text = body(s.t, res)
	if res.StatusCode == http.StatusOK {
		certs, err := estclient.ReadCertificates(res.Header.Get("Content-Type"), []byte(text))
		if err != nil || len(certs) != 1 {
			s.t.Fatalf("%d certificates: %v", len(certs), err)
		}
		leaf = certs[0]
	}
	return res.StatusCode, text, res.Header.Get("X-Request-Id"), leaf
}

func TestTwoServersInAChainBySimpleEnroll(t *testing.T) {
	t.Parallel()
	ra, hq := chained(t, "", behalf, strings.NewReplacer("REWRITE\n", "", "VALIDITY", "31d"))
	status, text, id, leaf := ra.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%s", status, text, ra.record(id).Reason, hq.log)
	}
	if leaf.Subject.String() != "CN=plc-1.site.example.net" {
		t.Errorf("the subject is %s", leaf.Subject)
	}
	record := ra.record(id)
	if record.Conforms == nil || !*record.Conforms || record.Upstream == nil || record.Upstream.Name != "est" {
		t.Errorf("the record has conforms %v, upstream %+v", record.Conforms, record.Upstream)
	}
	far := hq.record(string(record.Upstream.Ref)) // the server's own name for it
	if far.Who == nil || far.Who.Role != "ra" || far.Op != "simpleenroll" {
		t.Errorf("headquarters has who %+v, %s", far.Who, far.Op)
	}

	// The server's policy decides again, and its refusal is told to operators.
	status, text, id, _ = ra.asks("plc-1.elsewhere.example.net")
	if record := ra.record(id); status != http.StatusBadGateway || record.Kind != "upstream_refused" || !strings.Contains(string(record.Reason), "answered 403: refused by policy") {
		t.Errorf("%d %s, recorded %s %s", status, text, record.Kind, record.Reason)
	}
	if strings.Contains(text, "403") || strings.Contains(text, "EST server") {
		t.Errorf("the device reads %q", text)
	}
}

func TestAPolicyThatRewritesNeedsFullCMC(t *testing.T) {
	t.Parallel()
	hq := newFactory(t)
	pem := armour("CERTIFICATE", hq.root.Raw)
	s := prepare(t, config{
		site:   strings.NewReplacer("HQ", "1", "MODE", "", "certificate ra.pem\n", "", "key ra.key\n", "", "\ttls ra.pem ra.key\n", "", "certificate off", "certificate from internal\n\t\tupstream internal").Replace(registrar),
		policy: strings.NewReplacer("REWRITE", `      O: {set: "Example Net"}`, "VALIDITY", "30d").Replace(atSite),
		files:  map[string]string{"hq-root.pem": pem},
	})
	errs, code := s.validate()
	if code == 0 || !strings.Contains(errs, `policy.yaml:12:11: the upstream \"est\" can't be told the subject`) {
		t.Errorf("%d %s", code, errs)
	}
	// So does the check that reads the configuration alone.
	said, errs, code := runCaddy(t, s.dir, "est", "policy", "check", "--config", "Caddyfile", "policy.yaml")
	if code != 2 || !strings.Contains(said+errs, `the upstream "est" can't be told the subject`) {
		t.Errorf("%d %s %s", code, said, errs)
	}
}

// A rewrite travels from one RA to the other beside the device's request.
func TestARewriteTravelsBetweenTwoServersByFullCMC(t *testing.T) {
	t.Parallel()
	ra, hq := chained(t, "cmc", strings.Replace("    fullcmc:\n"+strings.ReplaceAll(behalf, "\n", "\n  "), "    on_behalf", "      on_behalf", 1),
		strings.NewReplacer("REWRITE", `      O: {set: "Example Net"}`, "VALIDITY", "20d"))
	status, text, id, leaf := ra.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")))
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%s", status, text, ra.record(id).Reason, hq.log)
	}
	if leaf.Subject.String() != "CN=plc-1.site.example.net,O=Example Net" || len(leaf.DNSNames) != 1 {
		t.Errorf("the subject is %s, with %v", leaf.Subject, leaf.DNSNames)
	}
	record := ra.record(id)
	if record.Conforms == nil || !*record.Conforms || !leaf.NotAfter.Equal(record.Plan.NotAfter) {
		t.Errorf("conforms is %v, it ends on %s, planned was %s", record.Conforms, leaf.NotAfter, record.Plan.NotAfter)
	}
	far := hq.record(string(record.Upstream.Ref))
	if far.Who == nil || far.Who.Role != "ra" || far.Outcome != "issued" {
		t.Errorf("headquarters has who %+v, outcome %s", far.Who, far.Outcome)
	}
	names, err := csr.NamesOf(leaf)
	if err != nil || names.Subject.String() != string(far.CSR.Subject) {
		t.Errorf("headquarters was asked for %s", far.CSR.Subject)
	}

	status, _, id, _ = ra.asks("plc-1.elsewhere.example.net")
	if record := ra.record(id); status != http.StatusBadGateway || record.Kind != "upstream_refused" || !strings.Contains(string(record.Reason), "refused by policy") {
		t.Errorf("%d, recorded %s %s", status, record.Kind, record.Reason)
	}
}

// Devices that come together share a message to the server, and its reference.
func TestRequestsShareAMessageBetweenTwoServers(t *testing.T) {
	t.Parallel()
	ra, hq := chained(t, "cmc\n\t\t\tbatch 500ms", strings.Replace("    fullcmc:\n"+strings.ReplaceAll(behalf, "\n", "\n  "), "    on_behalf", "      on_behalf", 1),
		strings.NewReplacer("REWRITE", `      O: {set: "Example Net"}`, "VALIDITY", "20d"))
	names := []string{"plc-1.site.example.net", "plc-2.site.example.net", "plc-3.elsewhere.example.net", "plc-4.site.example.net"}
	refs := map[string]int{}
	var mu sync.Mutex
	var wait sync.WaitGroup
	for _, name := range names {
		wait.Go(func() {
			status, _, id, leaf := ra.asks(name)
			record := ra.record(id)
			mu.Lock()
			defer mu.Unlock()
			refs[string(record.Upstream.Ref)]++
			refused := strings.Contains(name, "elsewhere")
			if refused && (status != http.StatusBadGateway || !strings.Contains(string(record.Reason), "refused by policy")) ||
				!refused && (status != http.StatusOK || leaf.Subject.CommonName != name) {
				t.Errorf("%s: %d, recorded %s %s", name, status, record.Kind, record.Reason)
			}
		})
	}
	wait.Wait()
	delete(refs, "") // of the one that was refused
	if len(refs) >= 3 {
		t.Errorf("three certificates came with %d messages: %v\n%s", len(refs), refs, hq.log)
	}
}

// Three in a row: what the RA withholds is revoked at the CA of the server, which
// the policy there allows.
func TestWhatTheRAWithholdsIsRevokedAtTheCA(t *testing.T) {
	t.Parallel()
	ca := stepcatest.Start(t, stepcatest.Options{})
	byCMC := strings.Replace("    fullcmc:\n"+strings.ReplaceAll(behalf, "\n", "\n  "), "    on_behalf", "      on_behalf", 1)
	c := jwkSite(ca, "")
	c.site = strings.Replace(strings.Replace(c.site, "\ttls internal\n", "", 1), "\t\tcertificate off\n", "", 1)
	c.policy = strings.Replace(headquarters, "OPERATIONS", byCMC+"\n      revoke: {by_ra: true}", 1)
	hq := serve(t, c)
	own := ca.Registrar(pkix.Name{CommonName: "ra.example.net"})
	key, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain string
	for _, der := range own.Certificate {
		chain += armour("CERTIFICATE", der)
	}
	// The RA's policy wants a usage that the server's doesn't give.
	rules := strings.NewReplacer("REWRITE", `      O: {set: "Example Net"}`, "VALIDITY", "20h", "ext: [clientAuth]", "ext: [clientAuth, serverAuth]").Replace(atSite)
	ra := serve(t, config{
		site:   strings.NewReplacer("HQ", fmt.Sprint(hq.port), "MODE", "cmc", "tls ra.pem ra.key", "tls internal").Replace(registrar),
		policy: rules,
		files:  map[string]string{"hq-root.pem": string(ca.RootPEM()), "ra.pem": chain, "ra.key": armour("PRIVATE KEY", key)},
	})
	status, text, id, _ := ra.asks("plc-1.site.example.net")
	record := ra.record(id)
	if status != http.StatusBadGateway || record.Kind != "nonconforming" || !strings.Contains(string(record.Reason), "it has been revoked") {
		t.Fatalf("%d %s, recorded %s %s\n%s", status, text, record.Kind, record.Reason, hq.log)
	}
	revoked := false
	for _, r := range hq.records() {
		revoked = revoked || r.Outcome == "revoked" && r.Who != nil && r.Who.ID == "CN=ra.example.net"
	}
	if !revoked {
		t.Errorf("headquarters has no record of it\n%s", hq.log)
	}
}

// With no file of an operator's: the RA shows the certificate that its own CA has
// issued to it, whose RAs the server takes.
func TestTheOwnCertificateIsShownToAnESTServer(t *testing.T) {
	t.Parallel()
	ra := serve(t, config{site: smallest, policy: devices})
	// An RA is known by the key that issues to it, so that one is an anchor.
	ca := page(t, ra.root("est")) + "\n" + page(t, filepath.Join(filepath.Dir(ra.root("est")), "intermediate.crt"))
	behalf := strings.NewReplacer("anchor: ours", "anchor: site", "ra.example.net", "localhost").Replace(behalf)
	hq := serve(t, config{
		site:   strings.Replace(smallest, "basic {", "anchors {\n\t\t\tsite site.pem {\n\t\t\t\tra_issuer\n\t\t\t}\n\t\t}\n\t\tbasic {", 1),
		policy: strings.Replace(headquarters, "OPERATIONS", behalf, 1), files: map[string]string{"site.pem": ca},
	})
	write(t, ra.dir, "hq-root.pem", page(t, hq.root("est")))
	write(t, ra.dir, "policy.yaml", strings.NewReplacer("REWRITE\n", "", "VALIDITY", "31d").Replace(atSite))
	upstream := fmt.Sprintf("certificate from internal\n\t\tupstream internal\n\t\tupstream est https://localhost:%d {\n\t\t\troot hq-root.pem\n\t\t}\n\t\tbasic {", hq.port)
	ra.rewrite("basic {", upstream)
	if errs, code := ra.reload(); code != 0 {
		t.Fatal(errs)
	}
	status, text, id, _ := ra.asks("plc-1.site.example.net")
	if status != http.StatusOK {
		t.Fatalf("%d %s: %s\n%s", status, text, ra.record(id).Reason, hq.log)
	}
	if far := hq.record(string(ra.record(id).Upstream.Ref)); far.Who == nil || far.Who.ID != "CN=localhost" || far.Who.Role != "ra" {
		t.Errorf("headquarters has who %+v", far.Who)
	}

	// It can't come from the server that it is shown to.
	ra.rewrite("certificate from internal", "certificate from est")
	if errs, code := ra.validate(); code == 0 || !strings.Contains(errs, "no other upstream issues one") {
		t.Errorf("%d %s", code, errs)
	}
}
