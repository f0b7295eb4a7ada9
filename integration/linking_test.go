// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/binding"
	"github.com/caddy-est/estra/ra/estclient"
	"github.com/caddy-est/estra/ra/wire"
)

// linked is the policy `devices` with linking required, and /csrattrs that
// doesn't say so.
var linked = strings.Replace(strings.Replace(devices, "linking: if_present", "linking: required", 1),
	"    usage:\n", "    csrattrs: {format: \"off\"}\n    usage:\n", 1)

// A foreign device is a program with a TLS library that isn't Go's. It has one
// connection, and its test writes the request.
type foreign struct {
	t          *testing.T
	cmd        *exec.Cmd
	in         io.WriteCloser
	out        *bufio.Reader
	errs       bytes.Buffer
	value, csr string // csr is linked, by the program's own library; "": it makes none
}

// start begins a program, and reads its value and, where it makes one, its CSR.
func (s *site) start(t *testing.T, makesCSR bool, program string, args ...string) *foreign {
	t.Helper()
	f := &foreign{t: t}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	f.cmd = exec.CommandContext(ctx, program, append([]string{}, args...)...)
	f.cmd.Stderr = &f.errs
	in, err := f.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	f.in, f.out = in, bufio.NewReader(out)
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.value = f.line()
	if makesCSR {
		f.csr = f.line()
	}
	return f
}

func (f *foreign) line() string {
	f.t.Helper()
	text, err := f.out.ReadString('\n')
	if err != nil {
		_ = f.cmd.Wait()
		f.t.Fatalf("%v\n%s", err, &f.errs)
	}
	return strings.TrimSpace(text)
}

// posting is a request with Basic credentials, and further header lines.
func posting(body string, header ...string) string {
	return fmt.Sprintf("POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n%sAuthorization: Basic %s\r\nContent-Length: %d\r\n\r\n%s",
		strings.Join(header, ""), base64.StdEncoding.EncodeToString([]byte(user+":"+password)), len(body), body)
}

// post sends requests at once, ends the program's input, and reads the first
// answer, and what the server sent after it.
func (f *foreign) post(requests ...string) (res *http.Response, text, after string) {
	f.t.Helper()
	if _, err := io.WriteString(f.in, strings.Join(requests, "")); err != nil {
		f.t.Fatalf("%v\n%s", err, &f.errs)
	}
	_ = f.in.Close()
	res, err := http.ReadResponse(f.out, nil)
	if err != nil {
		_ = f.cmd.Wait()
		f.t.Fatalf("%v\n%s", err, &f.errs)
	}
	text = body(f.t, res)
	rest, err := io.ReadAll(f.out)
	if err != nil {
		f.t.Fatal(err)
	}
	_ = f.cmd.Wait()
	return res, text, string(rest)
}

// carrying is a CSR with a linking value.
func carrying(t *testing.T, value string) string {
	t.Helper()
	der, err := estclient.Request(rand.Reader, newKey(t), namesOf(t, "a.example.net"), value)
	if err != nil {
		t.Fatal(err)
	}
	return string(wire.EncodeBody(der, false))
}

// snippet is the block of docs/linking.md that begins with a comment.
func snippet(t *testing.T, language, begins string) string {
	t.Helper()
	for _, block := range fence.FindAllStringSubmatch(page(t, "../docs/linking.md"), -1) {
		if block[1] == language && strings.HasPrefix(block[2], begins) {
			return block[2]
		}
	}
	t.Fatalf("docs/linking.md has no %s block that begins with %q", language, begins)
	return ""
}

// compiled puts a snippet and its program of testdata together.
func compiled(t *testing.T, name string) string {
	t.Helper()
	return compiledWith(t, name, map[string]string{"openssl": "openssl.c", "mbedtls": "mbedtls.c", "go": "device.go.txt"}[name])
}

// compiledWith puts a snippet and some program of testdata together.
func compiledWith(t *testing.T, name, file string) string {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "device")
	source := page(t, filepath.Join("testdata", "linking", file))
	switch name {
	case "go":
		write(t, dir, "main.go", source+snippet(t, "go", "// linkingValue"))
		write(t, dir, "go.mod", "module device\n\ngo 1.22\n")
		sh(t, dir, "go build -o device .")
	default:
		need(t, "gcc")
		libraries := map[string]string{"openssl": "-lssl -lcrypto", "mbedtls": "-lmbedtls -lmbedx509 -lmbedcrypto"}[name]
		header := map[string]string{"openssl": "openssl/ssl.h", "mbedtls": "mbedtls/ssl.h"}[name]
		if out, err := exec.Command("sh", "-c", "echo '#include <"+header+">' | gcc -E - > "+os.DevNull).CombinedOutput(); err != nil {
			t.Fatalf("%s is missing: install it (Debian: apt-get install libssl-dev libmbedtls-dev)\n%s", header, out)
		}
		write(t, dir, "device.c", snippet(t, "c", "/* "+name+" */")+source)
		// OpenSSL 3 has deprecated SRP, and keeps it.
		sh(t, dir, "gcc -DOPENSSL_SUPPRESS_DEPRECATED -Wall -Wextra -Werror -O1 -o device device.c "+libraries)
	}
	return program
}

