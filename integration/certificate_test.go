// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var cmcRA = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 28}

// shows is what the site shows to a client that asks for a name.
func (s *site) shows(name string) []*x509.Certificate {
	s.t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		s.t.Fatalf("%v\n%s", err, s.log)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates
}

// isOwn holds a certificate to what the built-in profile plans, as OpenSSL
// reads it.
func isOwn(t *testing.T, s *site, name string) *x509.Certificate {
	t.Helper()
	chain := s.shows(name)
	leaf := chain[0]
	write(t, s.dir, "served.pem", armour("CERTIFICATE", leaf.Raw))
	text := sh(t, s.dir, "openssl x509 -in served.pem -noout -text")
	for _, want := range []string{
		"TLS Web Server Authentication, TLS Web Client Authentication, 1.3.6.1.5.5.7.3.28", "Digital Signature", name,
	} {
		if !strings.Contains(strings.ReplaceAll(text, "CMC Registration Authority", "1.3.6.1.5.5.7.3.28"), want) {
			t.Errorf("the certificate of %s lacks %q:\n%s", name, want, text)
		}
	}
	if err := leaf.VerifyHostname(name); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(leaf.UnknownExtKeyUsage, cmcRA.Equal) {
		t.Errorf("no id-kp-cmcRA: %v", leaf.UnknownExtKeyUsage)
	}
	return leaf
}

func TestTheSmallestSiteServesItsOwnCertificate(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	s := serve(t, config{site: smallest, policy: devices})
	leaf := isOwn(t, s, "localhost")
	if leaf.Issuer.CommonName != "Estra Issuing CA" {
		t.Errorf("issued by %s", leaf.Issuer)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 30*24*time.Hour || life < 29*24*time.Hour {
		t.Errorf("it lives %s, and the policy's certificates 30 days", life)
	}
}

// awaited waits until the site serves a certificate that is as wanted.
func (s *site) awaited(name string, wanted func(*x509.Certificate) bool) *x509.Certificate {
	s.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.port), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			continue
		}
		leaf := conn.ConnectionState().PeerCertificates[0]
		conn.Close()
		if wanted(leaf) {
			return leaf
		}
	}
	s.t.Fatalf("no such certificate for %s\n%s", name, s.log)
	return nil
}

// rewrite changes the Caddyfile.
func (s *site) rewrite(old, text string) {
	s.t.Helper()
	src, err := os.ReadFile(filepath.Join(s.dir, "Caddyfile"))
	if err != nil || !strings.Contains(string(src), old) {
		s.t.Fatalf("%v: %q isn't in the Caddyfile", err, old)
	}
	write(s.t, s.dir, "Caddyfile", strings.Replace(string(src), old, text, 1))
}

func (s *site) selves() []map[string]any {
	var all []map[string]any
	for line := range strings.Lines(s.log.String()) {
		var entry struct {
			Record map[string]any `json:"record"`
		}
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Record["op"] == "self" {
			all = append(all, entry.Record)
		}
	}
	return all
}

func TestAnOwnCertificateSurvivesARestartAndIsRecorded(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	before := s.shows("localhost")
	if len(before) != 2 || before[1].Subject.CommonName != "Estra Issuing CA" {
		t.Errorf("the chain is %d certificates long, want the leaf and the intermediate", len(before))
	}
	s.stop()
	s.run()
	if after := s.shows("localhost"); !after[0].Equal(before[0]) {
		t.Errorf("after a restart there is another certificate, of %s", after[0].NotBefore)
	}
	records := s.selves()
	if len(records) != 1 {
		t.Fatalf("%d records of own certificates, want one: %v", len(records), records)
	}
	r := records[0]
	if r["profile"] != "estra-self" || r["outcome"] != "issued" || r["conforms"] != true || r["serial"] != fmt.Sprintf("%x", before[0].SerialNumber) || r["input"] != nil {
		t.Errorf("the record is %v", r)
	}
	write(t, s.dir, "audit.log", s.log.String())
	out, _, code := runCaddy(t, s.dir, "est", "policy", "diff", "policy.yaml", "policy.yaml", "--replay", "audit.log")
	if code != 0 || strings.Contains(out, "estra-self") {
		t.Errorf("a replay doesn't skip it: exit %d\n%s", code, out)
	}
}

func TestAShortLivedOwnCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	short := strings.Replace(smallest, "policy policy.yaml", "policy policy.yaml\n\t\tcertificate from internal {\n\t\t\tvalidity 18s\n\t\t}", 1)
	s := serve(t, config{site: short, policy: devices})
	first := s.shows("localhost")[0]
	second := s.awaited("localhost", func(c *x509.Certificate) bool { return !c.Equal(first) })
	if now := time.Now(); now.After(first.NotAfter) || second.NotAfter.Sub(second.NotBefore) > 18*time.Second {
		t.Errorf("renewed at %s: the first ends at %s, the second lives %s", now, first.NotAfter, second.NotAfter.Sub(second.NotBefore))
	}
	if bytes.Equal(first.RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
		t.Error("the key is the same")
	}
	s.logged("our own certificate is replaced by a new one", fmt.Sprintf("%x", second.SerialNumber))
}

func TestAChangedUpstreamReplacesTheServedCertificateAtReload(t *testing.T) {
	t.Parallel()
	const extra = "pki {\n\t\tca other {\n\t\t\tname Other\n\t\t\tintermediate_cn \"Other Issuing CA\"\n\t\t\tintermediate_lifetime 151d\n\t\t}\n\t}"
	s := serve(t, config{site: strings.Replace(smallest, "est {", "tls internal\n\test {\n\t\tcertificate off", 1), policy: devices, extra: extra})
	if c := s.shows("localhost")[0]; !strings.Contains(c.Issuer.CommonName, "Caddy Local Authority") {
		t.Fatalf("issued by %s", c.Issuer)
	}
	for _, step := range []struct{ old, text, issuer string }{
		{"tls internal\n\test {\n\t\tcertificate off", "est {", "Estra Issuing CA"},
		{"est {\n", "est {\n\t\tupstream main internal other\n", "Other Issuing CA"},
		{"upstream main internal other\n", "upstream main internal est\n", "Estra Issuing CA"},
	} {
		s.rewrite(step.old, step.text)
		if errs, code := s.reload(); code != 0 {
			t.Fatalf("exit %d\n%s", code, errs)
		}
		s.awaited("localhost", func(c *x509.Certificate) bool { return c.Issuer.CommonName == step.issuer })
		isOwn(t, s, "localhost")
	}
	s.rewrite("upstream main internal est\n", "certificate off\n")
	s.rewrite("est {", "tls internal\n\test {")
	if errs, code := s.reload(); code != 0 {
		t.Fatalf("exit %d\n%s", code, errs)
	}
	s.awaited("localhost", func(c *x509.Certificate) bool { return strings.Contains(c.Issuer.CommonName, "Caddy Local Authority") })
}

// The storage of the CA is lost, that of the certificate isn't.
func TestACertificateOfACAThatIsGoneIsReplaced(t *testing.T) {
	t.Parallel()
	s := serve(t, config{site: smallest, policy: devices})
	before := s.shows("localhost")[0]
	s.stop()
	for _, gone := range []string{"pki", "est"} {
		if err := os.RemoveAll(filepath.Join(s.dir, "data", "caddy", gone)); err != nil {
			t.Fatal(err)
		}
	}
	s.run()
	after := s.awaited("localhost", func(c *x509.Certificate) bool { return !c.Equal(before) })
	if _, err := after.Verify(x509.VerifyOptions{Roots: s.tlsPool(), Intermediates: poolOf(s.shows("localhost")[1:]), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		t.Error(err)
	}
	s.logged(`"level":"warn"`, "isn't of the CA that the upstream is now")
}

func poolOf(certs []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return pool
}

func TestOwnCertificatesWhereverTheDirectiveStands(t *testing.T) {
	t.Parallel()
	own := strings.Replace(block, "certificate off\n\t\t", "", 1)
	for name, c := range map[string]struct {
		global, site string
		names        []string // empty: a client that sends none
	}{
		"several names":               {"", "localhost:PORT, other.localhost:PORT {\n\t" + own + "\n}\n", []string{"localhost", "other.localhost"}},
		"an address, by default_sni":  {"default_sni 127.0.0.1", "localhost:PORT, 127.0.0.1:PORT {\n\t" + own + "\n}\n", []string{"localhost", ""}},
		"a name, by default_sni":      {"default_sni localhost", "localhost:PORT {\n\t" + own + "\n}\n", []string{"localhost", ""}},
		"an unknown name, by default": {"fallback_sni localhost", "localhost:PORT {\n\t" + own + "\n}\n", []string{"localhost", "unknown.example"}},
		"inside handle":               {"", "localhost:PORT {\n\thandle {\n\t" + own + "\n\t}\n}\n", []string{"localhost"}},
		"a public name inside handle": {"", "est.example.net:PORT, localhost:PORT {\n\thandle {\n\t" + own + "\n\t}\n}\n", []string{"est.example.net"}},
		"a wildcard":                  {"", "*.w.localhost:PORT, localhost:PORT {\n\t" + own + "\n}\n", []string{"a.w.localhost"}},
		"beside another est site":     {"", "localhost:PORT {\n\t" + own + "\n}\nb.localhost:PORT {\n\t" + own + "\n}\n", []string{"localhost", "b.localhost"}},
		"beside a site of Caddy's":    {"", "localhost:PORT {\n\t" + own + "\n}\nb.localhost:PORT {\n\trespond 200\n}\n", []string{"localhost"}},
		"with TLS options":            {"", "localhost:PORT {\n\ttls {\n\t\tprotocols tls1.3\n\t}\n\t" + own + "\n}\n", []string{"localhost"}},
		"with client_certs off":       {"", "localhost:PORT {\n\t" + strings.Replace(own, "policy ", "client_certs off\n\t\tcertificate from internal\n\t\tpolicy ", 1) + "\n}\n", []string{"localhost"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, config{site: c.site, policy: devices, extra: c.global})
			for _, name := range c.names {
				chain := s.shows(name)
				if !slices.ContainsFunc(chain[0].UnknownExtKeyUsage, cmcRA.Equal) || chain[0].Issuer.CommonName != "Estra Issuing CA" {
					t.Errorf("%q gets a certificate of %s, issued by %s", name, chain[0].Subject, chain[0].Issuer)
				}
				if name != "" && name != "unknown.example" {
					if err := chain[0].VerifyHostname(name); err != nil {
						t.Error(err)
					}
				}
			}
			if name == "beside a site of Caddy's" {
				s.awaited("b.localhost", func(c *x509.Certificate) bool { return strings.Contains(c.Issuer.CommonName, "Caddy Local") })
			}
			if strings.Contains(s.log.String(), "acme") {
				t.Errorf("a certificate was asked for elsewhere:\n%s", s.log)
			}
		})
	}
}

