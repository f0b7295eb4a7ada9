// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const oncePolicy = `version: 1
name: once
default: devices
profiles:
  devices:
    labels: [devices]
    enroll: {who: [{one_time_password: {}}], linking: if_present}
    subject: {CN: {require: true, allow: ["*.example.net"]}}
    usage: {key: [digitalSignature], ext: [clientAuth]}
    validity: {default: 30d}
`

const onceSite = `localhost:PORT {
	est {
		policy policy.yaml
		registry fleet
	}
}
`

// passwords reads what `otp create --csv` prints.
func passwordsOf(t *testing.T, text string) (ids, secrets []string) {
	t.Helper()
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil || len(rows) < 2 || strings.Join(rows[0], ",") != "id,password,label,subject,san,expires" {
		t.Fatalf("%v: %q", err, text)
	}
	for _, row := range rows[1:] {
		ids, secrets = append(ids, row[0]), append(secrets, row[1])
	}
	return ids, secrets
}

// A batch of passwords is made over the admin API, used with curl, and kept
// over a reload and a restart. Nothing that Caddy writes has one.
func TestOneTimePasswordsFromTheCommandToTheCertificate(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: onceSite, policy: oncePolicy})
	otp := func(code int, args ...string) (string, string) {
		t.Helper()
		out, errs, got := runCaddy(t, s.dir, append([]string{"est", "otp"}, args...)...)
		if got != code {
			t.Fatalf("otp %v: exit %d, want %d\n%s%s", args, got, code, out, errs)
		}
		return out, errs
	}
	out, _ := otp(0, "create", "--address", s.admin, "--label", "devices", "--subject", "CN=d{n:2}.example.net", "-n", "3", "--csv")
	ids, secrets := passwordsOf(t, out)
	if _, errs := otp(2, "create", "--address", s.admin, "--label", "printers"); !strings.Contains(errs, `no policy has the label \"printers\"`) && !strings.Contains(errs, `no policy has the label "printers"`) {
		t.Errorf("an unknown label: %s", errs)
	}
	otp(3, "create", "--address", s.admin, "--label", "devices", "--subject", "CN=same.example.net", "-n", "2")

	d := newDevice(t, s)
	d.csr("one", "/CN=d01.example.net", "")
	d.csr("two", "/CN=d02.example.net", "")
	post := func(what, name, secret, status string) {
		t.Helper()
		if got, _ := d.post("devices/simpleenroll", name, "--user :"+secret); got != status {
			t.Errorf("%s: %s, want %s\n%s", what, got, status, s.log)
		}
	}
	post("another one's password", "two", secrets[0], "403")
	post("its own", "one", secrets[0], "200")
	post("the same again", "one", secrets[0], "200")
	if _, errs, code := runCaddy(t, s.dir, "reload", "--config", "Caddyfile", "--adapter", "caddyfile", "--address", s.admin, "--force"); code != 0 {
		t.Fatal(errs)
	}
	d.csr("other", "/CN=d01.example.net", "")
	post("after a reload, with another key", "other", secrets[0], "403")
	otp(0, "revoke", "--address", s.admin, ids[1])
	otp(2, "revoke", "--address", s.admin, "nobody")
	otp(3, "revoke", "--address", s.admin, secrets[1])
	post("revoked", "two", secrets[1], "401")
	file := filepath.Join(s.dir, "data", "caddy", "est", "store.db")
	if _, errs := otp(3, "list", "--store", file); !strings.Contains(errs, "admin API") {
		t.Errorf("the file of a running server: %s", errs)
	}
	out, _ = otp(0, "list", "--address", s.admin, "--label", "devices")
	for i, state := range []string{"reserved", "revoked", "unused"} {
		if !strings.Contains(out, ids[i]+"  "+state) {
			t.Errorf("password %d isn't %s:\n%s", i, state, out)
		}
	}

	s.stop()
	direct, _ := otp(0, "list", "--store", file)
	if direct != out {
		t.Errorf("the file has\n%s\nand the server had\n%s", direct, out)
	}
	otp(3, "list", "--store", filepath.Join(s.dir, "nowhere.db"))
	s.run()
	d.csr("three", "/CN=d03.example.net", "")
	post("after a restart", "three", secrets[2], "200")
	s.sync()
	scanFor(t, s, secrets)
}

// scanFor looks for secrets in everything that Caddy has written.
func scanFor(t *testing.T, s *site, secrets []string) {
	t.Helper()
	texts := map[string]string{"the log": s.log.String()}
	err := filepath.WalkDir(filepath.Join(s.dir, "data"), func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		texts[path] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range texts {
		for _, secret := range secrets {
			if strings.Contains(text, secret[len(secret)-26:]) {
				t.Errorf("%s has a password", where)
			}
		}
	}
	if !strings.Contains(texts["the log"], `"method":"one_time_password"`) {
		t.Error("the log has no audit record: nothing was scanned")
	}
}

func TestDevicesAreImportedListedAndBlocked(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: onceSite, policy: oncePolicy})
	write(t, s.dir, "list.csv", "issuer,serial_number,hardware_module_name,note\nAA:01,SN-1,,Köln\naa01,,1.2.3:0A0b,\n")
	write(t, s.dir, "wrong.csv", "issuer,serial_number,hardware_module_name\nzz,SN-1,\naa,,\naa,1,1.2.3:00\naa,,1.2.3\n")
	device := func(code int, args ...string) string {
		t.Helper()
		out, errs, got := runCaddy(t, s.dir, append([]string{"est", "device"}, append(args, "--address", s.admin)...)...)
		if got != code {
			t.Fatalf("device %v: exit %d, want %d\n%s%s", args, got, code, out, errs)
		}
		return out + errs
	}
	if got := device(0, "import", "--registry", "fleet", "list.csv"); got != "fleet: 2 new, 0 there already\n" {
		t.Error(got)
	}
	if got := device(0, "import", "--registry", "fleet", "list.csv"); got != "fleet: 0 new, 2 there already\n" {
		t.Error(got)
	}
	device(2, "import", "--registry", "spares", "list.csv")
	got := device(2, "import", "--registry", "fleet", "wrong.csv")
	for _, line := range []string{"line 2: the issuer", "line 3: the device has none", "line 4: a device has one of", "line 5: the hardware_module_name"} {
		if !strings.Contains(got, line) {
			t.Errorf("%q isn't in:\n%s", line, got)
		}
	}
	device(0, "block", "--registry", "fleet", "SN-1")
	device(2, "block", "--registry", "fleet", "SN-2")
	device(0, "block", "--registry", "fleet", "hardwareModuleName:1.2.3:0a0b")
	device(0, "rearm", "--registry", "fleet", "hardwareModuleName:1.2.3:0a0b")
	list := device(0, "list", "--registry", "fleet")
	if !strings.Contains(list, "fleet     blocked ") || !strings.Contains(list, "fleet     expected") || !strings.Contains(list, "Köln") {
		t.Error(list)
	}
}
