// SPDX-License-Identifier: Apache-2.0

package upstream_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream"
)

const rest = 100 * time.Millisecond

// A place is one address of a CA, which counts what it is sent.
type place struct {
	*httptest.Server
	signed, probed, read atomic.Int32
	mu                   sync.Mutex
	does                 http.HandlerFunc
}

func newPlace(t *testing.T) *place {
	p := &place{}
	p.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch {
		case r.Method == http.MethodPost && len(body) > 0:
			p.signed.Add(1)
		case r.URL.Path == "/health":
			p.probed.Add(1)
		default:
			p.read.Add(1)
		}
		p.mu.Lock()
		does := p.does
		p.mu.Unlock()
		if does != nil {
			does(w, r)
			return
		}
		_, _ = fmt.Fprint(w, p.URL, " ", string(body))
	}))
	p.Config.ErrorLog = nil
	t.Cleanup(p.Close)
	return p
}

func (p *place) set(does http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.does = does
}

func (p *place) base() *url.URL {
	u, err := url.Parse(p.URL)
	if err != nil {
		panic(err)
	}
	return u
}

// A changes is what the client said of its addresses.
type changes struct {
	mu  sync.Mutex
	all []string
}

func (c *changes) observe(host string, failure error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	word := "rests"
	if failure == nil {
		word = "well"
	}
	c.all = append(c.all, host+" "+word)
}

func (c *changes) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.all, ", ")
}

func client(t *testing.T, change func(*upstream.Config), places ...*place) *upstream.Client {
	t.Helper()
	roots := x509.NewCertPool()
	cfg := upstream.Config{Name: "the CA", TLS: &tls.Config{RootCAs: roots}, Timeout: 2 * time.Second, MaxConns: 8, Idle: time.Minute, Rest: rest}
	for i, p := range places {
		roots.AddCert(p.Certificate())
		if i == 0 {
			cfg.Base = p.base()
			continue
		}
		cfg.Others = append(cfg.Others, upstream.Other{Base: p.base()})
	}
	if change != nil {
		change(&cfg)
	}
	c := upstream.NewClient(cfg)
	t.Cleanup(c.Retire)
	return c
}

func sign(t *testing.T, c *upstream.Client) (upstream.Answer, *ra.Error) {
	t.Helper()
	return do(t, c, upstream.Call{Method: http.MethodPost, Path: "/sign", Body: []byte("order"), Limit: 1 << 10, Signs: true})
}

func do(t *testing.T, c *upstream.Client, call upstream.Call) (upstream.Answer, *ra.Error) {
	t.Helper()
	answer, err := c.Do(context.Background(), call)
	var e *ra.Error
	if err != nil && !errors.As(err, &e) {
		t.Fatalf("%v is no *ra.Error", err)
	}
	return answer, e
}

func cut(w http.ResponseWriter, _ *http.Request) {
	if conn, _, err := w.(http.Hijacker).Hijack(); err == nil {
		conn.Close()
	}
}

// hang ends without an answer: that of a handler which returns may still arrive.
func hang(_ http.ResponseWriter, r *http.Request) {
	<-r.Context().Done()
	panic(http.ErrAbortHandler)
}