func TestCertificatesThatCantBe(t *testing.T) {
	t.Parallel()
	own := strings.Replace(block, "certificate off\n\t\t", "", 1)
	with := func(option string) string { return strings.Replace(own, "policy ", option+"\n\t\tpolicy ", 1) }
	for name, c := range map[string]struct{ site, says string }{
		"a site without TLS":  {"http://localhost {\n\t" + with("client_certs off\n\t\tcertificate from internal") + "\n}\n", "the site has no TLS"},
		"a site without host": {":PORT {\n\t" + with("client_certs off\n\t\tcertificate from internal") + "\n}\n", "the site has no"},
		"too short a life":    {"localhost:PORT {\n\t" + with("certificate from internal {\n\t\t\tvalidity 1s\n\t\t}") + "\n}\n", "the least is 15s"},
		"no URI":              {"localhost:PORT {\n\t" + with("certificate from internal {\n\t\t\tkey est.pem\n\t\t}") + "\n}\n", "isn't the URI of a key"},
		"another KMS":         {"localhost:PORT {\n\t" + with("certificate from internal {\n\t\t\tkey awskms:key-id=x\n\t\t}") + "\n}\n", `no KMS \"awskms\"`},
		"two sites of a name": {"localhost:PORT {\n\t" + own + "\n\thandle /x {\n\t\t" + with("certificate from internal {\n\t\t\tvalidity 9d\n\t\t}") + "\n\t}\n}\n", "says of localhost something else"},
		"longer than the CA":  {"localhost:PORT {\n\t" + with("upstream internal short\n\t\tcertificate from internal {\n\t\t\tvalidity 90d\n\t\t}") + "\n}\n", "certificate from internal: the policy issues for up to 90d"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			extra := "pki {\n\t\tca short {\n\t\t\tintermediate_lifetime 151d\n\t\t}\n\t}"
			s := prepare(t, config{site: c.site, policy: devices, extra: extra})
			if errs, code := s.validate(); code == 0 || !strings.Contains(errs, c.says) || !strings.Contains(errs, "Caddyfile:") {
				t.Errorf("exit %d, want %q:\n%s", code, c.says, errs)
			}
		})
	}
}

// RFC 7030 section 3.6.1: such a server is known by its name alone.
func TestASiteWhoseCertificateLacksCMCRAIsWarnedOf(t *testing.T) {
	t.Parallel()
	const warning = "the site's certificate lacks id-kp-cmcRA"
	s := serve(t, config{site: "localhost:PORT {\n\ttls internal\n\t" + block + "\n}\n", policy: devices})
	s.logged(`"level":"warn"`, warning, `"name":"localhost"`)
	own := serve(t, config{site: smallest, policy: devices})
	time.Sleep(2 * time.Second) // it would have been said by now
	if strings.Contains(own.log.String(), warning) {
		t.Errorf("the own certificate is warned of:\n%s", own.log)
	}
}