// The snippets of docs/linking.md are compiled as they are printed, and enrol.
func TestTheSnippetsForDeviceMakersEnrol(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: linked})
	for name, versions := range map[string][]string{"openssl": {"1.2", "1.3"}, "mbedtls": {"1.2"}, "go": {"1.2", "1.3"}} {
		t.Run(name, func(t *testing.T) {
			program := compiled(t, name)
			for _, version := range versions {
				f := s.start(t, name == "openssl", program, fmt.Sprint(s.port), s.tlsRoot(), version)
				request := f.csr
				if request == "" {
					request = carrying(t, f.value)
				}
				res, text, _ := f.post(posting(request))
				s.enrolled(t, res, text, version)
			}
		})
	}
}

// enrolled holds an answer and its record to a linked enrolment.
func (s *site) enrolled(t *testing.T, res *http.Response, text, version string) {
	t.Helper()
	if res.StatusCode != 200 || !res.Close {
		t.Fatalf("TLS %s: %s %q, closing %v", version, res.Status, text, res.Close)
	}
	if r := s.record(res.Header.Get("X-Request-Id")); r.TLS == nil || r.TLS.Version != version || r.TLS.Linked != "matched" || r.Outcome != "issued" {
		t.Errorf("TLS %s: the record has %+v, outcome %s", version, r.TLS, r.Outcome)
	}
}

// python is the interpreter that has pyOpenSSL: Debian's, which another may
// hide.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(name, "-c", "import OpenSSL, cryptography").Run() == nil {
			return name
		}
	}
	t.Fatal("Python with pyOpenSSL is missing: install it (Debian: apt-get install python3-openssl)")
	return ""
}

// With OpenSSL at the other end: each value that a request can have.
func TestLinkingWithOpenSSLAtTheOtherEnd(t *testing.T) {
	t.Parallel()
	program := python(t)
	s := serve(t, config{site: smallest, policy: linked})
	begin := func(t *testing.T, version, library, oid string) *foreign {
		return s.start(t, true, program, "testdata/linking/device.py", fmt.Sprint(s.port), s.tlsRoot(), version, library, oid)
	}
	challenge, identity := binding.ChallengePassword.String(), binding.IdentityLinking.String()
	for _, c := range []struct{ version, library string }{{"1.2", "pyopenssl"}, {"1.2", "ssl"}, {"1.3", "pyopenssl"}} {
		t.Run(c.library+" over TLS "+c.version, func(t *testing.T) {
			for _, oid := range []string{challenge, identity} {
				f := begin(t, c.version, c.library, oid)
				// A second request with the binding that the first has used.
				res, text, after := f.post(posting(f.csr), posting(f.csr))
				s.enrolled(t, res, text, c.version)
				if after != "" {
					t.Errorf("a second linked request was answered: %q", after)
				}
			}
			first := begin(t, c.version, c.library, challenge)
			for name, request := range map[string]func(*foreign) string{
				"a wrong value":                   func(f *foreign) string { return carrying(t, "A"+f.value[1:len(f.value)-1]+"B") },
				"a prefix of the right value":     func(f *foreign) string { return carrying(t, f.value[:8]) },
				"the value of another connection": func(*foreign) string { return carrying(t, first.value) },
			} {
				f := begin(t, c.version, c.library, challenge)
				if res, text, _ := f.post(posting(request(f), "Connection: close\r\n")); res.StatusCode != 403 || !strings.Contains(text, "possession failed") {
					t.Errorf("%s: %s %q", name, res.Status, text)
				}
			}
			want := map[string]string{"1.2": "tls-unique", "1.3": "tls-exporter"}[c.version]
			// The refusal keeps the connection, and the request made anew goes over it.
			res, text, after := first.post(posting(request(t, "a.example.net")), posting(first.csr))
			if got := res.Header.Get(binding.HeaderRequired); res.StatusCode != 403 || got != want || !strings.Contains(text, "possession is required") {
				t.Errorf("no value: %s %q, %s: %q", res.Status, text, binding.HeaderRequired, got)
			}
			if !strings.HasPrefix(after, "HTTP/1.1 200 ") {
				t.Errorf("the request made anew on the same connection: %q", after)
			}
		})
	}
}

