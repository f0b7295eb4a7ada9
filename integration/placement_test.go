// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
)

// block is the directive as the tests of this file place it.
const block = `est {
		policy policy.yaml
		certificate off
		basic {
			estuser HASH
		}
	}`

// TestWhereTheDirectiveStands is the table of docs/caddyfile.md.
func TestWhereTheDirectiveStands(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name    string
		global  string
		site    string
		refused string // part of the message; empty: it serves, and asks for certificates
	}{
		{"directly in a site with a host", "", "localhost:PORT {\n\ttls internal\n\t" + block + "\n}\n", ""},
		{"inside handle", "", "localhost:PORT {\n\ttls internal\n\thandle {\n\t" + block + "\n\t}\n}\n", ""},
		{"inside handle, beside another site of the listener", "",
			"localhost:PORT {\n\ttls internal\n\thandle {\n\t" + block + "\n\t}\n}\nother.localhost:PORT {\n\ttls internal\n}\n", ""},
		{"inside route", "", "localhost:PORT {\n\ttls internal\n\troute {\n\t" + block + "\n\t}\n}\n", "only handler directives can be used in routes"},
		{"beside default_sni with tls", "default_sni localhost", "localhost:PORT {\n\ttls internal\n\t" + block + "\n}\n", "two TLS policies for one name"},
		{"inside handle, beside default_sni with tls", "default_sni localhost", "localhost:PORT {\n\ttls internal\n\thandle {\n\t" + block + "\n\t}\n}\n", ""},
		{"in a site without a host", "", ":PORT {\n\ttls internal\n\t" + block + "\n}\n", "the site has no host name"},
		{"on http", "", "http://localhost {\n\t" + block + "\n}\n", "server listening on"},
		{"on http inside handle", "", "http://localhost {\n\thandle {\n\t" + block + "\n\t}\n}\n", "a site without TLS can't enrol anybody"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.refused == "" {
				s := enrolsAndReenrols(t, config{site: c.site, policy: devices, extra: c.global})
				// All other paths are for the next handler: here nobody, an empty 200.
				res, err := s.client(nil).Get(strings.Replace(s.url("cacerts"), "/.well-known/est/cacerts", "/other", 1))
				if err != nil {
					t.Fatal(err)
				}
				if text := body(t, res); res.StatusCode != 200 || text != "" || res.Header.Get("X-Request-Id") != "" {
					t.Errorf("another path: %s %q", res.Status, text)
				}
				return
			}
			s := prepare(t, config{site: c.site, policy: devices, extra: c.global})
			_, errs, code := runCaddy(t, s.dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
			if code == 0 || !strings.Contains(errs, c.refused) {
				t.Errorf("exit %d, want a message with %q:\n%s", code, c.refused, errs)
			}
			if !strings.Contains(errs, "Caddyfile:") && c.name != "on http" {
				t.Errorf("the message names no line:\n%s", errs)
			}
		})
	}
}

// enrolsAndReenrols shows that the handshake asks for certificates: a
// reenrolment has nothing else.
func enrolsAndReenrols(t *testing.T, c config) *site {
	t.Helper()
	s := serve(t, c)
	d := newDevice(t, s)
	d.csr("one", "/CN=a.example.net/O=Example Net", "")
	d.enrol("simpleenroll", "one", basicOption)
	d.csr("two", "/CN=a.example.net/O=Example Net", "")
	d.enrol("simplereenroll", "two", "--cert one.pem --key one.key")
	return s
}

