// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/base64"
	"encoding/json"
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
		{"a part of the language that comes later", strings.Replace(devices, "linking: if_present", "approval: manual\n      linking: if_present", 1), string(good), "policy.yaml:10"},
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
	site := strings.Replace(smallest, "tls internal", "tls internal\n\tlog\n\tlog_append est_op {http.est.op}\n\tlog_append est_profile {http.est.profile}\n\tlog_append est_who {http.est.identity}\n\tlog_append est_verdict {http.est.verdict}", 1)
	s := serve(t, config{site: site, policy: devices, extra: "metrics"})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.enrol("simpleenroll", "one", basicOption)
	d.post("nolabel/simpleenroll", "one", basicOption)

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
		`caddy_est_expiry_seconds{what="internal/root"}`,
		`caddy_est_expiry_seconds{what="internal/issuer"}`,
		`caddy_est_policy_info{sha256="` + ready.Policies[0] + `"} 1`,
		`caddy_est_upstream_seconds_count{result="issued",upstream="internal"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	for _, want := range []string{`"est_op":"simpleenroll"`, `"est_profile":"devices"`, `"est_who":"http_basic:estuser"`, `"est_verdict":"allow"`} {
		if !strings.Contains(s.log.String(), want) {
			t.Errorf("the access log has no %s", want)
		}
	}
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

// No secret reaches a log, an answer or a metric, debug level included.
func TestThreat_EnrolmentSecretsStayOutOfEveryOutput(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices, extra: "debug\n\tmetrics\n\tlog default {\n\t\tlevel DEBUG\n\t}"})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.enrol("simpleenroll", "one", basicOption)
	d.post("simpleenroll", "one", "--user "+user+":mistyped-"+password)
	d.post("simpleenroll", "one", "--user mistyped-name-"+password+":x")
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
	if status, _ := d.post("simpleenroll", "linked", basicOption); status != "403" {
		t.Errorf("a linking value of no connection: %s, want 403", status)
	}
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	all := s.log.String() + body(t, res)
	for _, secret := range []string{
		password, "Zm9yZ290dGVuLXNlY3JldA", "forgotten-secret",
		base64.StdEncoding.EncodeToString([]byte(user + ":" + password)),
	} {
		if i := strings.Index(all, secret); i >= 0 {
			t.Errorf("%q is in the output: …%s…", secret, all[max(0, i-200):min(len(all), i+100)])
		}
	}
}
