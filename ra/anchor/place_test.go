// SPDX-License-Identifier: Apache-2.0

package anchor_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/caddy-est/estra/ra/anchor"
	"github.com/caddy-est/estra/ra/ratest"
)

// with makes a CRL that something is special about.
func with(t testing.TB, s ratest.Signer, change func(*x509.RevocationList)) []byte {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now.Add(-time.Hour), NextUpdate: now.Add(time.Hour)}
	change(list)
	der, err := x509.CreateRevocationList(rand.Reader, list, s.Certificate, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestThreat_OnlyAGoodListIsTakenFromAnAddress(t *testing.T) {
	w := newWorld(t)
	w.leaf = w.root.Device(t, "device.example", serial(7)).Leaf
	good := list(t, w.root, 1)
	unsigned := bytes.Clone(good)
	unsigned[len(unsigned)-1] ^= 1
	extra := func(oid asn1.ObjectIdentifier, value ...byte) func(*x509.RevocationList) {
		return func(l *x509.RevocationList) {
			l.ExtraExtensions = []pkix.Extension{{Id: oid, Critical: true, Value: value}}
		}
	}
	send := func(kind string, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			_, _ = w.Write(body)
		}
	}
	const pkixCRL = "application/pkix-crl"
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
		reason  string
	}{
		"good":                         {handler: send(pkixCRL, good), want: "vouched"},
		"good, in PEM":                 {handler: send("text/plain; charset=utf-8", pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: good})), want: "vouched"},
		"good, of a type nobody knows": {handler: send("application/octet-stream", good), want: "vouched"},
		"revoked":                      {handler: send(pkixCRL, list(t, w.root, 1, 7)), want: "refused", reason: "is revoked"},
		"a page":                       {handler: send("text/html", good), want: "unavailable", reason: `type "text/html"`},
		"an error":                     {handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, want: "unavailable", reason: "status 404"},
		"not changed, at first":        {handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, want: "unavailable", reason: "status 304"},
		"nothing":                      {handler: send(pkixCRL, nil), want: "unavailable", reason: "crl:"},
		"larger than any list":         {handler: send(pkixCRL, make([]byte, anchor.MaxList+1)), want: "unavailable", reason: "more than 16384 KiB"},
		"stale":                        {handler: send(pkixCRL, with(t, w.root, func(l *x509.RevocationList) { l.NextUpdate = now.Add(-time.Minute) })), want: "unavailable", reason: "stale"},
		"of the future":                {handler: send(pkixCRL, with(t, w.root, func(l *x509.RevocationList) { l.ThisUpdate = now.Add(time.Minute) })), want: "unavailable", reason: "begins"},
		"with a broken signature":      {handler: send(pkixCRL, unsigned), want: "unavailable", reason: "signature of the list"},
		"signed by a namesake":         {handler: send(pkixCRL, list(t, ratest.NewRoot(t, "Root"), 1)), want: "unavailable", reason: "signature of the list"},
		"of another issuer":            {handler: send(pkixCRL, list(t, ratest.NewRoot(t, "Other"), 1)), want: "refused", reason: "no list is of its issuer"},
		"a delta list":                 {handler: send(pkixCRL, with(t, w.root, extra(asn1.ObjectIdentifier{2, 5, 29, 27}, 2, 1, 1))), want: "unavailable", reason: "delta"},
		"an indirect list":             {handler: send(pkixCRL, with(t, w.root, extra(asn1.ObjectIdentifier{2, 5, 29, 28}, 0x30, 3, 0x84, 1, 0xff))), want: "unavailable", reason: "indirect"},
		"slow": {handler: func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-time.After(10 * time.Second):
			}
		}, want: "unavailable", reason: "deadline"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			t.Cleanup(server.CloseClientConnections)
			t.Cleanup(server.Close)
			client := server.Client()
			client.Timeout = 2 * time.Second
			got, result := w.verify(t, &anchor.Sources{Lists: []*anchor.List{w.at(anchor.At(server.URL, client))}}, now)
			if got != test.want || test.reason != "" && (len(result.Reasons) != 1 || !strings.Contains(strings.ToLower(result.Reasons[0]), strings.ToLower(test.reason))) {
				t.Errorf("%s: %q, want %s: %q", got, result.Reasons, test.want, test.reason)
			}
		})
	}
}

func TestThreat_OnlyAnOCSPAnswerIsTakenFromAResponder(t *testing.T) {
	w := newWorld(t)
	w.leaf = w.root.Device(t, "device.example", serial(7)).Leaf
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		reason  string
	}{
		"of another type": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = w.Write([]byte{0x30, 0})
		}, "application/ocsp-response"},
		"larger than any answer": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/ocsp-response")
			_, _ = w.Write(make([]byte, 1<<20))
		}, "more than 64 KiB"},
		"an unsigned refusal": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/ocsp-response")
			_, _ = w.Write(xocsp.UnauthorizedErrorResponse)
		}, "unauthorized"},
		"redirected": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) }, "status 302"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.handler)
			t.Cleanup(server.Close)
			client := server.Client()
			client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			got, result := w.verify(t, &anchor.Sources{Responder: &anchor.Responder{URL: server.URL, Client: client}}, now)
			if got != "unavailable" || len(result.Reasons) != 1 || !strings.Contains(result.Reasons[0], test.reason) {
				t.Errorf("%s: %q, want %q", got, result.Reasons, test.reason)
			}
		})
	}
}

