// SPDX-License-Identifier: Apache-2.0

package module

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-est/estra/ra/hello"
	"github.com/caddy-est/estra/ra/ratest"
)

// writeSecond writes a certificate for a host, with its key.
func writeSecond(t *testing.T, s *SecondCertificate, host string) *x509.Certificate {
	t.Helper()
	pair := ratest.NewRoot(t, "EST Root").Device(t, host, func(c *x509.Certificate) {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, der := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	for name, text := range map[string][]byte{s.Certificate: chain, s.Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pair.Leaf
}

// A renewed certificate is taken without a reload; wrong files change nothing,
// and are said once.
func TestTheSecondCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	core, logs := observer.New(zap.InfoLevel)
	s := &SecondCertificate{Certificate: filepath.Join(dir, "c.pem"), Key: filepath.Join(dir, "c.key")}
	h := &Handler{SecondCertificate: s, secondHosts: []string{"est.example.net"}, log: zap.New(core)}
	first := writeSecond(t, s, "est.example.net")
	if changed, err := s.read(h.secondHosts); err != nil || !changed {
		t.Fatalf("changed %t, %v", changed, err)
	}
	serves := func(what string, want *x509.Certificate, said ...string) {
		t.Helper()
		h.watchSecond()
		h.watchSecond()
		if got := s.now.Load().served.Leaf; !got.Equal(want) {
			t.Errorf("%s: serial %x is served, want %x", what, got.SerialNumber, want.SerialNumber)
		}
		all := logs.TakeAll()
		if len(all) != len(said) {
			t.Errorf("%s: %d lines are logged, want %d", what, len(all), len(said))
			return
		}
		for i, entry := range all {
			if !strings.Contains(entry.Message, said[i]) {
				t.Errorf("%s: %q is logged", what, entry.Message)
			}
		}
	}
	serves("the same files", first)
	writeSecond(t, s, "other.example.net")
	serves("a certificate for another name", first, "can't be read anew")
	if err := os.Remove(s.Key); err != nil {
		t.Fatal(err)
	}
	serves("no key", first, "can't be read anew")
	serves("a renewed one", writeSecond(t, s, "est.example.net"), "was read anew")
}

func TestTheSecondCertificateIsForItsNamesAlone(t *testing.T) {
	dir := t.TempDir()
	s := &SecondCertificate{Certificate: filepath.Join(dir, "c.pem"), Key: filepath.Join(dir, "c.key")}
	writeSecond(t, s, "*.example.net")
	if _, err := s.read([]string{"*.example.net", "est.example.net"}); err != nil {
		t.Fatal(err)
	}
	p := &secondPolicy{pol: new(caddytls.ConnectionPolicy), choices: []*SecondCertificate{s}}
	// Without a connection that is read along, as over HTTP/3.
	hello := func(name string, protos ...string) *tls.ClientHelloInfo {
		return &tls.ClientHelloInfo{
			ServerName: name, SupportedProtos: protos, SupportedVersions: []uint16{tls.VersionTLS13},
			SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256}, SupportedCurves: []tls.CurveID{tls.X25519},
			CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
		}
	}
	for name, test := range map[string]struct {
		info *tls.ClientHelloInfo
		want bool
	}{
		"its name":                      {hello("est.example.net", "h3"), true},
		"another name":                  {hello("est.example.org", "h3"), false},
		"no name":                       {hello("", "h3"), false},
		"ACME's question (RFC 8737)":    {hello("est.example.net", "acme-tls/1"), false},
		"a client that reads no ECDSA":  {rsaOnly(hello("est.example.net", "h3")), false},
		"behind est_hello, unnamed CAs": {behind(hello("est.example.net", "h2")), false},
	} {
		if got := p.choose(test.info) != nil; got != test.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func rsaOnly(info *tls.ClientHelloInfo) *tls.ClientHelloInfo {
	info.SignatureSchemes = []tls.SignatureScheme{tls.PSSWithSHA256}
	return info
}

func behind(info *tls.ClientHelloInfo) *tls.ClientHelloInfo {
	info.Conn = &hello.Conn{}
	return info
}

// The first certificate may take a while; who names no CA is none of those who
// wait for it.
func TestOnlyWhoNamesACAWaitsForAnIssuedSecondCertificate(t *testing.T) {
	a := keeping(t, "est.example.net")
	own := a.own.byName["est.example.net"]
	s := &SecondCertificate{Own: &CertificateConfig{From: "x"}, app: a}
	hello := func() *tls.ClientHelloInfo {
		return &tls.ClientHelloInfo{
			ServerName: own.name, SupportedVersions: []uint16{tls.VersionTLS13}, SignatureSchemes: []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
			SupportedCurves: []tls.CurveID{tls.CurveP256}, CipherSuites: []uint16{tls.TLS_AES_128_GCM_SHA256},
		}
	}
	cert := own.held
	own.held = nil
	if got := s.forHello(behind(hello()), own.name); got != nil { // it would wait
		t.Error("who names no CA gets a certificate")
	}
	own.failure = errors.New("the CA is down")
	close(own.tried)
	own.upstream.ca.Name = "x"
	if pair := s.pair(t.Context(), own.name); pair != nil {
		t.Error("there is a certificate before one was issued")
	}
	own.held = cert
	first := s.pair(t.Context(), own.name)
	if first == nil || first.served != cert || s.pair(t.Context(), own.name) != first {
		t.Errorf("the certificate is %v, and not remembered", first)
	}
	own.held = pairFor(t, own.name)
	if renewed := s.pair(t.Context(), own.name); renewed == first || renewed.served != own.held {
		t.Error("a renewed certificate isn't taken")
	}
	if s.pair(t.Context(), "other.example.net") != nil {
		t.Error("another name has a certificate")
	}
}
