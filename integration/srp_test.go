// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/srp"
)

// Clients without certificates (RFC 7030 section 3.3.3): curl with OpenSSL, and
// gnutls-cli.

const (
	sensor         = "sensor-7"
	sensorPassword = "6qjnxt4m5e3rk2vwbysz7cdfgh"
	takesSRP       = "servers {\n\t\tlistener_wrappers {\n\t\t\test_hello\n\t\t\ttls\n\t\t\test_srp devices {\n\t\t\t\tverifiers users.srp\n\t\t\t\tattempts 1000/m\n\t\t\t}\n\t\t}\n\t}"
)

// sensors writes the file with the one user.
func sensors(t *testing.T, dir string) {
	t.Helper()
	group, err := srp.GroupNamed(srp.DefaultGroup)
	if err != nil {
		t.Fatal(err)
	}
	v, err := srp.New(rand.Reader, group, "devices", sensor, secret.Text(sensorPassword))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	file := srp.NewFile(filepath.Join(dir, "users.srp"), rand.Reader)
	if err := file.Add(t.Context(), []srp.User{{Verifier: v, Created: now}}, false, now); err != nil {
		t.Fatal(err)
	}
}

// serveSRP starts a site whose listener takes SRP.
func serveSRP(t *testing.T, c config) *site {
	t.Helper()
	need(t, "curl")
	need(t, "gnutls-cli")
	if c.extra == "" {
		c.extra = takesSRP
	}
	if c.dir == "" {
		c.dir = t.TempDir()
		sensors(t, c.dir)
	}
	return serve(t, c)
}

// command runs a program to its end, and gives all that it says.
func command(t *testing.T, stdin, name string, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	all, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	return string(all), cmd.ProcessState.ExitCode()
}

// bySRP runs curl as a device with a name and a password. It wants -k where no
// certificate comes; the suites leave nobody but who has the verifier.
func (s *site) bySRP(t *testing.T, user, password string, args ...string) (out string, code int) {
	t.Helper()
	return command(t, "", "curl", append([]string{"-sSk", "--tls-max", "1.2", "--ciphers", "SRP", "--tlsuser", user, "--tlspassword", password,
		"--resolve", fmt.Sprintf("localhost:%d:127.0.0.1", s.port)}, args...)...)
}

// TestADeviceBootstrapsBySRP: no certificate is trusted, and none is shown; the
// handshake has proven the server (RFC 7030 section 3.6).
func TestADeviceBootstrapsBySRP(t *testing.T) {
	t.Parallel()
	s := serveSRP(t, config{site: smallest, policy: devices})
	out, code := s.bySRP(t, sensor, sensorPassword, "-o", filepath.Join(s.dir, "bag"), "-w", "%{http_code} %{http_version} %{content_type}", s.url("cacerts"))
	if code != 0 || !strings.HasPrefix(out, "200 1.1 application/pkcs7-mime") {
		t.Fatalf("exit %d: %s", code, out)
	}
	if got := sh(t, s.dir, "openssl base64 -d -A -in bag | openssl pkcs7 -inform DER -print_certs -noout"); !strings.Contains(got, "subject") {
		t.Errorf("the bag has %q", got)
	}
	out, code = command(t, "GET /.well-known/est/cacerts HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "gnutls-cli", "localhost", "-p", fmt.Sprint(s.port),
		"--priority", "NORMAL:-KX-ALL:+SRP:-VERS-ALL:+VERS-TLS1.2", "--srpusername", sensor, "--srppasswd", sensorPassword)
	if code != 0 || !strings.Contains(out, "(SRP)") || !strings.Contains(out, "EtM") || !strings.Contains(out, "extended master secret") || !strings.Contains(out, "200 OK") {
		t.Errorf("gnutls-cli: exit %d\n%s", code, out)
	}
}

// TestADeviceThatDialsAnAddress sends no server name (RFC 6066 section 3), which
// Caddy compares with Host where client certificates are asked for.
func TestADeviceThatDialsAnAddress(t *testing.T) {
	t.Parallel()
	site := "127.0.0.1:PORT {\n\ttls internal\n\t" + block + "\n}\n"
	dir := t.TempDir()
	sensors(t, dir)
	s := prepare(t, config{site: site, policy: devices, extra: takesSRP, dir: dir})
	s.bare = true // to whom calls localhost
	s.run()
	out, code := s.bySRP(t, sensor, sensorPassword, "-o", "/dev/null", "-w", "%{http_code}", fmt.Sprintf("https://127.0.0.1:%d/.well-known/est/cacerts", s.port))
	if code != 0 || out != "200" {
		t.Errorf("exit %d: %s", code, out)
	}
}

