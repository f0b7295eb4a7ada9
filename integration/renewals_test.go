// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestThreat_EndlessRenewal_ACapSurvivesARestart: who has only the certificate
// renews so many times, whatever becomes of the server in between.
func TestThreat_EndlessRenewal_ACapSurvivesARestart(t *testing.T) {
	t.Parallel()
	capped := strings.Replace(devices, "window: 100%", "window: 100%\n      renewals: 2\n      enrolled_within: 730d", 1)
	s := serve(t, config{site: smallest, policy: capped})
	d := newDevice(t, s)
	for _, name := range []string{"one", "two", "three", "four"} {
		d.csr(name, "/O=Example Net/CN=a.example.net", "")
	}
	renew := func(name, with string) {
		d.enrol("simplereenroll", name, fmt.Sprintf("--cert %[1]s.pem --key %[1]s.key", with))
	}
	refused := func(when string) {
		t.Helper()
		status, answer := d.post("simplereenroll", "four", "--cert three.pem --key three.key")
		if status != "403" || !strings.HasPrefix(answer, "certificate cannot be renewed here") {
			t.Errorf("%s: %s %s", when, status, answer)
		}
	}
	d.enrol("simpleenroll", "one", basicOption)
	renew("two", "one")
	if errs, code := s.reload(); code != 0 {
		t.Fatalf("reload: %s", errs)
	}
	renew("three", "two")
	s.stop()
	s.run()
	refused("after a restart")
	records := s.audits()
	last := records[len(records)-1]
	chain, _ := last["input"].(map[string]any)["chain"].(map[string]any)
	if last["kind"] != "bad_renewal" || chain == nil || chain["renewals"] != 2.0 || !strings.Contains(fmt.Sprint(last["decision"]), "profiles.devices.reenroll.renewals") {
		t.Errorf("the record has %v, %v, %v", last["kind"], chain, last["decision"])
	}
	renew("four", "two") // an answer that was lost costs nothing
	refused("after a repeat")

	// A store that is lost stops nobody: what is left counts from now on.
	s.stop()
	files, err := filepath.Glob(filepath.Join(s.dir, "data", "caddy", "est", "store.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there is no store: %v", err)
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	s.run()
	renew("four", "three")
	d.enrol("simpleenroll", "one", basicOption)
	renew("two", "one")
}
