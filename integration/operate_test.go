// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A mistake is refused by validate and by reload, with its place; what ran
// goes on.
func TestAMistakeIsRefusedAndWhatRanGoesOn(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	good, err := os.ReadFile(filepath.Join(s.dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name, policy, caddyfile, want string
	}{
		{"an unknown key in the policy", strings.Replace(devices, "validity:", "validty:", 1), string(good), "policy.yaml:25:5"},
		{"a policy that is not YAML", "version: [", string(good), "policy.yaml:1"},
		{"an account that the Caddyfile lacks", strings.Replace(devices, "estuser", "nobody", 1), string(good), "policy.yaml:9"},
		{"an anchor that the Caddyfile lacks", strings.Replace(devices, "anchor: ours", "anchor: theirs", 1), string(good), "policy.yaml:13"},
		{"a password in place of its hash", devices, strings.Replace(string(good), hashIn(string(good)), "secret-word", 1), "not a password hash"},
		{"a policy that isn't there", devices, strings.Replace(string(good), "policy policy.yaml", "policy nowhere.yaml", 1), "nowhere.yaml"},
		{"an unknown option", devices, strings.Replace(string(good), "policy policy.yaml", "polcy policy.yaml", 1), "Caddyfile:"},
		{"a trust file that is empty", devices, strings.Replace(string(good), "policy policy.yaml", "policy policy.yaml\n\t\tanchors {\n\t\t\tidevid empty.pem\n\t\t}", 1), "empty.pem"},
		{"a trust file that is missing", devices, strings.Replace(string(good), "policy policy.yaml", "policy policy.yaml\n\t\tanchors {\n\t\t\tidevid gone.pem\n\t\t}", 1), "gone.pem"},
	}
	write(t, s.dir, "empty.pem", "")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			write(t, s.dir, "policy.yaml", c.policy)
			write(t, s.dir, "Caddyfile", c.caddyfile)
			for _, command := range [][]string{
				{"validate", "--config", "Caddyfile", "--adapter", "caddyfile"},
				{"reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin, "--force"},
			} {
				_, errs, code := runCaddy(t, s.dir, command...)
				if code == 0 || !strings.Contains(errs, c.want) {
					t.Errorf("%s: exit %d, want a message with %q:\n%s", command[0], code, c.want, errs)
				}
				if strings.Contains(errs, "secret-word") {
					t.Errorf("%s repeats the secret", command[0])
				}
			}
			d := newDevice(t, s)
			d.csr("one", "/CN=a.example.net", "")
			d.enrol("simpleenroll", "one", basicOption)
		})
	}
	write(t, s.dir, "policy.yaml", strings.Replace(devices, "default: 30d", "default: 10d", 1))
	write(t, s.dir, "Caddyfile", string(good))
	if _, errs, code := runCaddy(t, s.dir, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin, "--force"); code != 0 {
		t.Errorf("a good policy: exit %d\n%s", code, errs)
	}
}

// hashIn finds the account's hash in a Caddyfile.
func hashIn(text string) string {
	_, rest, _ := strings.Cut(text, user+" ")
	hash, _, _ := strings.Cut(rest, "\n")
	return hash
}

// Issuing certificates are remembered, so that a device that sends its leaf
// alone is known after a restart and after the CA changed its key.
func TestIssuingCertificatesSurviveARestart(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net/O=Example Net", "")
	d.enrol("simpleenroll", "one", basicOption)
	s.stop()
	// The CA gets a new issuing key while nobody looks.
	for _, end := range []string{"crt", "key"} {
		if err := os.Remove(filepath.Join(s.dir, "data", "caddy", "pki", "authorities", "est", "intermediate."+end)); err != nil {
			t.Fatal(err)
		}
	}
	s.run()
	d.csr("two", "/CN=a.example.net/O=Example Net", "")
	d.enrol("simplereenroll", "two", "--cert one.pem --key one.key")
	remembered, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "est", "issuers", "internal", "*.pem"))
	if err != nil || len(remembered) != 2 {
		t.Errorf("%d issuing certificates are remembered, want 2: %v", len(remembered), err)
	}
	bag := sh(t, d.dir, d.curl+" "+s.url("cacerts")+" | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs -noout")
	if n := strings.Count(bag, "subject="); n != 3 {
		t.Errorf("/cacerts has %d certificates, want the root and both issuing ones:\n%s", n, bag)
	}
}

// A stored intermediate that is too short for the policy is replaced.
func TestAPolicyWithLongerValidityGetsALongerIntermediate(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	s.stop()
	write(t, s.dir, "policy.yaml", strings.Replace(devices, "default: 30d", "default: 1200d", 1))
	s.run()
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.enrol("simpleenroll", "one", basicOption)
}