// TestThreat_SRPOpensNothingBesideEST: Caddy's own client_auth doesn't see such a
// connection, on no site of the listener.
func TestThreat_SRPOpensNothingBesideEST(t *testing.T) {
	t.Parallel()
	const others = `secret.localhost:PORT {
	tls internal {
		client_auth {
			mode require
		}
	}
	respond "the other site"
	handle_errors {
		respond "the other site's errors"
	}
}
`
	s := serveSRP(t, config{site: strings.Replace(smallest, "\n}\n", "\n\trespond \"the site itself\"\n\thandle_errors {\n\t\trespond \"its errors\"\n\t}\n}\n", 1) + others, policy: devices})
	at := func(host, path string) []string {
		return []string{"--resolve", fmt.Sprintf("%s:%d:127.0.0.1", host, s.port), "-w", "\n%{http_code}", fmt.Sprintf("https://%s:%d%s", host, s.port, path)}
	}
	for name, test := range map[string]struct {
		args []string
		code string
	}{
		"EST":                            {at("localhost", "/.well-known/est/csrattrs"), "200"},
		"no path of EST's":               {at("localhost", "/.well-known/est/devices/none"), "404"},
		"another path of the site":       {at("localhost", "/"), "403"},
		"a path that begins like it":     {at("localhost", "/.well-known/established"), "403"},
		"another site":                   {at("secret.localhost", "/"), "403"},
		"EST's path on another site":     {at("secret.localhost", "/.well-known/est/cacerts"), "403"},
		"a host that nobody has":         {at("nobody.localhost", "/.well-known/est/cacerts"), "403"},
		"another Host than SNI":          {append(at("localhost", "/"), "-H", "Host: secret.localhost"), "403"},
		"another Host than SNI, for EST": {append(at("localhost", "/.well-known/est/cacerts"), "-H", "Host: secret.localhost"), "403"},
	} {
		out, code := s.bySRP(t, sensor, sensorPassword, test.args...)
		if code != 0 || !strings.HasSuffix(out, "\n"+test.code) || strings.Contains(out, " site") || strings.Contains(out, "errors") {
			t.Errorf("%s: exit %d: %s, want %s", name, code, out, test.code)
		}
	}
	res, err := s.client(func(c *tls.Config) { c.InsecureSkipVerify = true }).Get(fmt.Sprintf("https://localhost:%d/", s.port))
	if err != nil || res.ProtoMajor != 2 {
		t.Fatalf("who comes with certificates has HTTP/2: %+v, %v", res, err)
	}
	if got := body(t, res); got != "the site itself" {
		t.Errorf("%s: %q", res.Status, got)
	}
}

