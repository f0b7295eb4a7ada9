// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"crypto/x509"
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
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

// subject is a server for the suite. It decides at once and refuses nothing that is
// signed: where a service does otherwise, a front answers for it.
func subject(ca *webhooktest.CA) upstreamtest.Subject {
	at := func(t testing.TB, place upstreamtest.Place) ra.Upstream {
		cfg := ca.Config()
		cfg.URL, cfg.Timeout = place.URL, place.Timeout
		return open(t, cfg)
	}
	fronted := ca.Fronted()
	service := func(t testing.TB, answer func() string) ra.Upstream {
		return at(t, upstreamtest.Place{URL: upstreamtest.NewFront(t, fronted.Server, fronted.TLS, func() string { return ca.URL }, func(a *upstreamtest.Asked) {
			text := answer()
			if text == "" || !fronted.Signs(a.Request) {
				a.Relay()
				return
			}
			a.Body = []byte(text)
			a.Answer()
		}).URL})
	}
	const refused = `{"refused": {"reason": "not in the\ninventory"}}`
	return upstreamtest.Subject{
		Open: at, Pins: []*x509.Certificate{ca.Root, ca.Intermediate}, CA: fronted,
		Refuse: func(t testing.TB) upstreamtest.Refusal {
			return upstreamtest.Refusal{
				Upstream: service(t, func() string { return refused }), Order: ratest.Order(t, ratest.Case{}), Says: `refuses: not in the\ninventory`,
			}
		},
		Defer: func(t testing.TB) (ra.Upstream, func(bool)) {
			var text atomic.Value
			text.Store(`{"pending": {"retry_after": 90, "ref": "T-1"}}`)
			return service(t, func() string { return text.Load().(string) }), func(grant bool) {
				text.Store(map[bool]string{true: "", false: refused}[grant])
			}
		},
	}
}

// The servers of the documentation pass the suite, each as its own process.
func TestTheServersOfTheDocumentation(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *webhooktest.CA{"in Go": webhooktest.Go, "in Python": webhooktest.Python} {
		t.Run(name, func(t *testing.T) {
			ca := start(t)
			upstreamtest.Run(t, subject(ca))
			t.Run("another secret is our credential", func(t *testing.T) {
				cfg := ca.Config()
				cfg.Secret = func() secret.Text { return "another secret of 16 bytes" }
				_, err := open(t, cfg).Issue(t.Context(), ratest.Order(t, ratest.Case{Now: time.Now()}))
				if e := upstreamtest.Fails(t, err, ra.UpstreamDown); !strings.Contains(e.Reason, "answered 401") {
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

func BenchmarkOverhead(b *testing.B) { upstreamtest.Overhead(b, subject(webhooktest.Go(b))) }