func TestClientCertsOffServesBehindPlainHTTP(t *testing.T) {
	t.Parallel()
	s := prepare(t, config{site: "http://localhost {\n\t" + strings.Replace(block, "policy ", "client_certs off\n\t\tpolicy ", 1) + "\n}\n", policy: devices})
	s.plain = true
	s.run()
	out := sh(t, s.dir, fmt.Sprintf("curl -sS http://localhost:%d/.well-known/est/cacerts | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs -noout", s.http))
	if !strings.Contains(out, "Estra Root") {
		t.Errorf("/cacerts: %s", out)
	}
	// Passwords are for TLS alone: here, or at a proxy that is trusted.
	write(t, s.dir, "one.b64", request(t, "a.example.net"))
	post := func(headers string) string {
		return sh(t, s.dir, fmt.Sprintf("curl -sS -o answer -w '%%{http_code}' --user %s:%s -H 'Content-Type: application/pkcs10' --data-binary @one.b64 %s http://localhost:%d/.well-known/est/simpleenroll",
			user, password, headers, s.http))
	}
	forwarded := "-H 'X-Forwarded-For: 192.0.2.7' -H 'X-Forwarded-Proto: https'"
	if code := post(forwarded); code != "403" {
		t.Errorf("without TLS, and a proxy that nobody trusts: %s", code)
	}
	s.stop()
	s = prepare(t, config{
		site:   "http://localhost {\n\t" + strings.Replace(block, "policy ", "client_certs off\n\t\tpolicy ", 1) + "\n}\n",
		policy: devices, dir: s.dir, extra: "servers {\n\t\ttrusted_proxies static 127.0.0.1/32 ::1/128\n\t}",
	})
	s.plain = true
	s.run()
	for options, want := range map[string]string{
		forwarded: "200",
		"-H 'X-Forwarded-For: 192.0.2.7' -H 'X-Forwarded-Proto: http'": "403",
		"-H 'X-Forwarded-For: 192.0.2.7'":                              "403",
		// The client's own, before what the proxy says.
		forwarded + " -H 'X-Forwarded-Proto: http'":  "403",
		forwarded + " -H 'X-Forwarded-Proto: https'": "403",
		"-H 'X-Forwarded-Proto: https, http'":        "403",
	} {
		if code := post(options); code != want {
			t.Errorf("behind a trusted proxy, %s: %s, want %s\n%s", options, code, want, s.log)
		}
	}
}

// TestTheSitesOwnTLS has what may stand beside est, and serves.
func TestTheSitesOwnTLS(t *testing.T) {
	t.Parallel()
	for name, tls := range map[string]string{
		"alpn":                "tls internal {\n\t\talpn http/1.1\n\t}",
		"protocols":           "tls internal {\n\t\tprotocols tls1.2\n\t}",
		"client_auth request": "tls internal {\n\t\tclient_auth {\n\t\t\tmode request\n\t\t}\n\t}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			enrolsAndReenrols(t, config{site: "localhost:PORT {\n\t" + tls + "\n\t" + block + "\n}\n", policy: devices})
		})
	}
	t.Run("certificate files", func(t *testing.T) {
		t.Parallel()
		need(t, "openssl")
		dir := t.TempDir()
		sh(t, dir, `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout site.key -out site.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost -days 2 2>&1`)
		s := serve(t, config{dir: dir, site: "localhost:PORT {\n\ttls site.pem site.key\n\t" + block + "\n}\n", policy: devices})
		d := &device{t: t, site: s, dir: t.TempDir(), curl: "curl -sS --fail-with-body --cacert " + dir + "/site.pem"}
		for _, name := range []string{"one", "two"} {
			d.csr(name, "/CN=a.example.net/O=Example Net", "")
		}
		d.enrol("simpleenroll", "one", basicOption)
		d.enrol("simplereenroll", "two", "--cert one.pem --key one.key")
	})
}

func TestAnyHostTakesDevicesThatDialByAddress(t *testing.T) {
	t.Parallel()
	s := serve(t, config{
		extra:  "default_sni localhost",
		site:   "localhost:PORT, 127.0.0.1:PORT {\n\t" + strings.Replace(block, "policy ", "any_host\n\t\tpolicy ", 1) + "\n}\n",
		policy: devices,
	})
	out := sh(t, s.dir, fmt.Sprintf("curl -sS --insecure -o /dev/null -w '%%{http_code}' https://127.0.0.1:%d/.well-known/est/cacerts", s.port))
	if out != "200" {
		t.Errorf("by address: %s\n%s", out, s.log)
	}
}

func TestAnyHostIsRefusedBesideASiteThatReliesOnClientCertificates(t *testing.T) {
	t.Parallel()
	s := prepare(t, config{
		site: "localhost:PORT {\n\ttls internal\n\t" + strings.Replace(block, "policy ", "any_host\n\t\tpolicy ", 1) + "\n}\n" +
			"admin.localhost:PORT {\n\ttls internal {\n\t\tclient_auth {\n\t\t\tmode require\n\t\t}\n\t}\n}\n",
		policy: devices,
	})
	_, errs, code := runCaddy(t, s.dir, "validate", "--config", "Caddyfile", "--adapter", "caddyfile")
	if code == 0 || !strings.Contains(errs, "any_host: another site of this listener relies on client certificates") {
		t.Errorf("exit %d:\n%s", code, errs)
	}
}