// TestThreat_WrongPasswordsAndUnknownUsersLookTheSame, to curl, to GnuTLS, and not
// to the operator.
func TestThreat_WrongPasswordsAndUnknownUsersLookTheSame(t *testing.T) {
	t.Parallel()
	s := serveSRP(t, config{site: smallest, policy: devices, extra: strings.Replace(takesSRP, "1000/m", "2/m", 1)})
	var said []string
	for _, who := range [][2]string{
		{sensor, "wrong"}, {"mallory-31", sensorPassword}, {sensor, "wrong again"}, {sensor, sensorPassword}, {"mallory-31", "x"}, {"mallory-31", "y"},
	} {
		out, code := s.bySRP(t, who[0], who[1], s.url("cacerts"))
		said = append(said, fmt.Sprintf("%d %s", code, out))
		if said[len(said)-1] != said[0] {
			t.Errorf("%s and %s: %s, and first it was %s", who[0], who[1], said[len(said)-1], said[0])
		}
	}
	if !strings.Contains(said[0], "bad record mac") {
		t.Errorf("curl says %s", said[0])
	}
	want := []string{
		"unauthenticated SRP, user sensor-7 of realm devices: the password is wrong",
		"unauthenticated SRP, realm devices: there is no such user",
		"unauthenticated SRP, user sensor-7 of realm devices: the password is wrong",
		"throttled SRP, user sensor-7 of realm devices: too many wrong passwords from this address",
		"unauthenticated SRP, realm devices: there is no such user",
		"throttled SRP, realm devices: too many wrong passwords from this address",
	}
	var got []string
	for range 100 {
		got = nil
		for _, r := range s.audits() {
			got = append(got, fmt.Sprintf("%v %v", r["kind"], r["reason"]))
			if r["op"] != "handshake" || r["outcome"] != "refused" || r["remote"] != "127.0.0.1" || r["node"] == "" || r["who"] != nil {
				t.Errorf("the record is %v", r)
			}
		}
		if len(got) >= len(want) {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("recorded:\n%s", strings.Join(got, "\n"))
	}
	if log := s.log.String(); strings.Contains(log, "mallory-31") || strings.Contains(log, sensorPassword) {
		t.Error("the log has the name of nobody whom we know, or a password")
	}
	res, err := http.Get("http://" + s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	if text := body(t, res); !strings.Contains(text, `caddy_est_srp_handshakes_total{outcome="throttled",realm="devices"} 2`) {
		t.Error("no metric counts the throttled")
	}
}

// TestMistakesOfSRPAreFoundAtLoad, by `caddy validate`.
func TestMistakesOfSRPAreFoundAtLoad(t *testing.T) {
	t.Parallel()
	wrappers := func(names ...string) string {
		return "servers {\n\t\tlistener_wrappers {\n\t\t\t" + strings.Join(names, "\n\t\t\t") + "\n\t\t}\n\t}"
	}
	const est = "est_srp devices {\n\t\t\tverifiers users.srp\n\t\t\t}"
	for name, test := range map[string]struct {
		extra, env, says string
	}{
		"all is well":                {extra: takesSRP},
		"another wrapper before":     {extra: wrappers("proxy_protocol", "est_hello", "tls", est)},
		"another wrapper after":      {extra: wrappers("est_hello", "tls", est, "proxy_protocol")},
		"without est_hello":          {extra: wrappers("proxy_protocol", "tls", est), says: `the order is ["proxy_protocol" "tls" "est_srp"], and est_srp must stand directly after tls`},
		"without tls":                {extra: wrappers(est), says: `the order is ["est_srp"], and est_srp must stand directly after tls`},
		"before tls":                 {extra: wrappers("est_hello", est, "tls"), says: `the order is ["est_hello" "est_srp" "tls"]`},
		"something between":          {extra: wrappers("est_hello", "tls", "proxy_protocol", est), says: `the order is ["est_hello" "tls" "proxy_protocol" "est_srp"]`},
		"twice":                      {extra: wrappers("est_hello", "tls", est, est), says: "listener_wrappers: est_srp stands twice"},
		"a realm that isn't there":   {extra: strings.Replace(takesSRP, "est_srp devices", "est_srp toasters", 1), says: `there is no realm "toasters" in it, but: devices`},
		"a realm that can't be":      {extra: strings.Replace(takesSRP, "est_srp devices", "est_srp Toasters", 1), says: `est_srp: the realm can't be "Toasters"`},
		"a file that isn't there":    {extra: strings.Replace(takesSRP, "users.srp", "gone.srp", 1), says: "est_srp: verifiers: stat gone.srp"},
		"FIPS mode":                  {extra: takesSRP, env: "GODEBUG=fips140=on", says: "est_srp: this server runs in FIPS 140-3 mode"},
		"FIPS mode and nothing else": {extra: takesSRP, env: "GODEBUG=fips140=only", says: "est_srp: this server runs in FIPS 140-3 mode"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			sensors(t, dir)
			s := prepare(t, config{extra: test.extra, site: smallest, policy: devices, dir: dir})
			cmd := s.command(t.Context(), "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
			if test.env != "" {
				cmd.Env = append(cmd.Env, test.env)
			}
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			errs, code := strings.ReplaceAll(string(out), `\"`, `"`), cmd.ProcessState.ExitCode()
			if (code != 0) != (test.says != "") || !strings.Contains(errs, test.says) {
				t.Errorf("exit %d:\n%s", code, errs)
			}
		})
	}
}

// TestManyDevicesBySRP: 300 connections, 20 at a time, while devices with
// certificates come beside them; bodies of 300 kB; connections that are kept.
func TestManyDevicesBySRP(t *testing.T) {
	t.Parallel()
	s := serveSRP(t, config{site: smallest, policy: devices})
	var all sync.WaitGroup
	turn := make(chan struct{}, 20)
	for i := range 300 {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			if i%3 == 0 {
				res, err := s.client(nil).Get(s.url("cacerts"))
				if err != nil || res.StatusCode != http.StatusOK {
					t.Errorf("connection %d, with certificates: %v", i, err)
				} else {
					body(t, res)
				}
			}
			if out, code := s.bySRP(t, sensor, sensorPassword, "-o", "/dev/null", "-w", "%{http_code}", s.url("cacerts")); out != "200" {
				t.Errorf("connection %d: exit %d: %s", i, code, out)
			}
		})
	}
	all.Wait()
	write(t, s.dir, "large", strings.Repeat("A", 300<<10))
	out, code := s.bySRP(t, sensor, sensorPassword, "-o", "/dev/null", "-w", "%{http_code} ", "-H", "Expect:", "-H", "Content-Type: application/pkcs10",
		"--data-binary", "@"+filepath.Join(s.dir, "large"), s.url("simpleenroll"))
	if code != 0 || strings.TrimSpace(out) != "413" {
		t.Errorf("300 kB: exit %d: %s", code, out)
	}
	url := s.url("cacerts")
	out, code = s.bySRP(t, sensor, sensorPassword, "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n", url, url, url)
	if code != 0 || out != "200 1\n200 0\n200 0\n" {
		t.Errorf("a connection that is kept: exit %d: %s", code, out)
	}
}