func TestACAOfTheOperatorMustLiveLongEnough(t *testing.T) {
	t.Parallel()
	site := strings.Replace(smallest, "policy policy.yaml", "policy policy.yaml\n\t\tupstream internal corp", 1)
	s := prepare(t, config{site: site, policy: devices, extra: "pki {\n\t\tca corp {\n\t\t\tname Corp\n\t\t}\n\t}"})
	_, errs, code := runCaddy(t, s.dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
	if code == 0 || !strings.Contains(errs, "intermediate_lifetime 151d") {
		t.Fatalf("exit %d, want the line to write:\n%s", code, errs)
	}
	enrolsAndReenrols(t, config{site: site, policy: devices, extra: "pki {\n\t\tca corp {\n\t\t\tname Corp\n\t\t\tintermediate_lifetime 151d\n\t\t}\n\t}"})
}

func TestReadinessMetricsAndPlaceholders(t *testing.T) {
	t.Parallel()
	site := strings.Replace(smallest, "\test {", "\tlog\n\tlog_append est_op {http.est.op}\n\tlog_append est_profile {http.est.profile}\n\tlog_append est_who {http.est.identity}\n\tlog_append est_verdict {http.est.verdict}\n\tlog_append est_label {http.est.label}\n\tlog_append est_request {http.est.request_id}\n\test {", 1)
	s := serve(t, config{site: site, policy: devices, extra: "metrics"})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.enrol("simpleenroll", "one", basicOption)
	d.post("nolabel/simpleenroll", "one", basicOption)
	sh(t, d.dir, "openssl req -inform DER -in one.der -out armoured.b64")
	armoured := d.issued("devices/simpleenroll", "armoured", basicOption)

	// RFC 7030 section 4.1.1: what a person compares with.
	src, err := os.ReadFile(s.root("est"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(src)
	sum := sha256.Sum256(block.Bytes)
	if !strings.Contains(s.log.String(), `"root_sha256":["`+hex.EncodeToString(sum[:])+`"]`) {
		t.Error("the root's fingerprint isn't in the log")
	}
	res, err := http.Get("http://" + s.admin + "/est/ready")
	if err != nil {
		t.Fatal(err)
	}
	var ready struct {
		Ready     bool              `json:"ready"`
		Policies  []string          `json:"policies"`
		Upstreams map[string]string `json:"upstreams"`
	}
	text := body(t, res)
	if err := json.Unmarshal([]byte(text), &ready); err != nil || res.StatusCode != 200 || !ready.Ready || len(ready.Policies) != 1 || ready.Upstreams["internal"] != "" {
		t.Errorf("/est/ready: %s %s", res.Status, text)
	}
	res, err = http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	metrics := body(t, res)
	for _, want := range []string{
		`caddy_est_requests_total{kind="ok",label="",op="simpleenroll",status="200"} 1`,
		`caddy_est_requests_total{kind="no_profile",label="other",op="simpleenroll",status="404"} 1`,
		`caddy_est_requests_total{kind="ok",label="devices",op="simpleenroll",status="200"} 1`,
		"\ncaddy_est_pem_armoured_requests_total 1\n",
		`caddy_est_expiry_seconds{what="internal/root"}`,
		`caddy_est_expiry_seconds{what="internal/issuer"}`,
		`caddy_est_policy_info{sha256="` + ready.Policies[0] + `"} 1`,
		`caddy_est_upstream_seconds_count{result="issued",upstream="internal"} 3`, // the site's own is one
		`caddy_est_expiry_seconds{what="certificate/localhost"}`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	s.logged("http.log.access", `"est_op":"simpleenroll"`, `"est_label":"devices"`, `"est_profile":"devices"`,
		`"est_who":"http_basic:estuser"`, `"est_verdict":"allow"`, `"est_request":"`+string(armoured.ID)+`"`)
	s.logged("http.log.access", `"est_label":"other"`)
}

// A failed guess is counted by Caddy's client address, not the balancer's.
func TestGuessesAreThrottledByTheClientsOwnAddress(t *testing.T) {
	t.Parallel()
	site := strings.Replace(smallest, "policy policy.yaml", "policy policy.yaml\n\t\tlimits {\n\t\t\tattempts 2/m\n\t\t}", 1)
	s := serve(t, config{site: site, policy: devices, extra: "servers {\n\t\ttrusted_proxies static 127.0.0.1/32\n\t}"})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	from := func(address, credentials string) string {
		status, _ := d.post("simpleenroll", "one", fmt.Sprintf("-H 'X-Forwarded-For: %s' --user %s", address, credentials))
		return status
	}
	for range 2 {
		if got := from("192.0.2.1", user+":wrong"); got != "401" {
			t.Fatalf("a wrong password: %s", got)
		}
	}
	if got := from("192.0.2.1", user+":"+password); got != "429" {
		t.Errorf("after two wrong ones: %s, want 429", got)
	}
	if got := from("192.0.2.2", user+":"+password); got != "200" {
		t.Errorf("from another address: %s, want 200", got)
	}
	records := s.audits()
	if remote := records[len(records)-1]["remote"]; remote != "192.0.2.2" {
		t.Errorf("the record's remote is %v", remote)
	}
}

// No password, linking value or key reaches the log (debug level included), an
// answer, a metric, or the configuration that Caddy shows. That configuration,
// which Caddy also logs at level debug, has the hash that the Caddyfile has; a
// hash that a placeholder stands for is nowhere.
func TestThreat_EnrolmentSecretsStayOutOfEveryOutput(t *testing.T) {
	t.Parallel()
	const filed = "$2a$04$abcdefghijklmnopqrstuuAbJCxBGrdz1gYyJRyP4ZVgPaXYBnWYm"
	s := serve(t, config{
		site:   strings.Replace(smallest, "estuser HASH", "estuser HASH\n\t\t\tfiled {file.DIR/filed.hash}", 1),
		policy: devices, files: map[string]string{"filed.hash": filed},
		extra: "debug\n\tmetrics\n\tlog default {\n\t\tlevel DEBUG\n\t}",
	})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net/O=Example Net", "")
	d.csr("two", "/CN=a.example.net/O=Example Net", "")
	var answers strings.Builder
	ask := func(status int, op, name, options string) {
		t.Helper()
		a := d.ask(op, name, options)
		if a.status != status {
			t.Errorf("%s %s: %d %q, want %d", op, name, a.status, a.body, status)
		}
		fmt.Fprintf(&answers, "%v\n%s\n", a.header, a.body)
	}
	d.issued("simpleenroll", "one", basicOption)
	ask(200, "simpleenroll", "one", basicOption)
	ask(200, "simplereenroll", "two", "--cert one.pem --key one.key")
	ask(401, "simpleenroll", "one", "--user "+user+":mistyped-"+password)
	ask(401, "simpleenroll", "one", "--user mistyped-name-"+password+":x")
	sh(t, d.dir, `cat > c.cnf <<'X'
[req]
prompt = no
distinguished_name = dn
attributes = at
[dn]
CN = a.example.net
[at]
challengePassword = Zm9yZ290dGVuLXNlY3JldA==
X
openssl req -new -key one.key -config c.cnf -outform DER | openssl base64 -out linked.b64`)
	ask(403, "simpleenroll", "linked", basicOption) // of no connection

	outputs := map[string]string{"an answer": answers.String(), "the metrics": s.admins("/metrics"), "/est/ready": s.admins("/est/ready")}
	configurations := map[string]string{"/config/": s.admins("/config/")}
	for line := range strings.Lines(s.log.String()) {
		if strings.Contains(line, `"level":"debug"`) && strings.Contains(line, `"msg":"adjusted config"`) {
			configurations["Caddy's debug line"] += line
		} else {
			outputs["the log"] += line
		}
	}
	shown, errs, code := runCaddy(t, s.dir, "adapt", "--config", "Caddyfile", "--adapter", "caddyfile")
	if code != 0 {
		t.Fatalf("adapt: exit %d\n%s", code, errs)
	}
	configurations["caddy adapt"] = shown + errs

	src, err := os.ReadFile(filepath.Join(s.dir, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	hash := hashIn(string(src))
	for what, output := range outputs {
		if output == "" || strings.Contains(output, hash) {
			t.Errorf("%s has the password's hash, or nothing at all", what)
		}
	}
	for what, output := range configurations {
		if !strings.Contains(output, hash) {
			t.Errorf("%s isn't the configuration: no hash in it", what)
		}
		outputs[what] = output
	}
	for what, output := range outputs {
		for name, secret := range map[string]string{
			"password": password, "Basic header": base64.StdEncoding.EncodeToString([]byte(user + ":" + password)),
			"linking value": "Zm9yZ290dGVuLXNlY3JldA", "linking value, decoded": "forgotten-secret",
			"CA's key": s.issuingKey(), "hash behind a placeholder": filed,
		} {
			leaks(t, what, output, name, secret)
		}
	}
}

// admins is an answer of the admin API.
func (s *site) admins(path string) string {
	s.t.Helper()
	res, err := http.Get("http://" + s.admin + path)
	if err != nil {
		s.t.Fatal(err)
	}
	return body(s.t, res)
}

// issuingKey is a line of the embedded CA's private key.
func (s *site) issuingKey() string {
	s.t.Helper()
	src, err := os.ReadFile(filepath.Join(s.dir, "data", "caddy", "pki", "authorities", "est", "intermediate.key"))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.Split(string(src), "\n")[1]
}