func TestAListOfAnAddressAnswersUntilItEnds(t *testing.T) {
	w := newWorld(t)
	w.leaf = w.root.Device(t, "device.example", serial(7)).Leaf
	var body atomic.Pointer[[]byte]
	var asked, unchanged atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		der := body.Load()
		switch {
		case der == nil:
			w.WriteHeader(http.StatusInternalServerError)
		case r.Header.Get("If-None-Match") == `"1"`:
			unchanged.Add(1)
			w.WriteHeader(http.StatusNotModified)
		default:
			w.Header().Set("ETag", `"1"`)
			_, _ = w.Write(*der)
		}
	}))
	t.Cleanup(server.Close)
	good := list(t, w.root, 1)
	body.Store(&good)
	s := &anchor.Sources{Lists: []*anchor.List{w.at(anchor.At(server.URL, server.Client()))}}
	check := func(name string, after time.Duration, want string, times int32) {
		t.Helper()
		s.Refresh(t.Context(), now.Add(after))
		for range 1000 { // what is done in the background
			if s.Lists[0].Idle() {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if got, result := w.verify(t, s, now.Add(after)); got != want || asked.Load() != times {
			t.Errorf("%s: %s, asked %d times; want %s, %d: %q", name, got, asked.Load(), want, times, result.Reasons)
		}
	}
	check("at first", 0, "vouched", 1)
	check("from memory", 9*time.Minute, "vouched", 1)
	check("asked again, and not changed", 10*time.Minute, "vouched", 2)
	body.Store(nil)
	check("the server fails", 20*time.Minute, "vouched", 3)
	check("the server still fails", 20*time.Minute+30*time.Second, "vouched", 4)
	check("the list has ended", time.Hour+time.Second, "unavailable", 5)
	if unchanged.Load() != 1 {
		t.Errorf("%d answers without a body", unchanged.Load())
	}
}

// A request waits for a first answer as long as it may live, and one that hangs
// up costs the others nothing.
func TestARequestWaitsForAFirstAnswerAndNotForEver(t *testing.T) {
	w := newWorld(t)
	w.leaf = w.root.Device(t, "device.example", serial(7)).Leaf
	release := make(chan struct{})
	good := list(t, w.root, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-release
		_, _ = w.Write(good)
	}))
	t.Cleanup(server.Close)
	l := w.at(anchor.At(server.URL, server.Client()))
	set := &anchor.Set{Anchors: []anchor.Anchor{{
		Name: "a", Source: anchor.File([]*x509.Certificate{w.root.Certificate}), Revocation: &anchor.Sources{Lists: []*anchor.List{l}},
	}}}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got := set.Verify(ctx, []*x509.Certificate{w.leaf}, now); len(got.Unavailable) != 1 {
		t.Errorf("without an answer: %+v", got)
	}
	close(release)
	if got := set.Verify(t.Context(), []*x509.Certificate{w.leaf}, now); len(got.Names) != 1 {
		t.Errorf("with the answer that the first one asked for: %+v", got)
	}
}

func TestACRLFileIsReadAgainAndOurMistakesCount(t *testing.T) {
	w := newWorld(t)
	w.leaf = w.root.Device(t, "device.example", serial(7)).Leaf
	name := filepath.Join(t.TempDir(), "x.crl")
	changed := time.Now()
	store := func(der []byte) {
		t.Helper()
		changed = changed.Add(time.Second)
		if err := os.WriteFile(name, der, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, changed, changed); err != nil {
			t.Fatal(err)
		}
	}
	l := w.at(anchor.OnDisk(name))
	if err := l.Load(t.Context(), now); err == nil {
		t.Error("a missing file loads")
	}
	store(list(t, w.root, 1))
	if err := l.Load(t.Context(), now); err != nil {
		t.Error(err)
	}
	s := &anchor.Sources{Lists: []*anchor.List{l}}
	at := now
	for _, step := range []struct {
		name   string
		change func()
		want   string
	}{
		{"as it was loaded", func() {}, "vouched"},
		{"a new list that revokes", func() { store(list(t, w.root, 2, 7)) }, "refused"},
		{"the one of before again", func() { store(list(t, w.root, 1)) }, "refused"},
		{"a newer one that doesn't", func() { store(list(t, w.root, 3)) }, "vouched"},
		{"rubbish", func() { store([]byte("rubbish")) }, "unavailable"},
		{"the same rubbish", func() {}, "unavailable"},
		{"good again", func() { store(list(t, w.root, 4)) }, "vouched"},
		{"gone", func() { _ = os.Remove(name) }, "unavailable"},
	} {
		step.change()
		at = at.Add(time.Second)
		if got, result := w.verify(t, s, at); got != step.want {
			t.Errorf("%s: %s, want %s: %q", step.name, got, step.want, result.Reasons)
		}
	}
}