// bySensor is the policy `devices` for a user of SRP; of another label, for one
// who is an account of HTTP Basic as well.
var bySensor = strings.Replace(devices, "- http_basic: {users: [estuser], shared: true}", `- srp: {realm: devices, user: "sensor-*"}
        - client_cert: {anchor: idevid}
        - http_basic: {users: [estuser], shared: true}`, 1) + `  both:
    labels: [both]
    enroll:
      who:
        - all:
            - srp: {realm: devices, user: sensor-7}
            - http_basic: {users: [estuser], shared: true}
      linking: if_present
    subject:
      CN: {require: true, allow: ["*.example.net"]}
    key: {ecdsa: [P-256]}
    usage:
      key: [digitalSignature]
      ext: [clientAuth]
    validity: {default: 30d}
`

// TestWhoEnrolsBySRP: SRP good, bad and none; a certificate or none; HTTP
// credentials good, bad and none (libest's US1060).
func TestWhoEnrolsBySRP(t *testing.T) {
	t.Parallel()
	f := newFactory(t)
	s := serveSRP(t, config{
		site: strings.Replace(smallest, "basic {", "anchors {\n\t\t\tidevid idevid.pem\n\t\t}\n\t\tlimits {\n\t\t\tattempts 1000/m\n\t\t}\n\t\tbasic {", 1), policy: bySensor,
		files: map[string]string{"idevid.pem": armour("CERTIFICATE", f.root.Raw)},
	})
	device := f.idevid(7)
	key, err := x509.MarshalPKCS8PrivateKey(device.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert := write(t, s.dir, "device.pem", armour("CERTIFICATE", device.Certificate[0])+armour("PRIVATE KEY", key))
	const refused = "000" // in the handshake
	for _, row := range []struct{ srp, cert, http, devices, both, who string }{
		{"good", "none", "none", "200", "401", "srp:devices/sensor-7"},
		{"good", "none", "good", "200", "200", "srp+http_basic:devices/sensor-7 + estuser"},
		{"good", "none", "bad", "200", "401", "srp:devices/sensor-7"},
		{"good", "good", "none", "200", "401", "srp:devices/sensor-7"},
		{"good", "good", "good", "200", "200", "srp+http_basic:devices/sensor-7 + estuser"},
		{"good", "good", "bad", "200", "401", "srp:devices/sensor-7"},
		{"bad", "none", "none", refused, refused, ""},
		{"bad", "none", "good", refused, refused, ""},
		{"bad", "good", "none", refused, refused, ""},
		{"bad", "good", "good", refused, refused, ""},
		{"none", "none", "none", "401", "403", ""},
		{"none", "none", "good", "200", "403", "http_basic:estuser"},
		{"none", "none", "bad", "401", "403", ""},
		{"none", "good", "none", "200", "403", "client_cert:"},
		{"none", "good", "good", "200", "403", "client_cert+http_basic: + estuser"},
		{"none", "good", "bad", "200", "403", "client_cert:"},
	} {
		args := []string{"-sS", "--cacert", s.tlsRoot()}
		switch row.srp {
		case "good":
			args = []string{"-sSk", "--tls-max", "1.2", "--ciphers", "SRP", "--tlsuser", sensor, "--tlspassword", sensorPassword}
		case "bad":
			args = []string{"-sSk", "--tls-max", "1.2", "--ciphers", "SRP", "--tlsuser", sensor, "--tlspassword", "wrong"}
		}
		if row.cert == "good" {
			args = append(args, "--cert", cert)
		}
		switch row.http {
		case "good":
			args = append(args, "--user", user+":"+password)
		case "bad":
			args = append(args, "--user", user+":wrong")
		}
		for op, want := range map[string]string{"simpleenroll": row.devices, "both/simpleenroll": row.both} {
			before := len(s.records())
			out, _ := command(t, "", "curl", append(args, "-o", "/dev/null", "-w", "%{http_code}", "-H", "Content-Type: application/pkcs10",
				"--data", request(t, "a.example.net"), s.url(op))...)
			if !strings.HasSuffix(out, want) {
				t.Errorf("SRP %s, certificate %s, HTTP %s: %s: %s, want %s", row.srp, row.cert, row.http, op, out, want)
				continue
			}
			if want != "200" {
				continue
			}
			all := s.records()
			last := all[len(all)-1]
			if last.Who == nil || last.Who.Method.String()+":"+last.Who.ID.String() != row.who || len(all) != before+1 {
				t.Errorf("SRP %s, certificate %s, HTTP %s: %s: the record has %+v, want %s", row.srp, row.cert, row.http, op, last.Who, row.who)
			}
		}
	}
}

// TestLinkingBySRP: the snippet for device makers has the value of such a
// connection too, and no other value will do.
func TestLinkingBySRP(t *testing.T) {
	t.Parallel()
	program := compiled(t, "openssl")
	s := serveSRP(t, config{site: smallest, policy: strings.Replace(linked, "http_basic: {users: [estuser], shared: true}", "srp: {realm: devices}", 1)})
	begin := func() *foreign {
		return s.start(t, true, program, fmt.Sprint(s.port), s.tlsRoot(), "1.2", sensor, sensorPassword)
	}
	f := begin()
	res, text, after := f.post(posting(f.csr), posting(f.csr))
	s.enrolled(t, res, text, "1.2")
	if after != "" {
		t.Errorf("a second linked request was answered: %q", after)
	}
	other, f := begin(), begin()
	if res, text, _ := f.post(posting(other.csr, "Connection: close\r\n")); res.StatusCode != 403 || !strings.Contains(text, "possession failed") {
		t.Errorf("the value of another connection: %s %q", res.Status, text)
	}
	f = begin()
	res, text, after = f.post(posting(request(t, "a.example.net")), posting(f.csr))
	if got := res.Header.Get(binding.HeaderRequired); res.StatusCode != 403 || got != "tls-unique" || !strings.Contains(text, "possession is required") || !strings.HasPrefix(after, "HTTP/1.1 200 ") {
		t.Errorf("no value: %s %q, %s: %q, and after it %q", res.Status, text, binding.HeaderRequired, got, after)
	}
}

// TestReloadsLoseNoMoreThanCaddyAlone: 300 connections, 20 at a time, and four
// reloads among them. Caddy closes a listening socket with all that waits in it, and
// net/http those over HTTP/1 that it has accepted and that haven't asked yet. One
// whose handshake outlasts its configuration isn't lost. Which are lost is chance: ten
// of the 300 are left to that.
func TestReloadsLoseNoMoreThanCaddyAlone(t *testing.T) {
	t.Parallel()
	lost := func(s *site, ask func() bool) int {
		var all sync.WaitGroup
		var failed atomic.Int64
		turn := make(chan struct{}, 20)
		for i := range 300 {
			if i%75 == 70 {
				all.Go(func() {
					if _, errs, code := runCaddy(t, s.dir, "reload", "--force", "--config", "Caddyfile", "--adapter", "caddyfile"); code != 0 {
						t.Error(errs)
					}
				})
			}
			turn <- struct{}{}
			all.Go(func() {
				defer func() { <-turn }()
				if !ask() {
					failed.Add(1)
				}
			})
		}
		all.Wait()
		return int(failed.Load())
	}
	alone := serve(t, config{site: smallest, policy: devices})
	byCaddy := lost(alone, func() bool {
		out, _ := command(t, "", "curl", "-sS", "--http1.1", "--cacert", alone.tlsRoot(), "-o", "/dev/null", "-w", "%{http_code}", alone.url("cacerts"))
		return out == "200"
	})
	s := serveSRP(t, config{site: smallest, policy: devices})
	bySRP := lost(s, func() bool {
		out, _ := s.bySRP(t, sensor, sensorPassword, "-o", "/dev/null", "-w", "%{http_code}", s.url("cacerts"))
		return out == "200"
	})
	t.Logf("lost of 300: %d by Caddy alone, %d with SRP", byCaddy, bySRP)
	if most := byCaddy + 10; bySRP > most {
		t.Errorf("%d of 300 connections are lost, and %d by Caddy alone", bySRP, byCaddy)
	}
	if out, code := s.bySRP(t, sensor, sensorPassword, "-o", "/dev/null", "-w", "%{http_code}", s.url("cacerts")); out != "200" {
		t.Errorf("after the reloads: exit %d: %s", code, out)
	}
}
