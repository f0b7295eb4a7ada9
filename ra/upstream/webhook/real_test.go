// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"crypto/x509"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/secret"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
	"github.com/caddy-est/estra/ra/upstream/webhook"
	"github.com/caddy-est/estra/ra/upstream/webhook/webhooktest"
)

func open(t testing.TB, cfg webhook.Config) *webhook.Upstream {
	t.Helper()
	up, err := webhook.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return up
}

// The servers of the documentation pass the suite, each as its own process.
func TestTheServersOfTheDocumentation(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *webhooktest.CA{"in Go": webhooktest.Go, "in Python": webhooktest.Python} {
		t.Run(name, func(t *testing.T) {
			ca := start(t)
			upstreamtest.Run(t, func(t testing.TB) ra.Upstream { return open(t, ca.Config()) }, ca.Root, ca.Intermediate)
			t.Run("another secret is our credential", func(t *testing.T) {
				cfg := ca.Config()
				cfg.Secret = func() secret.Text { return "another secret of 16 bytes" }
				_, err := open(t, cfg).Issue(t.Context(), ratest.Order(t, ratest.Case{Now: time.Now()}))
				if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !strings.Contains(e.Reason, "answered 401") {
					t.Error(e)
				}
			})
			t.Run("another root is no service of ours", func(t *testing.T) {
				cfg := ca.Config()
				cfg.Roots = []*x509.Certificate{ratest.NewRoot(t, "Somebody Else").Certificate}
				_, err := open(t, cfg).Issue(t.Context(), ratest.Order(t, ratest.Case{Now: time.Now()}))
				if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !strings.Contains(e.Reason, "doesn't verify") {
					t.Error(e)
				}
			})
			if t.Failed() {
				t.Log(ca.Log())
			}
		})
	}
}

func TestTheServerInGoWantsItsFilesAndASecret(t *testing.T) {
	binary := webhooktest.GoBinary(t)
	for _, secret := range []string{"", "c2hvcnQ=", base64.StdEncoding.EncodeToString([]byte(webhooktest.Secret))} {
		cmd := exec.Command(binary, "127.0.0.1:0")
		cmd.Dir, cmd.Env = t.TempDir(), append(os.Environ(), "EST_CA_SECRET="+secret)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "it needs ca.pem") {
			t.Errorf("%q: %v %s", secret, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join("..", "..", "..", "examples", "upstream-webhook", "server.go")); err != nil {
		t.Error(err)
	}
}
