// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/module"
	"github.com/caddy-est/estra/policy/csr/csrtest"
	"github.com/caddy-est/estra/ra/webhook"
)

var (
	approvalPolicy = strings.Replace(devices, "      linking: if_present", "      linking: if_present\n      approval: manual", 1)
	// logPending binds eventLog to the event of a request that waits.
	logPending = "events {\n\t\ton est_pending test_log\n\t}"
)

// pending runs `caddy est pending` against a running server, and wants an exit
// code.
func (s *site) pending(code int, args ...string) (out, errs string) {
	s.t.Helper()
	out, errs, got := runCaddy(s.t, s.dir, append(append([]string{"est", "pending"}, args...), "--address", s.admin)...)
	if got != code {
		s.t.Fatalf("pending %v: exit %d, want %d\n%s%s", args, got, code, out, errs)
	}
	return out, errs
}

// waiting is the one request that waits.
func (s *site) waiting() module.PendingRequest {
	s.t.Helper()
	out, _ := s.pending(0, "list", "--json")
	var list []module.PendingRequest
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
		s.t.Fatalf("%v: %s", err, out)
	}
	return list[0]
}

// A request waits over a restart of Caddy; the approval comes by command, and
// `client enroll --wait` has the certificate with its next repeat.
func TestARequestWaitsOverARestartUntilSomebodyHasApprovedIt(t *testing.T) {
	t.Parallel()
	told := make(chan webhook.Notice, 4)
	service := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		mac := hmac.New(sha256.New, []byte(hookKey))
		mac.Write(raw)
		var n webhook.Notice
		if hex.EncodeToString(mac.Sum(nil)) == r.Header.Get("X-Smallstep-Signature") && json.Unmarshal(raw, &n) == nil {
			told <- n
		}
	}))
	defer service.Close()
	notify := fmt.Sprintf("notify %s {\n\t\t\tsecret %s\n\t\t\troot hook.pem\n\t\t}\n\t\tbasic {", service.URL, base64.StdEncoding.EncodeToString([]byte(hookKey)))
	s := serve(t, config{
		site: strings.Replace(smallest, "basic {", notify, 1), policy: approvalPolicy, extra: logPending,
		files: map[string]string{"hook.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: service.Certificate().Raw}))},
	})
	d := newDevice(t, s)
	d.csr("one", "/CN=d01.example.net", "")
	status, body := d.post("devices/simpleenroll", "one", basicOption+" -D one.head")
	head, err := os.ReadFile(filepath.Join(d.dir, "one.head"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`(?mi)^content-length: 0\r$`, `(?mi)^content-type: text/plain; charset=utf-8\r$`, `(?mi)^retry-after: [0-9]+\r$`} {
		if status != "202" || body != "" || !regexp.MustCompile(want).Match(head) {
			t.Errorf("%s %q, without %s:\n%s", status, body, want, head)
		}
	}
	w := s.waiting()
	select {
	case n := <-told:
		if n.ID != w.ID || n.Event != "est_pending" || n.Names != "CN=d01.example.net O=Example Net" && !strings.Contains(n.Names, "d01") {
			t.Errorf("told: %+v", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("nobody was told")
	}
	if !regexp.MustCompile(`"event":"est_pending".*"id":"` + w.ID).MatchString(s.log.String()) {
		t.Error("no event was emitted")
	}
	s.stop()
	s.run()
	if got := s.waiting(); got.ID != w.ID {
		t.Fatalf("after the restart %s waits, and not %s", got.ID, w.ID)
	}
	out, _ := s.pending(0, "show", w.ID)
	for _, want := range []string{"waits for 1 of 1 approvals", "http_basic:estuser", "O=Example Net", "digitalSignature"} {
		if !strings.Contains(out, want) {
			t.Errorf("show lacks %q:\n%s", want, out)
		}
	}
	if _, errs := s.pending(2, "approve", w.ID, "--as", "EstUser"); !strings.Contains(errs, "nobody approves a request of his own") {
		t.Errorf("who asks approves: %s", errs)
	}
	s.pending(3, "approve", w.ID)
	s.pending(0, "approve", w.ID, "--as", "anna", "--note", "seen")
	begin := time.Now()
	d.enrol("devices/simpleenroll", "one", basicOption)
	t.Logf("from the approval's answer to the certificate: %s, curl included", time.Since(begin))
	if text := d.text("one"); !strings.Contains(text, "d01.example.net") {
		t.Errorf("%s", text)
	}
	s.sync()
	log := s.log.String()
	for _, want := range []string{`"op":"approval"`, `"approvers":[{"name":"anna","method":"stated"`, `"outcome":"pending"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the records lack %s", want)
		}
	}
	waitsByItself(t, s)
}

// waitsByItself: the client repeats its request, is denied, and says why.
func waitsByItself(t *testing.T, s *site) {
	write(t, s.dir, "pw", password)
	client := func(name string) <-chan string {
		done := make(chan string, 1)
		cmd := caddyCommand(context.Background(), s.dir, "est", "client", "enroll", "--url", fmt.Sprintf("https://localhost:%d", s.port), "--label", "devices",
			"--cacert", s.root("est"), "--user", user, "--password-file", "pw", "--key", name+".key", "--subject", "CN="+name+".example.net", "--wait", "4s", "--out", name+".pem")
		go func() {
			out, err := cmd.CombinedOutput()
			done <- fmt.Sprintf("%v\n%s", err, out)
		}()
		return done
	}
	granted := client("granted")
	var id string
	for range 200 {
		if out, _ := s.pending(0, "list"); strings.Contains(out, "granted") {
			id = s.waiting().ID
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.pending(0, "approve", id, "--as", "anna")
	if out := <-granted; !strings.HasPrefix(out, "<nil>") || !strings.Contains(out, "is sent again in 4s") {
		t.Errorf("the client that waits: %s", out)
	}
	denied := client("denied")
	for range 200 {
		if out, _ := s.pending(0, "list"); strings.Contains(out, "denied.example.net") {
			id = s.waiting().ID
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	s.pending(0, "deny", id, "--as", "anna", "--note", "call the depot", "--disclose")
	if out := <-denied; !strings.Contains(out, "403") || !strings.Contains(out, "call the depot") {
		t.Errorf("the client that is denied: %s", out)
	}
}

// What waits at one node is approved at the other, and fetched at either.
func TestTwoNodesShareWhatWaitsInPostgreSQL(t *testing.T) {
	t.Parallel()
	p := newPostgres(t)
	policy := strings.Replace(approvalPolicy, "approval: manual", "approval: manual\n      approvals: 2", 1)
	node := func() *site {
		s := prepare(t, config{site: strings.Replace(smallest, "basic {", "store postgres {env.EST_DB}\n\t\tbasic {", 1), policy: policy})
		s.env = []string{"EST_DB=" + string(p.DSN("postgres"))}
		s.run()
		return s
	}
	a, b := node(), node()
	atA, atB := newDevice(t, a), newDevice(t, b)
	atA.csr("one", "/CN=d01.example.net", "")
	for _, name := range []string{"one.key", "one.der", "one.b64"} {
		sh(t, atA.dir, fmt.Sprintf("cp %s %s/", name, atB.dir))
	}
	post := func(what string, d *device, want string) {
		t.Helper()
		if got, _ := d.post("devices/simpleenroll", "one", basicOption); got != want {
			t.Errorf("%s: %s, want %s\n%s", what, got, want, d.site.log)
		}
	}
	post("at the first node", atA, "202")
	w := b.waiting()
	post("the repeat at the other", atB, "202")
	if again := a.waiting(); again.ID != w.ID {
		t.Errorf("%s and %s", again.ID, w.ID)
	}
	a.pending(0, "approve", w.ID, "--as", "anna")
	if _, errs := b.pending(2, "approve", w.ID, "--as", "Anna"); !strings.Contains(errs, "approved it already") {
		t.Errorf("the same person at the other node: %s", errs)
	}
	post("approved by one", atB, "202")
	b.pending(0, "approve", w.ID, "--as", "bob")
	a.stop() // a node may die
	post("approved by two", atB, "200")
	if out, _ := b.pending(0, "list", "--all"); !strings.Contains(out, "issued") {
		t.Errorf("%s", out)
	}
}

// Over Caddy's remote admin API the approver is the client certificate.
func TestAnApproverIsTheClientCertificateOfTheRemoteAdminAPI(t *testing.T) {
	t.Parallel()
	s := prepare(t, config{site: smallest, policy: approvalPolicy})
	remote := freePort(t)
	approver := selfSigned(t, s.dir, "anna", "Anna Meier")
	selfSigned(t, s.dir, "eve", "Eve")
	remoteAdmin(t, s, remote, approver)
	s.run()
	d := newDevice(t, s)
	d.csr("one", "/CN=d01.example.net", "")
	if status, _ := d.post("devices/simpleenroll", "one", basicOption); status != "202" {
		t.Fatalf("%s\n%s", status, s.log)
	}
	id := s.waiting().ID
	by := func(code int, who string, args ...string) (string, string) {
		t.Helper()
		out, errs, got := runCaddy(t, s.dir, append(append([]string{"est", "pending"}, args...), "--remote", fmt.Sprintf("https://localhost:%d", remote),
			"--cert", who+".pem", "--key", who+".key", "--root", s.root("local"))...)
		if got != code {
			t.Fatalf("%v: exit %d, want %d\n%s%s\n%s", args, got, code, out, errs, s.log)
		}
		return out, errs
	}
	for range 100 { // Caddy gets the certificate of its admin API in the background
		if strings.Contains(s.log.String(), "certificate obtained successfully") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	by(3, "eve", "approve", id) // Caddy doesn't let her in
	if out, _ := by(0, "anna", "show", id); !strings.Contains(out, "d01.example.net") {
		t.Errorf("%s", out)
	}
	out, _ := by(0, "anna", "approve", id, "--note", "seen")
	if !strings.Contains(out, "Anna Meier (by client certificate), approves") {
		t.Errorf("%s", out)
	}
	d.enrol("devices/simpleenroll", "one", basicOption)
	s.sync()
	if !strings.Contains(s.log.String(), `"who":{"method":"client_cert","id":"Anna Meier","cert_serial"`) {
		t.Errorf("the record doesn't name the certificate")
	}
}

// selfSigned makes NAME.pem and NAME.key, and gives the certificate.
func selfSigned(t *testing.T, dir, name, cn string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: cn}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, dir, name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// remoteAdmin turns a site's Caddyfile into JSON with a remote admin API that one
// certificate may use for what waits.
func remoteAdmin(t *testing.T, s *site, port int, allowed *x509.Certificate) {
	t.Helper()
	out, errs, code := runCaddy(t, s.dir, "adapt", "--config", "Caddyfile", "--adapter", "caddyfile")
	if code != 0 {
		t.Fatal(errs)
	}
	var conf map[string]any
	if err := json.Unmarshal([]byte(out), &conf); err != nil {
		t.Fatal(err)
	}
	admin := conf["admin"].(map[string]any)
	admin["identity"] = map[string]any{"identifiers": []string{"localhost"}, "issuers": []any{map[string]any{"module": "internal"}}}
	admin["remote"] = map[string]any{"listen": fmt.Sprintf("localhost:%d", port), "access_control": []any{map[string]any{
		"public_keys": []string{base64.StdEncoding.EncodeToString(allowed.Raw)},
		"permissions": []any{map[string]any{"paths": []string{"/est/pending"}, "methods": []string{"GET", "POST"}}},
	}}}
	text, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.dir, "Caddyfile.json", string(text))
	s.adapted = "Caddyfile.json"
}

// A CA that decides later is another Estra, where a person approves. The device asks
// the RA, and the RA its CA, for one certificate.
func TestARegistrationAuthorityWaitsForACAThatDecidesLater(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode, validity, operations string
	}{
		"by simpleenroll": {"", "31d", behalf + "\n      approval: manual"},
		"by CMC": {"cmc", "20d", "    fullcmc:\n" + strings.ReplaceAll("    "+strings.ReplaceAll(behalf, "\n", "\n  "), "    on_behalf", "  on_behalf") +
			"\n        approval: manual"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ra, hq := chained(t, c.mode, c.operations, strings.NewReplacer("REWRITE\n", "", "VALIDITY", c.validity))
			key, other := csrtest.Signer(newKey(t)), csrtest.Signer(newKey(t))
			ask := func(want int, key csrtest.Option) *x509.Certificate {
				t.Helper()
				status, text, _, leaf := ra.asks("plc-1.site.example.net", csrtest.SAN(csrtest.DNS("plc-1.site.example.net")), key)
				if status != want {
					t.Fatalf("%d %s, want %d\n%s\n%s", status, text, want, ra.log, hq.log)
				}
				return leaf
			}
			ask(202, key)
			w := hq.waiting()
			ra.stop()
			ra.run()
			ask(202, key)
			if again := hq.waiting(); again.ID != w.ID {
				t.Errorf("the CA has another request, %s", again.ID)
			}
			hq.pending(0, "approve", w.ID, "--as", "anna")
			leaf := ask(200, key)
			if again := ask(200, key); !again.Equal(leaf) {
				t.Error("a second certificate was issued")
			}
			ask(202, other)
			hq.pending(0, "deny", hq.waiting().ID, "--as", "anna")
			ask(502, other)
		})
	}
}
