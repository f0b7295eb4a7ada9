// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/policy"
)

// hashing is a provider that takes its time, as a password hash does. The
// password is the only thing that it looks at.
type hashing struct {
	inside, most, all atomic.Int32
	started           chan bool     // gets one for each that begins, if it is there
	end               chan struct{} // one is taken for each that ends; nil: a millisecond
}

func (h *hashing) verify(_ http.ResponseWriter, r *http.Request) ([]policy.Account, error) {
	h.all.Add(1)
	for n := h.inside.Add(1); ; {
		if most := h.most.Load(); n <= most || h.most.CompareAndSwap(most, n) {
			break
		}
	}
	defer h.inside.Add(-1)
	if h.started != nil {
		h.started <- true
	}
	if h.end == nil {
		time.Sleep(time.Millisecond)
	} else {
		<-h.end
	}
	if _, password, _ := r.BasicAuth(); password != "estpwd" {
		return nil, nil
	}
	return []policy.Account{{Method: "http_basic", User: "estuser"}}, nil
}

// from is an enrolment from another address.
func (x *site) from(ctx context.Context, remote, user, password, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, root+"/simpleenroll", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/pkcs10")
	r.SetBasicAuth(user, password)
	w := httptest.NewRecorder()
	x.Serve(w, r, Incoming{Remote: netip.MustParseAddr(remote), TLSAhead: true, Credentials: x.credentials})
	return w
}

// statuses counts the answers of n requests at once.
func statuses(n int, one func(i int) *httptest.ResponseRecorder) map[int]int {
	got, all := make(chan int, n), make(map[int]int)
	for i := range n {
		go func() { got <- one(i).Code }()
	}
	for range n {
		all[<-got]++
	}
	return all
}

// until waits for something that others do.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for range 1000 {
		if f() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("it never came to this: %s", what)
}

// leftOver is how many addresses and places are held.
func (c *checks) leftOver() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.by) + len(c.places)
}

// A new user name with each request of one address: each costs a password
// hash, unless somebody counts.
func TestThreat_OneAddressDoesNotHaveAllPlacesForPasswords(t *testing.T) {
	h := &hashing{started: make(chan bool, 1000), end: make(chan struct{})}
	x := newSite(t, func(x *site) {
		x.checks, x.provider = newChecks(4), h.verify
		x.Attempts, x.Limits.Concurrency = NewAttempts(10, time.Minute), 1
	})
	body, many := csrBody(t), make(chan map[int]int)
	go func() {
		many <- statuses(199, func(i int) *httptest.ResponseRecorder {
			return x.from(t.Context(), fmt.Sprintf("2001:db8::%x", i), fmt.Sprint("user", i), "guess", body)
		})
	}()
	<-h.started
	<-h.started
	until(t, "one queue that is full, and the others refused", func() bool {
		x.mu.Lock()
		refused := len(x.reports)
		x.mu.Unlock()
		x.checks.mu.Lock()
		defer x.checks.mu.Unlock()
		for _, of := range x.checks.by {
			return len(x.checks.by) == 1 && of.inside == checkQueue && refused == 199-checkQueue
		}
		return false
	})
	// Another address is served beside them, and a certificate needs no turn;
	// none of those who wait has the one place of Limits.
	other := make(chan *httptest.ResponseRecorder)
	go func() { other <- x.from(t.Context(), "2001:db8:0:1::1", "estuser", "estpwd", body) }()
	<-h.started
	if n := h.inside.Load(); n != 3 {
		t.Errorf("%d passwords are verified at once, of them one of the other address", n)
	}
	if g := x.do(call{path: "cert/simpleenroll", certs: []tls.Certificate{x.device("device.example")}}); g.StatusCode != 200 {
		t.Errorf("a device with a certificate got %d %s", g.StatusCode, g.body)
	}
	close(h.end)
	got := <-many
	if w := <-other; w.Code != 200 {
		t.Errorf("the other address got %d %s", w.Code, w.Body)
	}
	if most := h.most.Load(); most != 3 {
		t.Errorf("%d at once", most)
	}
	// 100 guesses in a minute, for all user names together.
	if got[401] != 100 || got[429] != checkQueue-100 || got[503] != 199-checkQueue || h.all.Load() != 101 {
		t.Errorf("%v with %d verified", got, h.all.Load())
	}
	if n := x.checks.leftOver(); n != 0 {
		t.Errorf("%d places are not given back", n)
	}
}

