// SPDX-License-Identifier: Apache-2.0

package command

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/rogpeppe/go-internal/testscript"

	_ "github.com/caddy-est/estra/caddyfile"
	"github.com/caddy-est/estra/ra/cms"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/wire"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"caddy": caddycmd.Main})
}

// The scripts run this binary as caddy. EST is the URL of an EST server that
// issues to anybody with the password "open sesame", ROOT the fingerprint of
// its root, ADMIN the address of an admin API that knows one upstream.
func TestScripts(t *testing.T) {
	root := ratest.NewRoot(t, "Test Root")
	server := estServer(t, root)
	admin := httptest.NewServer(http.HandlerFunc(adminAPI))
	t.Cleanup(admin.Close)
	sum := sha256.Sum256(root.Certificate.Raw)
	testscript.Run(t, testscript.Params{
		Dir:  "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exitsWith},
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("XDG_DATA_HOME", env.WorkDir)
			env.Setenv("XDG_CONFIG_HOME", env.WorkDir)
			env.Setenv("EST", server.URL)
			env.Setenv("ROOT", hex.EncodeToString(sum[:]))
			env.Setenv("ADMIN", admin.Listener.Addr().String())
			roots := filepath.Join(env.WorkDir, "roots.pem")
			if err := os.WriteFile(roots, certificatesPEM(root.Certificate), 0o600); err != nil {
				return err
			}
			if err := writeChain(filepath.Join(env.WorkDir, "chain")); err != nil {
				return err
			}
			accounts, err := os.ReadFile("testdata/one_account.yaml")
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(env.WorkDir, "one_account.yaml"), accounts, 0o600)
		},
	})
}

// exitsWith runs a command, and wants its exit code: `exits 2 caddy est …`.
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	got := 0
	var exited *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exited) {
		got = exited.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if want, err := strconv.Atoi(args[0]); err != nil || got != want {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func adminAPI(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost || r.URL.Path != "/est/upstreams/step_ca/resume" || r.URL.Query().Get("profile") != "routers" {
		http.Error(w, `{"error":"no such upstream"}`, http.StatusNotFound)
	}
}

// estServer is the least that a client can enroll at.
func estServer(t *testing.T, root ratest.Signer) *httptest.Server {
	t.Helper()
	answer := func(w http.ResponseWriter, cert *x509.Certificate) {
		der, err := cms.CertsOnly(cert)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", wire.TypeCertsOnly)
		_, _ = w.Write(wire.EncodeBody(der, false))
	}
	cmc := newCMCServer(t, root)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path.Base(r.URL.Path) {
		case "cacerts":
			answer(w, root.Certificate)
		case "csrattrs":
			w.Header().Set("Content-Type", wire.TypeCSRAttrs)
			_, _ = io.WriteString(w, "MAsGCSqGSIb3DQEJBw==") // challengePassword
		case "simpleenroll", "simplereenroll":
			_, password, _ := r.BasicAuth()
			if password != "open sesame" && len(r.TLS.PeerCertificates) == 0 {
				http.Error(w, "authentication required", http.StatusForbidden)
				return
			}
			answer(w, issue(t, root, r.Body))
		case "fullcmc":
			cmc.answer(w, r)
		}
	}))
	certificate := root.Device(t, "est.example", func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	server.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func issue(t *testing.T, root ratest.Signer, body io.Reader) *x509.Certificate {
	t.Helper()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	der, _, err := wire.DecodeBody(text)
	if err != nil {
		t.Error(err)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Error(err)
		return root.Certificate
	}
	return hourFor(t, root, &x509.Certificate{RawSubject: request.RawSubject, DNSNames: request.DNSNames}, request.PublicKey)
}

func hourFor(t *testing.T, root ratest.Signer, names *x509.Certificate, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	names.NotBefore, names.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	return root.Sign(t, names, key)
}
