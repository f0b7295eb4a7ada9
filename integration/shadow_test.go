// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A policy that is tried out beside the one in force, and the requests of its
// audit log put before both afterwards.
func TestAShadowPolicyIsCountedAndReplayed(t *testing.T) {
	t.Parallel()
	s := prepare(t, config{site: strings.Replace(smallest, "policy policy.yaml", "policy policy.yaml shadow next.yaml", 1), policy: devices})
	write(t, s.dir, "next.yaml", strings.Replace(devices, "default: 30d", "default: 10d", 1))
	s.run()
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.enrol("simpleenroll", "one", basicOption)
	var log strings.Builder
	for _, record := range s.audits() {
		line, err := json.Marshal(record)
		if err != nil {
			t.Fatal(err)
		}
		log.Write(line)
		log.WriteByte('\n')
	}
	if !strings.Contains(log.String(), `"shadow":{"plan":[{"live":"30d","part":"validity","shadow":"10d"}]`) {
		t.Errorf("the record doesn't say what the shadow would do:\n%s", log.String())
	}
	counted := false
	for end := time.Now().Add(5 * time.Second); !counted && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		res, err := http.Get("http://" + s.admin + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		counted = strings.Contains(body(t, res), `caddy_est_shadow_differences_total{profile="devices"} 1`)
	}
	if !counted {
		t.Error("the metric doesn't count the difference")
	}
	write(t, s.dir, "audit.log", log.String())
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"policy.yaml next.yaml --replay audit.log", 0, "1 requests decided anew, 1 otherwise"},
		{"policy.yaml policy.yaml --replay audit.log --fail changed", 0, "1 requests decided anew, 0 otherwise"},
		{"policy.yaml next.yaml --replay audit.log --fail changed", 2, "validity"},
	} {
		out, errs, code := runCaddy(t, s.dir, append([]string{"est", "policy", "diff"}, strings.Fields(c.args)...)...)
		if code != c.code || !strings.Contains(out, c.want) {
			t.Errorf("%s: exit %d, want %d and %q:\n%s%s", c.args, code, c.code, c.want, out, errs)
		}
	}
}
