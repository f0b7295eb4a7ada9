// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// issuedSecond is the site of two audiences whose second certificate comes from
// the upstream.
var issuedSecond = strings.Replace(twoNames, "second_certificate second.pem second.key", "second_certificate from internal", 1)

// rootOf reads the root of a CA of Caddy.
func (s *site) rootOf(id string) *x509.Certificate {
	s.t.Helper()
	src, err := os.ReadFile(s.root(id))
	if err != nil {
		s.t.Fatal(err)
	}
	block, _ := pem.Decode(src)
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.t.Fatal(err)
	}
	return root
}

// TestTheSecondCertificateComesFromTheUpstream, with no file of an operator:
// OpenSSL names the EST root, and another client names it by its hash.
func TestTheSecondCertificateComesFromTheUpstream(t *testing.T) {
	t.Parallel()
	need(t, "openssl")
	s := serve(t, config{extra: readsHellos, site: issuedSecond, policy: devices})
	shown := func(options string) string {
		t.Helper()
		return sh(t, s.dir, fmt.Sprintf("openssl s_client -connect 127.0.0.1:%d -servername localhost -showcerts %s </dev/null 2>&1 || true", s.port, options))
	}
	for _, test := range []struct{ name, options, issuer string }{
		{"none named", "-tls1_3", "Caddy Local Authority"},
		{"none named, TLS 1.2", "-tls1_2", "Caddy Local Authority"},
		{"the EST root", "-tls1_3 -verify_return_error -CAfile " + s.root("est") + " -requestCAfile " + s.root("est"), "Estra Issuing CA"},
		{"the root of Caddy's own CA", "-tls1_3 -requestCAfile " + s.root("local"), "Caddy Local Authority"},
	} {
		out := shown(test.options)
		if issuer := issuerOf(out); !strings.Contains(issuer, test.issuer) {
			t.Errorf("%s: the issuer is %q, want %q\n%s", test.name, issuer, test.issuer, out)
		}
		if sent := strings.Count(out, "BEGIN CERTIFICATE"); sent != 2 {
			t.Errorf("%s: %d certificates are sent, want leaf and issuing CA", test.name, sent)
		}
	}
	root := s.rootOf("est")
	sum := sha1.Sum(root.Raw)
	leaf := s.answers(t, hello12(append([]byte{3}, sum[:]...)))
	if leaf.Issuer.CommonName != "Estra Issuing CA" || !slices.ContainsFunc(leaf.UnknownExtKeyUsage, cmcRA.Equal) {
		t.Errorf("who names the root by its hash gets %q of %q, for %v", leaf.Subject, leaf.Issuer, leaf.UnknownExtKeyUsage)
	}
	if records := s.selves(); len(records) != 1 || records[0]["outcome"] != "issued" || records[0]["profile"] != "estra-self" {
		t.Errorf("the records of own certificates are %v", records)
	}
	if _, errs, code := runCaddy(t, s.dir, "reload", "--force", "--config", "Caddyfile", "--adapter", "caddyfile"); code != 0 {
		t.Fatal(errs)
	}
	if again := s.answers(t, hello12(append([]byte{2}, vec16(root.RawSubject)...))); !again.Equal(leaf) {
		t.Errorf("after a reload there is another certificate, of %q", again.Issuer)
	}
	if other := s.answers(t, hello12(nil)); other.Issuer.CommonName == "Estra Issuing CA" {
		t.Error("after a reload everybody gets the second certificate")
	}
}

func TestAnIssuedSecondCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	short := strings.Replace(issuedSecond, "from internal", "from internal {\n\t\t\tvalidity 18s\n\t\t}", 1)
	s := serve(t, config{extra: readsHellos, site: short, policy: devices})
	named := hello12(append([]byte{2}, vec16(s.rootOf("est").RawSubject)...))
	first := s.answers(t, named)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		next := s.answers(t, named)
		if next.Equal(first) {
			continue
		}
		if time.Now().After(first.NotAfter) || bytes.Equal(next.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
			t.Errorf("renewed at %s, and the first ends at %s; the key is the same: %t", time.Now(), first.NotAfter,
				bytes.Equal(next.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo))
		}
		return
	}
	t.Errorf("it isn't renewed\n%s", s.log)
}