func says(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

func TestWhatIsSentGoesToAnotherAddressOnlyIfNobodyHasIt(t *testing.T) {
	for name, c := range map[string]struct {
		first   func(*place)
		another bool    // the second address gets it
		kind    ra.Kind // of the error, where it doesn't
		status  int     // of the answer, where there is one
	}{
		"nobody listens there":                    {first: func(p *place) { p.Close() }, another: true},
		"its certificate isn't the CA's":          {first: func(p *place) { p.TLS.Certificates = []tls.Certificate{stranger(t)} }, another: true},
		"the connection breaks after the request": {first: func(p *place) { p.set(cut) }, kind: ra.UpstreamTimeout},
		"the answer never comes":                  {first: func(p *place) { p.set(hang) }, kind: ra.UpstreamTimeout},
		"the answer is cut": {first: func(p *place) {
			p.set(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", "100")
				w.WriteHeader(200)
				w.(http.Flusher).Flush()
				cut(w, r)
			})
		}, kind: ra.UpstreamTimeout},
		"a gateway says that the CA isn't there": {first: func(p *place) { p.set(says(503)) }, status: 503},
		"a gateway waited in vain":               {first: func(p *place) { p.set(says(504)) }, status: 504},
		"the CA fails":                           {first: func(p *place) { p.set(says(500)) }, status: 500},
		"the CA refuses":                         {first: func(p *place) { p.set(says(403)) }, status: 403},
		"the CA is asked too much":               {first: func(p *place) { p.set(says(429)) }, status: 429},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPlace(t), newPlace(t)
			client := client(t, func(cfg *upstream.Config) { cfg.Timeout = 500 * time.Millisecond }, a, b)
			c.first(a)
			answer, fail := sign(t, client)
			if c.another {
				if fail != nil || b.signed.Load() != 1 || a.signed.Load() != 0 {
					t.Errorf("%v; the first had %d, the second %d", fail, a.signed.Load(), b.signed.Load())
				}
				return
			}
			if n := b.signed.Load(); n != 0 {
				t.Errorf("the other address had %d requests", n)
			}
			if c.status != 0 && (fail != nil || answer.Status != c.status) || c.status == 0 && (fail == nil || fail.Kind != c.kind) {
				t.Errorf("%d, %v", answer.Status, fail)
			}
		})
	}
}

// stranger is a certificate that nobody trusts.
func stranger(t *testing.T) tls.Certificate {
	t.Helper()
	root := ratest.NewRoot(t, "Somebody Else")
	return tls.Certificate{Certificate: [][]byte{root.Certificate.Raw}, PrivateKey: root.Key}
}

func TestAnAddressThatFailsRestsAndIsTriedByOneRequest(t *testing.T) {
	a, b := newPlace(t), newPlace(t)
	var said changes
	c := client(t, func(cfg *upstream.Config) {
		cfg.Probe, cfg.Observe = upstream.Call{Method: http.MethodGet, Path: "/health"}, said.observe
	}, a, b)
	a.set(says(503))
	for range 3 {
		if answer, fail := sign(t, c); fail != nil || answer.Status != 503 {
			t.Fatal(answer.Status, fail)
		}
	}
	if _, fail := sign(t, c); fail != nil || a.signed.Load() != 3 || b.signed.Load() != 1 {
		t.Errorf("%v; the first had %d, the second %d", fail, a.signed.Load(), b.signed.Load())
	}
	time.Sleep(2 * rest)
	// It isn't well, and says so: nothing is sent there.
	if _, fail := sign(t, c); fail != nil || a.signed.Load() != 3 || a.probed.Load() != 1 || b.signed.Load() != 2 {
		t.Errorf("%v; the first had %d and was asked %d times, the second had %d", fail, a.signed.Load(), a.probed.Load(), b.signed.Load())
	}
	time.Sleep(2 * rest)
	inside, leave := make(chan bool), make(chan bool)
	a.set(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			inside <- true
			<-leave
		}
	})
	ended := make(chan *ra.Error)
	go func() { _, fail := sign(t, c); ended <- fail }()
	<-inside // the trial, whose outcome is open
	if _, fail := sign(t, c); fail != nil || b.signed.Load() != 3 {
		t.Errorf("%v; the second address had %d", fail, b.signed.Load())
	}
	close(leave)
	if fail := <-ended; fail != nil {
		t.Error(fail)
	}
	a.set(nil)
	if _, fail := sign(t, c); fail != nil || b.signed.Load() != 3 || a.signed.Load() != 5 {
		t.Errorf("%v; the first had %d, the second %d", fail, a.signed.Load(), b.signed.Load())
	}
	if want := a.base().Host + " rests, " + a.base().Host + " well"; said.said() != want {
		t.Errorf("it said %q, want %q", said.said(), want)
	}
}

