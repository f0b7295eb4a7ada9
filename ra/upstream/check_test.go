// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream"
)

var asked = upstream.Call{Method: http.MethodGet, Path: "/health"}

func TestWhatReadsByPOSTIsAskedAtEachAddress(t *testing.T) {
	search := upstream.Call{Method: http.MethodPost, Path: "/search", Body: []byte("name"), Limit: 1 << 10, Reads: true}
	for name, bad := range map[string]func(*place){
		"nobody listens":        func(p *place) { p.Close() },
		"the connection breaks": func(p *place) { p.set(cut) },
		"it answers 503":        func(p *place) { p.set(says(503)) },
	} {
		a, b := newPlace(t), newPlace(t)
		c := client(t, nil, a, b)
		bad(a)
		answer, fail := do(t, c, search)
		if fail != nil || !strings.HasSuffix(string(answer.Body), " name") || b.signed.Load() != 1 {
			t.Errorf("%s: %q, %v, the second address had %d", name, answer.Body, fail, b.signed.Load())
		}
	}
}

func TestWhatNoRequestCanCauseIsTroubleOfTheAddress(t *testing.T) {
	a, b := newPlace(t), newPlace(t)
	c := client(t, func(cfg *upstream.Config) {
		cfg.Ill = func(answer upstream.Answer) bool { return answer.Status == 472 }
	}, a, b)
	a.set(says(472))
	for range 3 {
		// It is an answer, which ends the request: nothing says that nobody has it.
		if answer, fail := sign(t, c); fail != nil || answer.Status != 472 || b.signed.Load() != 0 {
			t.Fatal(answer.Status, fail, b.signed.Load())
		}
	}
	if answer, fail := sign(t, c); fail != nil || !answer.OK() || a.signed.Load() != 3 || b.signed.Load() != 1 {
		t.Errorf("%d %v; the first had %d, the second %d", answer.Status, fail, a.signed.Load(), b.signed.Load())
	}
}

func TestTheCASaysWhichAnswerOfItsHealthIsGood(t *testing.T) {
	a := newPlace(t)
	c := client(t, func(cfg *upstream.Config) {
		cfg.Probe, cfg.Well = asked, func(answer upstream.Answer) bool { return answer.Status == 404 }
	}, a)
	a.set(cut)
	for range 3 {
		_, _ = sign(t, c)
	}
	for status, sent := range map[int]int32{200: 3, 404: 4} {
		time.Sleep(2 * rest)
		a.signed.Store(3)
		a.set(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/health" {
				w.WriteHeader(status)
			}
		})
		if _, fail := sign(t, c); a.signed.Load() != sent || (fail == nil) != (sent == 4) {
			t.Errorf("after %d: %v, it had %d", status, fail, a.signed.Load())
		}
		a.set(cut)
		for range 3 {
			_, _ = sign(t, c)
		}
	}
}

func checks(t *testing.T, c *upstream.Client, want ...string) {
	t.Helper()
	all := c.Check(t.Context())
	if len(all) != len(want) {
		t.Fatalf("%+v, want %q", all, want)
	}
	for i, check := range all {
		if line := check.What + " " + string(check.Result) + ": " + check.Detail; !strings.HasPrefix(line, want[i]) {
			t.Errorf("%s, want %s", line, want[i])
		}
	}
}

func TestTheCheckHasARowForEachAddress(t *testing.T) {
	a, b := newPlace(t), newPlace(t)
	one, two := "address "+a.base().Host, "address "+b.base().Host
	c := client(t, func(cfg *upstream.Config) { cfg.Probe, cfg.Rest = asked, time.Hour }, a, b)
	checks(t, c, one+" good: it answers, in ", two+" good: it answers, in ", "clock good")
	a.set(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
	})
	checks(t, c, one+" good", two+" good", "clock bad: that of the CA at "+a.base().Host+" is 1h0m0s ahead of ours")
	a.set(says(503))
	checks(t, c, one+" warning: the CA at "+a.base().Host+" answered 503 to /health", two+" good", "clock")
	a.set(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			cut(w, r)
		}
	})
	for range 3 {
		_, _ = sign(t, c)
	}
	checks(t, c, one+" warning: it answers, in ", two+" good", "clock")
	b.Close()
	checks(t, c, one+" warning: it answers", two+" warning: no connection to the CA at", "clock")
	a.Close()
	checks(t, c, one+" bad: no connection to the CA at", two+" bad: no connection to the CA at", "clock")
}

// A server goes by what a connection has shown for as long as that is kept.
func TestARenewedCertificateMakesNewConnections(t *testing.T) {
	root := ratest.NewRoot(t, "Root")
	first, second := root.Device(t, "first"), root.Device(t, "second")
	a := newPlace(t)
	a.TLS.ClientAuth = tls.RequestClientCert
	count := make(map[string]int) // requests of a connection
	var got string
	a.set(func(_ http.ResponseWriter, r *http.Request) {
		count[r.RemoteAddr]++
		got = fmt.Sprint(r.TLS.PeerCertificates[0].Subject.CommonName, " ", count[r.RemoteAddr])
	})
	now := &first
	c := client(t, func(cfg *upstream.Config) {
		cfg.Certificate = func() (*tls.Certificate, error) { return now, nil }
	}, a)
	for _, want := range []string{"first 1", "first 2", "second 1", "second 2"} {
		if want == "second 1" {
			now = &second
		}
		if _, fail := sign(t, c); fail != nil || got != want {
			t.Errorf("the connection showed %s, want %s: %v", got, want, fail)
		}
	}
	// What is known of an address isn't forgotten.
	a.set(says(503))
	for range 3 {
		_, _ = sign(t, c)
	}
	now = &first
	if _, fail := sign(t, c); fail == nil || fail.Kind != ra.UpstreamDown || !strings.Contains(fail.Text(), "rests") {
		t.Error(fail)
	}
}
