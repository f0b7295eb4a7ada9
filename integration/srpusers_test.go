// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Users are made for listeners that ask for them, and in a store that no server
// has open for whoever will. Neither what is stored nor what Caddy writes has a
// password, and a policy that nobody could match doesn't load.
func TestUsersOfSRPAreKeptInTheStore(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: onceSite, policy: oncePolicy})
	users := func(code int, args ...string) (string, string) {
		t.Helper()
		out, errs, got := runCaddy(t, s.dir, append([]string{"est", "srp"}, args...)...)
		if got != code {
			t.Fatalf("srp %v: exit %d, want %d\n%s%s", args, got, code, out, errs)
		}
		return out, errs
	}
	if _, errs := users(2, "add", "--realm", "devices", "--address", s.admin, "one"); !strings.Contains(errs, "no listener of the configuration has `est_srp`") {
		t.Errorf("without a listener: %s", errs)
	}
	users(0, "list", "--address", s.admin)
	if _, errs := users(2, "revoke", "--realm", "devices", "--address", s.admin, "one"); !strings.Contains(errs, "devices/one: there is no such user") {
		t.Errorf("revoking nobody: %s", errs)
	}

	name := filepath.Join(s.dir, "policy.yaml")
	wants := strings.Replace(oncePolicy, "who: [", "who: [{srp: {realm: devices}}, ", 1)
	if err := os.WriteFile(name, []byte(wants), 0o600); err != nil {
		t.Fatal(err)
	}
	_, errs, code := runCaddy(t, s.dir, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin, "--force")
	if code == 0 || !strings.Contains(errs, "nobody can prove to be a user of the realm") || !strings.Contains(errs, "policy.yaml:") {
		t.Errorf("a policy with a realm that no listener has: exit %d, %s", code, errs)
	}
	if err := os.WriteFile(name, []byte(oncePolicy), 0o600); err != nil {
		t.Fatal(err)
	}

	s.stop()
	file := filepath.Join(s.dir, "data", "caddy", "est", "store.db")
	out, _ := users(0, "add", "--realm", "devices", "--store", file, "-n", "2", "sensor-{n}")
	secrets := regexp.MustCompile(`[a-z2-7]{26}`).FindAllString(out, -1)
	if len(secrets) != 2 {
		t.Fatalf("two users are\n%s", out)
	}
	users(2, "add", "--realm", "devices", "--store", file, "sensor-1")
	users(2, "add", "--realm", "devices", "--store", file, "--group", "4096", "sensor-3")
	users(0, "revoke", "--realm", "devices", "--store", file, "sensor-2")
	before, _ := users(0, "list", "--store", file)
	if !regexp.MustCompile(`(?m)^devices +sensor-1 +active .*\ndevices +sensor-2 +revoked `).MatchString(before) {
		t.Errorf("the list is\n%s", before)
	}
	s.run()
	if after, _ := users(0, "list", "--address", s.admin, "--realm", "devices"); after != before {
		t.Errorf("the server has\n%s\nand the file had\n%s", after, before)
	}
	users(0, "revoke", "--realm", "devices", "--address", s.admin, "sensor-1")
	d := newDevice(t, s)
	d.csr("one", "/CN=sensor-1.example.net", "")
	_, once := passwordsOf(t, s.otp("create", "--label", "devices", "--csv"))
	for user, want := range map[string]string{"sensor-1:" + secrets[0]: "401", ":" + once[0]: "200"} {
		if got, _ := d.post("devices/simpleenroll", "one", "--user "+user); got != want {
			t.Errorf("%s: %s, want %s", user, got, want)
		}
	}
	s.sync()
	scanFor(t, s, secrets)
}
