// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestTheDevicesPageWorksAsPrinted runs every shell block of the page, in its
// order, with curl and openssl. Only where the server is differs: the name, the
// port, and the fingerprint of the first block.
func TestTheDevicesPageWorksAsPrinted(t *testing.T) {
	t.Parallel()
	need(t, "curl")
	need(t, "openssl")
	site := strings.Replace(page(t, "../examples/smallest/Caddyfile"), "est.example.net", "localhost:PORT", 1)
	s := serve(t, config{site: site, policy: page(t, "../examples/smallest/policy.yaml")})

	dir := t.TempDir()
	root, err := os.ReadFile(s.tlsRoot())
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "site-root.pem", string(root))
	script := fmt.Sprintf("host=localhost\nest=%s\n", strings.TrimSuffix(s.url(""), "/")) +
		"fingerprint=$(openssl x509 -noout -fingerprint -sha256 -in '" + s.root("est") + "' | cut -d= -f2)\n"
	for i, block := range fence.FindAllStringSubmatch(page(t, "../docs/devices.md"), -1) {
		if i == 0 || block[1] != "sh" {
			continue
		}
		script += strings.ReplaceAll(block[2], "$host:443", fmt.Sprintf("$host:%d", s.port))
	}

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-eu", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s\n--- script\n%s", err, out, script)
	}
	for _, name := range []string{"device.pem", "next.pem"} {
		if pem, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !strings.Contains(string(pem), "rtr-7.devices.example.net") {
			t.Errorf("%s: %v\n%s", name, err, pem)
		}
	}
	linked := ""
	for _, record := range s.audits() {
		linked += fmt.Sprintf("%v %v %v\n", record["op"], record["outcome"], record["tls"])
	}
	if !strings.Contains(linked, "simpleenroll issued map[linked:matched version:1.3]") {
		t.Errorf("no request was linked:\n%s", linked)
	}
	if !strings.Contains(string(out), "issuer=CN = Estra Issuing CA") && !strings.Contains(string(out), "issuer=CN=Estra Issuing CA") {
		t.Errorf("the linked request's certificate isn't printed:\n%s", out)
	}
}