func TestTheOnlyAddressRestsToo(t *testing.T) {
	a := newPlace(t)
	c := client(t, nil, a)
	a.set(cut)
	for range 3 {
		if _, fail := sign(t, c); fail == nil || fail.Kind != ra.UpstreamTimeout {
			t.Fatal(fail)
		}
	}
	_, fail := sign(t, c)
	if fail == nil || fail.Kind != ra.UpstreamDown || fail.RetryAfter == 0 || !strings.Contains(fail.Text(), "the CA isn't asked: "+a.base().Host+" rests") || a.signed.Load() != 3 {
		t.Errorf("%v after %d requests", fail, a.signed.Load())
	}
	a.set(nil)
	// It answers what reads, and did so while it lost the answers.
	if _, fail := do(t, c, upstream.Call{Method: http.MethodGet, Path: "/roots", Limit: 1 << 10}); fail != nil {
		t.Error(fail)
	}
	if _, fail := sign(t, c); fail == nil || a.signed.Load() != 3 {
		t.Errorf("%v after %d requests", fail, a.signed.Load())
	}
	time.Sleep(2 * rest)
	if _, fail := sign(t, c); fail != nil || a.signed.Load() != 4 {
		t.Errorf("%v after %d requests", fail, a.signed.Load())
	}
}

var revoke = upstream.Call{Method: http.MethodPost, Path: "/revoke", Body: []byte("number"), Limit: 1 << 10}

func TestAnAnswerToWhatReadsEndsTheRest(t *testing.T) {
	a := newPlace(t)
	c := client(t, func(cfg *upstream.Config) { cfg.Rest = time.Hour }, a)
	a.set(says(503))
	for range 3 {
		_, _ = do(t, c, revoke)
	}
	health := upstream.Call{Method: http.MethodGet, Path: "/health", Limit: 1 << 10}
	if answer, fail := do(t, c, health); fail != nil || answer.Status != 503 {
		t.Errorf("%d %v", answer.Status, fail)
	}
	a.set(nil)
	if _, fail := sign(t, c); fail == nil {
		t.Error("it was asked while it rests")
	}
	if _, fail := do(t, c, health); fail != nil {
		t.Error(fail)
	}
	if _, fail := sign(t, c); fail != nil {
		t.Error(fail)
	}
}

// An address may do all but issue, such as one whose key is offline. An order may
// take several calls, of which one asks for the certificate.
func TestWhatIsntAboutACertificateSaysNothingOfOrders(t *testing.T) {
	a := newPlace(t)
	c := client(t, nil, a)
	failing := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sign" {
			w.WriteHeader(503)
		}
	}
	a.set(failing)
	health := upstream.Call{Method: http.MethodGet, Path: "/health", Limit: 1 << 10}
	order := func() (answered bool) {
		t.Helper()
		_, _ = do(t, c, revoke)
		_, fail := sign(t, c)
		_, _ = do(t, c, health)
		return fail == nil
	}
	for range 3 {
		if !order() {
			t.Fatal("it rests too early")
		}
	}
	if order() {
		t.Error("it doesn't rest")
	}
	time.Sleep(2 * rest)
	before := a.signed.Load()
	if !order() || a.signed.Load() != before+2 { // both calls are trials
		t.Errorf("it had %d more", a.signed.Load()-before)
	}
	if order() {
		t.Error("a trial that failed doesn't begin the rest again")
	}
	time.Sleep(2 * rest)
	a.set(nil)
	for range 4 {
		if !order() {
			t.Error("it still rests")
		}
	}
}