func TestWaitingForAPasswordsTurnHasAnEnd(t *testing.T) {
	h := &hashing{started: make(chan bool, 10), end: make(chan struct{})}
	x := newSite(t, func(x *site) {
		x.checks, x.provider = newChecks(2), h.verify
		x.Attempts = NewAttempts(1, time.Minute)
	})
	body, first := csrBody(t), make(chan *httptest.ResponseRecorder, 2)
	enrol := func(ctx context.Context, remote, user string) *httptest.ResponseRecorder {
		return x.from(ctx, remote, user, "estpwd", body)
	}
	for _, remote := range []string{"192.0.2.1", "192.0.2.2"} {
		go func() { first <- enrol(t.Context(), remote, "a") }()
		<-h.started
	}
	x.checks.wait = 20 * time.Millisecond
	for name, who := range map[string][2]string{
		"the address's place": {"192.0.2.1", "b"}, "the process's place": {"192.0.2.3", "b"}, "the attempt": {"192.0.2.1", "a"},
	} {
		if w := enrol(t.Context(), who[0], who[1]); w.Code != 503 || w.Header().Get("Retry-After") != "1" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
		x.checks.wait = time.Minute
		if w := enrol(soonOver(t), who[0], who[1]); w.Code != 503 {
			t.Errorf("%s, the client has gone: %d", name, w.Code)
		}
		x.checks.wait = 20 * time.Millisecond
	}
	close(h.end)
	for range 2 {
		if w := <-first; w.Code != 200 {
			t.Errorf("%d for one who was in", w.Code)
		}
	}
	if h.all.Load() != 2 || x.checks.leftOver() != 0 || len(x.Attempts.clients.kept)+len(x.Attempts.addresses.kept) != 0 {
		t.Errorf("%d verified, %d places and %d, %d windows are left", h.all.Load(), x.checks.leftOver(), len(x.Attempts.clients.kept), len(x.Attempts.addresses.kept))
	}
}

// Devices of one batch behind one address, with the account that they share.
func TestDevicesAtOnceAreNotThrottledByOneAnother(t *testing.T) {
	for _, places := range []int{2, 16} {
		for _, attempts := range []int{1, 2, 10} {
			h := &hashing{}
			x := newSite(t, func(x *site) {
				x.checks, x.provider, x.Attempts = newChecks(places), h.verify, NewAttempts(attempts, time.Minute)
			})
			body := csrBody(t)
			got := statuses(40, func(int) *httptest.ResponseRecorder {
				return x.from(t.Context(), "192.0.2.1", "estuser", "estpwd", body)
			})
			if got[200] != 40 || x.checks.leftOver() != 0 {
				t.Errorf("%d attempts, %d places: %v", attempts, places, got)
			}
		}
	}
}

// However many come at once, and whoever is right among them, no more guesses
// are evaluated than one after the other.
func TestThreat_GuessesAtOnceAreNoMoreGuesses(t *testing.T) {
	for _, attempts := range []int{1, 2, 10} {
		h := &hashing{}
		x := newSite(t, func(x *site) {
			x.checks, x.provider, x.Attempts = newChecks(16), h.verify, NewAttempts(attempts, time.Minute)
		})
		body := csrBody(t)
		got := statuses(60, func(int) *httptest.ResponseRecorder {
			return x.from(t.Context(), "192.0.2.1", "estuser", "guess", body)
		})
		if got[401] != attempts || got[429] != 60-attempts || int(h.all.Load()) != attempts {
			t.Errorf("%d attempts: %v with %d verified", attempts, got, h.all.Load())
		}
	}
}

func TestAPanicGivesThePlaceBackAndCountsAsFailed(t *testing.T) {
	x := newSite(t, func(x *site) {
		x.checks, x.Attempts = newChecks(2), NewAttempts(1, time.Minute)
		x.provider = func(http.ResponseWriter, *http.Request) ([]policy.Account, error) { panic("provider") }
	})
	for _, want := range []int{500, 429} {
		if w := x.from(t.Context(), "192.0.2.1", "estuser", "estpwd", csrBody(t)); w.Code != want {
			t.Errorf("%d, want %d", w.Code, want)
		}
	}
	if n := x.checks.leftOver(); n != 0 {
		t.Errorf("%d places are not given back", n)
	}
}

func TestAllServersOfTheProcessShareThePlaces(t *testing.T) {
	h := &hashing{}
	var sites []*site
	for range 3 {
		sites = append(sites, newSite(t, func(x *site) { x.provider = h.verify }))
	}
	all, body := processChecks(), csrBody(t)
	var wg sync.WaitGroup
	for i := range 12 * cap(all.places) {
		wg.Go(func() {
			sites[i%3].from(t.Context(), fmt.Sprintf("192.0.2.%d", i%200), "estuser", "estpwd", body)
		})
	}
	wg.Wait()
	if most := int(h.most.Load()); most > cap(all.places) || cap(all.places) < 2 || all.share >= cap(all.places) {
		t.Errorf("%d at once with %d places, %d for one address", most, cap(all.places), all.share)
	}
}
