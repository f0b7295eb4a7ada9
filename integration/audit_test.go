// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const chainedSite = `localhost:PORT {
	est {
		policy policy.yaml
		audit require {
			folder DIR/chain
			checkpoint 3 1s
		}
		basic {
			estuser HASH
		}
	}
}
`

// scraped is the admin API's /metrics.
func (s *site) scraped() string {
	s.t.Helper()
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// waitFor waits until a metric has a value.
func (s *site) waitFor(line string) {
	s.t.Helper()
	for range 200 {
		if strings.Contains(s.scraped(), line+"\n") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.t.Fatalf("no %q in the metrics\n%s", line, s.log)
}

// Records are chained over a reload, a failure of the disk and a restart, and
// nothing is issued meanwhile.
func TestEnrolmentsAreChainedAndWithoutAChainNothingIsIssued(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: chainedSite, policy: devices})
	folder := filepath.Join(s.dir, "chain")
	d := newDevice(t, s)
	d.csr("one", "/CN=one.example.net", "")
	post := func(status string) {
		t.Helper()
		if got, _ := d.post("simpleenroll", "one", "--user "+user+":"+password); got != status {
			t.Errorf("status %s, want %s\n%s", got, status, s.log)
		}
	}
	audit := func(code int, args ...string) string {
		t.Helper()
		out, errs, got := runCaddy(t, s.dir, append([]string{"est", "audit"}, args...)...)
		if got != code {
			t.Errorf("audit %v: exit %d, want %d\n%s%s", args, got, code, out, errs)
		}
		return out
	}
	post("200")
	if _, errs, code := runCaddy(t, s.dir, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin, "--force"); code != 0 {
		t.Fatal(errs)
	}
	post("200")

	// The folder goes away, and comes again.
	away := filepath.Join(s.dir, "away")
	if err := os.Rename(folder, away); err != nil {
		t.Fatal(err)
	}
	s.waitFor("caddy_est_audit_failing 1")
	post("503")
	if res, err := http.Get("http://" + s.admin + "/est/ready"); err != nil || res.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body(t, res), "no longer there") {
		t.Errorf("the server says that it is ready: %v", err)
	}
	if !strings.Contains(s.log.String(), "without it nothing is issued") {
		t.Errorf("the log doesn't say why\n%s", s.log)
	}
	if err := os.Rename(away, folder); err != nil {
		t.Fatal(err)
	}
	s.waitFor("caddy_est_audit_failing 0")
	post("200")
	s.stop()
	s.run()
	post("200")
	s.stop()

	key := filepath.Join(folder, "checkpoint.key.pub")
	if out := audit(0, "verify", "--key", key, folder); !strings.Contains(out, "nothing is wrong") || strings.Contains(out, "not signed yet") {
		t.Error(out)
	}
	if out := audit(0, "export", "--device", "one.example.net", folder); strings.Count(out, `"outcome":"issued"`) != 4 {
		t.Errorf("the export has\n%s", out)
	}
	names, err := filepath.Glob(filepath.Join(folder, "audit-*.jsonl"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	text, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	// What the log has is what the chain has.
	for _, record := range strings.Split(strings.TrimSpace(audit(0, "export", folder)), "\n") {
		if !strings.Contains(s.log.String(), `"record":`+record) {
			t.Errorf("the log doesn't have\n%s", record)
		}
	}
	if err := os.WriteFile(names[0], []byte(strings.Replace(string(text), "one.example.net", "two.example.net", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := audit(2, "verify", "--key", key, folder); !strings.Contains(out, "it was changed") {
		t.Error(out)
	}
}