// `caddy est client enroll` links without being told where the refusal alone
// says that it must, and with --linking at once.
func TestTheClientLinks(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: linked, files: map[string]string{"password": password + "\n"}})
	roots := filepath.Join(s.dir, "roots.pem")
	sh(t, s.dir, fmt.Sprintf("cat '%s' '%s' > roots.pem", s.tlsRoot(), s.root("est")))
	for _, c := range []struct {
		options, want string
		refusals      int
	}{
		{"", "tls-exporter", 1}, {"--tls12", "tls-unique", 1}, {"--linking", "tls-exporter", 0}, {"--linking --tls12", "tls-unique", 0},
	} {
		before := len(s.records())
		args := append([]string{"est", "client", "enroll", "--url", fmt.Sprintf("https://localhost:%d", s.port), "--cacert", roots,
			"--user", user, "--password-file", "password", "--key", "device.key", "--subject", "CN=a.example.net"}, strings.Fields(c.options)...)
		out, errs, code := runCaddy(t, s.dir, args...)
		if code != 0 || !strings.Contains(out, "BEGIN CERTIFICATE") || !strings.Contains(errs, "linked    by "+c.want) {
			t.Errorf("%q: exit %d\n%s", c.options, code, errs)
		}
		refusals := 0
		for _, r := range s.records()[before:] {
			if r.Kind == "link_required" {
				refusals++
			}
		}
		if refusals != c.refusals {
			t.Errorf("%q: %d refusals for want of linking, want %d", c.options, refusals, c.refusals)
		}
	}
}

// tickets is a site whose TLS is Caddy's catch-all policy, which asks for no
// client certificates: there Caddy issues session tickets.
const tickets = `localhost:PORT {
	tls internal
	est {
		policy policy.yaml
		client_certs off
		basic {
			estuser HASH
		}
	}
}
`

// basicAlone is `linked` without what needs client certificates.
var basicAlone = linked[:strings.Index(linked, "    reenroll:")] + linked[strings.Index(linked, "    subject:"):]

// Where sessions are resumed, the value is that of the resumed connection: on
// TLS 1.2 the server's Finished (RFC 5929 section 3.1).
func TestLinkingOnResumedSessions(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: tickets, policy: basicAlone})
	for _, version := range tlsVersions {
		t.Run("Go over "+tls.VersionName(version), func(t *testing.T) {
			cache := tls.NewLRUClientSessionCache(1)
			dial := func(resumed bool) *tls.Conn {
				conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{
					RootCAs: s.tlsPool(), ServerName: "localhost", MinVersion: version, MaxVersion: version, ClientSessionCache: cache,
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				if got := conn.ConnectionState().DidResume; got != resumed {
					t.Fatalf("resumed: %v, want %v", got, resumed)
				}
				return conn
			}
			post := func(conn *tls.Conn, value string) (*http.Response, string) {
				if _, err := io.WriteString(conn, posting(carrying(t, value))); err != nil {
					t.Fatal(err)
				}
				res, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				return res, body(t, res)
			}
			first := dial(false)
			state := first.ConnectionState()
			old := binding.FromTLS(&state).Value()
			res, text := post(first, old)
			s.enrolled(t, res, text, strings.TrimPrefix(tls.VersionName(version), "TLS "))
			if res, text := post(dial(true), old); res.StatusCode != 403 {
				t.Errorf("the value of the session's first connection: %s %q", res.Status, text)
			}
			again := dial(true)
			state = again.ConnectionState()
			res, text = post(again, binding.FromTLS(&state).Value())
			s.enrolled(t, res, text, strings.TrimPrefix(tls.VersionName(version), "TLS "))
		})
		t.Run("OpenSSL over "+tls.VersionName(version), func(t *testing.T) {
			number := strings.TrimPrefix(tls.VersionName(version), "TLS ")
			f := s.start(t, true, python(t), "testdata/linking/device.py", fmt.Sprint(s.port), s.tlsRoot(), number, "pyopenssl",
				binding.IdentityLinking.String(), "resume")
			res, text, _ := f.post(posting(f.csr))
			s.enrolled(t, res, text, number)
		})
	}
}

// Under a policy that asks for client certificates Caddy issues no tickets: each
// connection is a full handshake (ADR 2).
func TestNoSessionIsResumedWhereClientCertificatesAreAskedFor(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	for _, version := range tlsVersions {
		cache := tls.NewLRUClientSessionCache(1)
		for range 2 {
			client := s.client(func(c *tls.Config) { c.MinVersion, c.MaxVersion, c.ClientSessionCache = version, version, cache })
			res, err := client.Get(s.url("cacerts"))
			if err != nil {
				t.Fatal(err)
			}
			body(t, res)
			if res.TLS.DidResume {
				t.Errorf("%s: a session was resumed", tls.VersionName(version))
			}
			client.CloseIdleConnections()
		}
	}
}