func TestWhatReadsIsAskedAtEachAddress(t *testing.T) {
	get := upstream.Call{Method: http.MethodGet, Path: "/roots", Limit: 1 << 10}
	for name, bad := range map[string]func(*place){
		"nobody listens":        func(p *place) { p.Close() },
		"the connection breaks": func(p *place) { p.set(cut) },
		"it answers 503":        func(p *place) { p.set(says(503)) },
		"it answers nothing":    func(p *place) { p.set(hang) },
		"it answers far too much": func(p *place) {
			p.set(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2<<10)) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := newPlace(t), newPlace(t)
			c := client(t, nil, a, b)
			bad(a)
			for range 5 {
				answer, fail := do(t, c, get)
				if fail != nil || !strings.HasPrefix(string(answer.Body), b.URL) {
					t.Fatalf("%q, %v", answer.Body, fail)
				}
			}
			if n := a.read.Load(); n > 5 {
				t.Errorf("the first address was asked %d times", n)
			}
		})
	}
	a, b := newPlace(t), newPlace(t)
	c := client(t, nil, a, b)
	a.Close()
	b.Close()
	if _, fail := do(t, c, get); fail == nil || fail.Kind != ra.UpstreamDown || strings.Count(fail.Text(), "no connection to the CA at") != 2 {
		t.Error(fail)
	}
	a, b = newPlace(t), newPlace(t)
	a.set(says(503))
	b.set(says(502))
	if answer, fail := do(t, client(t, nil, a, b), get); fail != nil || answer.Status != 502 {
		t.Errorf("%d %v", answer.Status, fail)
	}
}

func TestOneDevicesRequestsStopNobodyElses(t *testing.T) {
	a := newPlace(t)
	c := client(t, nil, a)
	for _, status := range []int{500, 400, 403, 429, 401} {
		a.set(says(status))
		for range 5 {
			if answer, fail := sign(t, c); fail != nil || answer.Status != status {
				t.Errorf("%d: %d %v", status, answer.Status, fail)
			}
		}
	}
}

func TestACallerWhoHangsUpIsNoFailure(t *testing.T) {
	a := newPlace(t)
	inside := make(chan bool)
	a.set(func(w http.ResponseWriter, r *http.Request) { inside <- true; hang(w, r) })
	c := client(t, nil, a)
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-inside; cancel() }()
		if _, err := c.Do(ctx, upstream.Call{Method: http.MethodPost, Path: "/sign", Body: []byte("order"), Limit: 1 << 10, Signs: true}); err == nil {
			t.Error("it was answered")
		}
	}
	a.set(nil)
	if _, fail := sign(t, c); fail != nil {
		t.Error(fail)
	}
}

func TestABodyIsMadeForEachAddress(t *testing.T) {
	a, b := newPlace(t), newPlace(t)
	c := client(t, nil, a, b)
	a.Close()
	var made []string
	call := upstream.Call{Method: http.MethodPost, Path: "/sign", Limit: 1 << 10, Signs: true, Make: func(base *url.URL) ([]byte, error) {
		made = append(made, base.Host)
		return []byte("for " + base.Host), nil
	}}
	answer, fail := do(t, c, call)
	if fail != nil || !strings.HasSuffix(string(answer.Body), "for "+b.base().Host) || !slices.Equal(made, []string{a.base().Host, b.base().Host}) {
		t.Errorf("%q %v, made for %v", answer.Body, fail, made)
	}
	call.Make = func(*url.URL) ([]byte, error) { return nil, ra.Fail(ra.UpstreamDown, "there is no key", nil) }
	if _, fail := do(t, c, call); fail == nil || !strings.Contains(fail.Text(), "there is no key") || b.signed.Load() != 1 {
		t.Errorf("%v", fail)
	}
}

func TestAddressesAreOfDifferentHosts(t *testing.T) {
	for _, c := range []struct {
		all  []string
		says string
	}{
		{all: []string{"https://a", "https://b:1", "https://a:1"}},
		{[]string{"https://a", "https://b", "https://a/"}, `"https://a/" is given twice`},
		{[]string{"https://a", "http://b"}, `"http://b" isn't an https URL`},
	} {
		all, err := upstream.Addresses(c.all[0], c.all[1:]...)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) || err == nil && len(all) != len(c.all) {
			t.Errorf("%v: %v %v", c.all, all, err)
		}
	}
}
