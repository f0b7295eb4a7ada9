// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// again makes a request for another name with a key that is there.
func (d *device) sameKey(name, key, subject string) {
	d.t.Helper()
	sh(d.t, d.dir, fmt.Sprintf(`openssl req -new -key %[2]s.key -subj '%[3]s' -outform DER -out %[1]s.der
openssl base64 -in %[1]s.der -out %[1]s.b64`, name, key, subject))
}

func (d *device) denied(name, words string) {
	d.t.Helper()
	if status, answer := d.post("simpleenroll", name, basicOption); status != "403" || !strings.Contains(answer, words) {
		d.t.Errorf("%s: %s %q, want 403 with %q", name, status, answer, words)
	}
}

// TestThreat_AKeyStaysThatOfItsHolder: for the next request, over a reload, and
// over a restart.
func TestThreat_AKeyStaysThatOfItsHolder(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.enrol("simpleenroll", "one", basicOption)
	d.sameKey("other", "one", "/CN=b.example.net")
	d.denied("other", "key must change")
	records := s.audits()
	held, _ := records[1]["input"].(map[string]any)["key_holder"].(map[string]any)
	issued, _ := records[0]["cert"].(map[string]any)
	if records[1]["kind"] != "key_reuse" || held == nil || held["serial"] != issued["serial"] {
		t.Errorf("kind %v, holder %v, want that of the certificate %v", records[1]["kind"], held, issued)
	}
	if findings := fmt.Sprint(records[1]["decision"]); !strings.Contains(findings, "guardrails.hygiene.reuse") {
		t.Errorf("the record does not name the policy's line: %s", findings)
	}
	d.enrol("simpleenroll", "one", basicOption)
	if errs, code := s.reload(); code != 0 {
		t.Fatalf("reload: %s", errs)
	}
	d.denied("other", "key must change")
	s.stop()
	s.run()
	d.denied("other", "key must change")
	d.enrol("simpleenroll", "one", basicOption)
	write(t, s.dir, "policy.yaml", strings.Replace(devices, "profiles:", "guardrails: {hygiene: {reuse: allow}}\nprofiles:", 1))
	if errs, code := s.reload(); code != 0 {
		t.Fatalf("reload: %s", errs)
	}
	d.enrol("simpleenroll", "other", basicOption)
}

func TestListsOfKeysAreReadAnewByAReload(t *testing.T) {
	t.Parallel()
	listed := strings.Replace(devices, "profiles:", "guardrails: {hygiene: {blocked: [lists/stolen.txt]}}\nprofiles:", 1)
	s := serve(t, config{site: smallest, policy: listed, files: map[string]string{"lists/stolen.txt": "# none yet\n"}})
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net", "")
	d.enrol("simpleenroll", "one", basicOption)
	hash := strings.Fields(sh(t, d.dir, "openssl pkey -in one.key -pubout -outform DER | sha256sum"))[0]

	write(t, s.dir, "lists/stolen.txt", "# stolen\n"+hash[:60]+"\n")
	unforced := func() (string, int) { // as `caddy reload` does it
		_, errs, code := runCaddy(t, s.dir, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin)
		return errs, code
	}
	errs, code := unforced()
	if code == 0 || !strings.Contains(errs+s.log.String(), "lists/stolen.txt:2:1: a line has the 64 hexadecimal digits") {
		t.Errorf("a reload with a broken list: exit %d\n%s", code, errs)
	}
	if out, errs, code := runCaddy(t, s.dir, "est", "policy", "check", "policy.yaml"); code == 0 || !strings.Contains(out+errs, "lists/stolen.txt:2:1: ") {
		t.Errorf("policy check of a broken list: exit %d\n%s%s", code, out, errs)
	}
	d.enrol("simpleenroll", "one", basicOption)

	write(t, s.dir, "lists/stolen.txt", "# stolen\n"+strings.ToUpper(hash)+" # in March\n")
	if errs, code := unforced(); code != 0 {
		t.Fatalf("reload: %s", errs)
	}
	d.denied("one", "key not accepted")
	if !strings.Contains(s.log.String(), "list of keys loaded") {
		t.Error("the log doesn't say which lists are in force")
	}
}
