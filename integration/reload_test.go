// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (s *site) reload() (errs string, code int) {
	_, errs, code = runCaddy(s.t, s.dir, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin, "--force")
	return errs, code
}

func (s *site) validate() (errs string, code int) {
	_, errs, code = runCaddy(s.t, s.dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
	return errs, code
}

// ready is what /est/ready says.
func (s *site) ready() (status int, policies []string, upstreams map[string]string) {
	s.t.Helper()
	res, err := http.Get("http://" + s.admin + "/est/ready")
	if err != nil {
		s.t.Fatal(err)
	}
	var state struct {
		Policies  []string
		Upstreams map[string]string
	}
	text := body(s.t, res)
	if err := json.Unmarshal([]byte(text), &state); err != nil {
		s.t.Fatalf("/est/ready: %s %s", res.Status, text)
	}
	return res.StatusCode, state.Policies, state.Upstreams
}

// TestReadinessIsOfWhatServes: Caddy replaces the admin API before it finds out
// that a configuration is bad.
func TestReadinessIsOfWhatServes(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	caddyfile := filepath.Join(s.dir, "Caddyfile")
	good, err := os.ReadFile(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	_, before, _ := s.ready()
	taken, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, bad := range map[string]struct{ policy, caddyfile string }{
		"a bad policy":   {"version: [", string(good)},
		"a port in use":  {strings.Replace(devices, "default: 30d", "default: 9d", 1), string(good) + fmt.Sprintf("\n:%d {\n}\n", taken.Addr().(*net.TCPAddr).Port)},
		"another module": {devices, strings.Replace(string(good), "policy policy.yaml", "policy policy.yaml\n\t\tanchors {\n\t\t\tx gone.pem\n\t\t}", 1)},
	} {
		write(t, s.dir, "policy.yaml", bad.policy)
		write(t, s.dir, "Caddyfile", bad.caddyfile)
		if errs, code := s.reload(); code == 0 {
			t.Fatalf("%s: the reload succeeded\n%s", name, errs)
		}
		status, policies, upstreams := s.ready()
		if status != http.StatusOK || len(policies) != 1 || policies[0] != before[0] || upstreams["internal"] != "" || len(upstreams) != 1 {
			t.Errorf("%s: /est/ready says %d, policies %v, upstreams %v", name, status, policies, upstreams)
		}
		res, err := http.Post("http://"+s.admin+"/est/upstreams/internal/resume?profile=devices", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if text := body(t, res); !strings.Contains(text, "isn't stopped for a profile") {
			t.Errorf("%s: resume says %s", name, text)
		}
	}
}

// TestAReloadNoticesAPolicyThatChanged: Caddy skips a reload of the same
// configuration, and a policy that was mended, or broken, is in another file.
func TestAReloadNoticesAPolicyThatChanged(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	reload := func() (errs string, code int) {
		_, errs, code = runCaddy(t, s.dir, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin)
		return errs, code
	}
	inForce := func() string {
		_, policies, _ := s.ready()
		return strings.Join(policies, " ")
	}
	if errs, code := reload(); code != 0 {
		t.Fatalf("nothing changed: exit %d\n%s", code, errs)
	}
	before := inForce()
	write(t, s.dir, "policy.yaml", strings.Replace(devices, "default: 30d", "default: 9d", 1))
	if errs, code := reload(); code != 0 || inForce() == before {
		t.Errorf("exit %d, and the policy in force is %s as before\n%s", code, inForce(), errs)
	}
	before = inForce()
	write(t, s.dir, "policy.yaml", strings.Replace(devices, "version: 1", "version: 7", 1))
	if errs, code := reload(); code == 0 || !strings.Contains(errs, "policy.yaml:1:") || inForce() != before {
		t.Errorf("a bad policy: exit %d, in force %s, before %s\n%s", code, inForce(), before, errs)
	}
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(body(t, res), "\ncaddy_config_last_reload_successful 0\n") {
		t.Error("no metric says that the last reload failed")
	}
	if !strings.Contains(s.log.String(), "policy.yaml:1:") {
		t.Error("the server's log doesn't say which line is wrong")
	}
}

// TestThreat_ANameStandsForOneCA: what is remembered of a CA, the audit record
// and the metrics know it by its name. Two under one root would else take each
// other's certificates for their own.
func TestThreat_ANameStandsForOneCA(t *testing.T) {
	t.Parallel()
	const two = `one.localhost:PORT {
	est {
		policy policy.yaml
		upstream main internal est
		basic {
			estuser HASH
		}
	}
}
two.localhost:PORT {
	est {
		policy policy.yaml
		upstream main internal OTHER
		basic {
			estuser HASH
		}
	}
}
`
	const pki = "pki {\n\t\tca other {\n\t\t\tname Other\n\t\t\tintermediate_lifetime 151d\n\t\t}\n\t}"
	s := prepare(t, config{site: strings.Replace(two, "OTHER", "other", 1), policy: devices, extra: pki})
	errs, code := s.validate()
	if code == 0 || !strings.Contains(errs, "Caddyfile:") || !strings.Contains(errs, "upstream main: another site has an upstream of this name that is written differently") {
		t.Errorf("exit %d:\n%s", code, errs)
	}
	s = prepare(t, config{site: strings.Replace(two, "OTHER", "est", 1), policy: devices, extra: pki})
	if errs, code := s.validate(); code != 0 {
		t.Errorf("the same CA twice: exit %d\n%s", code, errs)
	}
}

// TestABadConfigurationLeavesTheIssuingKeyAlone: only one that is otherwise
// good may replace an intermediate.
func TestABadConfigurationLeavesTheIssuingKeyAlone(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	key := filepath.Join(s.dir, "data", "caddy", "pki", "authorities", "est", "intermediate.key")
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.dir, "policy.yaml", strings.Replace(devices, "default: 30d", "default: 1200d", 1))
	caddyfile := filepath.Join(s.dir, "Caddyfile")
	text, err := os.ReadFile(caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	write(t, s.dir, "Caddyfile", strings.Replace(string(text), "policy policy.yaml", "policy policy.yaml\n\t\tanchors {\n\t\t\tx gone.pem\n\t\t}", 1))
	if errs, code := s.validate(); code == 0 || !strings.Contains(errs, "gone.pem") {
		t.Fatalf("exit %d:\n%s", code, errs)
	}
	after, err := os.ReadFile(key)
	if err != nil || string(after) != string(before) {
		t.Errorf("a refused configuration replaced the issuing key: %v", err)
	}
}

func TestASiteOfAnAddressIsWarnedOf(t *testing.T) {
	t.Parallel()
	site := "127.0.0.1:PORT {\n\ttls internal\n\t" + block + "\n}\n"
	s := prepare(t, config{site: site, policy: devices})
	if errs, code := s.validate(); code != 0 || !strings.Contains(errs, "default_sni") {
		t.Errorf("exit %d, want a warning with the option to write:\n%s", code, errs)
	}
}

func TestAnyHostBesideAnotherESTSite(t *testing.T) {
	t.Parallel()
	open := "localhost:PORT {\n\ttls internal\n\t" + strings.Replace(block, "policy ", "any_host\n\t\tpolicy ", 1) + "\n}\n"
	other := "other.localhost:PORT {\n\ttls internal\n\thandle {\n\t" + block + "\n\t}\n}\n"
	for _, both := range []string{open + other, other + open} {
		s := prepare(t, config{site: both, policy: devices})
		if errs, code := s.validate(); code != 0 {
			t.Errorf("exit %d:\n%s", code, errs)
		}
	}
}
