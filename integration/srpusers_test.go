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

const srpPolicy = `version: 1
name: srp
default: devices
profiles:
  devices:
    labels: [devices]
    enroll:
      who:
        - srp: {realm: devices, user: "sensor-*"}
          checks:
            - {id: own-name, rule: 'who.method == "srp" && csr.subject.CN == who.user + ".example.net"', message: the name is that of the user}
      linking: if_present
    subject: {CN: {require: true, allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

// A user is made over the admin API and enrolls with nothing but its password,
// until it is revoked; a new password, a reload and a restart count as well.
func TestAUserOfTheStoreEnrollsBySRP(t *testing.T) {
	t.Parallel()
	s := serveSRP(t, config{site: onceSite, policy: srpPolicy, dir: t.TempDir(),
		extra: "servers {\n\t\tlistener_wrappers {\n\t\t\test_hello\n\t\t\ttls\n\t\t\test_srp devices\n\t\t}\n\t}"})
	users := func(code int, verb string, args ...string) (secret, errs string) {
		t.Helper()
		out, errs, got := runCaddy(t, s.dir, append([]string{"est", "srp", verb, "--address", s.admin, "--realm", "devices"}, args...)...)
		if got != code {
			t.Fatalf("srp %s %v: exit %d, want %d\n%s%s", verb, args, got, code, out, errs)
		}
		return regexp.MustCompile(`[a-z2-7]{26}`).FindString(out), errs
	}
	first, _ := users(0, "add", "sensor-7")
	printer, _ := users(0, "add", "printer-7")
	users(2, "add", "sensor-7")
	if _, _, code := runCaddy(t, s.dir, "est", "srp", "add", "--address", s.admin, "--realm", "device", "sensor-8"); code != 2 {
		t.Errorf("a realm that no listener has: exit %d", code)
	}
	d := newDevice(t, s)
	d.csr("one", "/CN=sensor-7.example.net", "")
	d.csr("two", "/CN=sensor-8.example.net", "")
	ask := func(what, user, password, request, want string) {
		t.Helper()
		out, code := s.bySRP(t, user, password, "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/pkcs10",
			"--data-binary", "@"+filepath.Join(d.dir, request+".b64"), s.url("devices/simpleenroll"))
		if want == "" && code == 0 || want != "" && out != want {
			t.Errorf("%s: exit %d, %s, want %q", what, code, out, want)
		}
	}
	ask("its own name", "sensor-7", first, "one", "200")
	ask("another one's name", "sensor-7", first, "two", "403")
	ask("a user that no line takes", "printer-7", printer, "one", "403")
	ask("another one's password", "sensor-7", printer, "one", "")
	ask("nobody", "sensor-9", first, "one", "")
	users(0, "revoke", "sensor-7")
	ask("revoked", "sensor-7", first, "one", "")
	second, _ := users(0, "add", "--replace", "sensor-7")
	ask("the password before", "sensor-7", first, "one", "")
	if _, errs, code := runCaddy(t, s.dir, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin, "--force"); code != 0 {
		t.Fatal(errs)
	}
	ask("the new one, after a reload", "sensor-7", second, "one", "200")
	s.stop()
	s.run()
	ask("the new one, after a restart", "sensor-7", second, "one", "200")
	s.sync()
	log := s.log.String()
	if !strings.Contains(log, `"method":"srp","id":"devices/sensor-7"`) {
		t.Error("no audit record names the user")
	}
	for _, secret := range []string{first, second, printer} {
		if secret == "" || strings.Contains(log, secret) {
			t.Errorf("the log has the password %q", secret)
		}
	}
}
