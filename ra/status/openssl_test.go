// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func writePEM(t *testing.T, dir, name, kind string, ders ...[]byte) string {
	t.Helper()
	var src []byte
	for _, der := range ders {
		src = append(src, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, src, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// openssl gives the output, whatever it exits with.
func openssl(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "openssl", args...)
	out, err := cmd.CombinedOutput()
	if len(out) == 0 {
		t.Fatalf("openssl %s: %v", args[0], err)
	}
	return string(out)
}

func TestOpenSSLChecksListsAndAnswers(t *testing.T) {
	f := start(t)
	f.now = time.Now()
	f.issue(t, f.first, 99)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f.Serve(w, r) {
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	for name, by := range map[string]struct {
		signer *x509.Certificate
		sub    int
	}{"the key that issues": {f.first.Certificate, 0}, "a former key": {f.former.Certificate, 1}} {
		t.Run(name, func(t *testing.T) {
			signer := f.first
			if by.sub == 1 {
				signer = f.former
			}
			dir := t.TempDir()
			good, revoked := f.issue(t, signer, int64(10+by.sub)), f.issue(t, signer, int64(20+by.sub))
			f.revoke(t, revoked, 1)
			goodFile := writePEM(t, dir, "good.pem", "CERTIFICATE", good.Raw)
			revokedFile := writePEM(t, dir, "revoked.pem", "CERTIFICATE", revoked.Raw)
			issuer := writePEM(t, dir, "issuer.pem", "CERTIFICATE", by.signer.Raw)
			address, responder := f.URLs(server.URL, f.keys[by.sub])
			list, err := http.Get(address)
			if err != nil {
				t.Fatal(err)
			}
			defer list.Body.Close()
			lists := writePEM(t, dir, "list.pem", "X509 CRL", bodyOf(t, list))
			for file, want := range map[string]string{goodFile: "good.pem: OK", revokedFile: "certificate revoked"} {
				out := openssl(t, "verify", "-partial_chain", "-crl_check", "-CRLfile", lists, "-trusted", issuer, file)
				if !strings.Contains(out, want) {
					t.Errorf("openssl verify says %q, want %q", out, want)
				}
			}
			for file, want := range map[string][]string{
				goodFile:    {"Response verify OK", "good.pem: good"},
				revokedFile: {"Response verify OK", "revoked.pem: revoked", "Reason: keyCompromise"},
			} {
				out := openssl(t, "ocsp", "-issuer", issuer, "-cert", file, "-url", responder, "-CAfile", issuer, "-partial_chain", "-nonce")
				for _, text := range append(want, "This Update:", "Next Update:") {
					if !strings.Contains(out, text) {
						t.Errorf("openssl ocsp lacks %q: %s", text, out)
					}
				}
				if strings.Contains(out, "WARNING") {
					t.Errorf("openssl ocsp warns, as of a nonce that isn't there: %s", out)
				}
			}
		})
	}
}
