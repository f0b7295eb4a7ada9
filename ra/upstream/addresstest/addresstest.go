// SPDX-License-Identifier: Apache-2.0

// Package addresstest is the suite that every upstream with several addresses passes.
package addresstest

import (
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
	"github.com/caddy-est/estra/ra/upstream/upstreamtest"
)

// An Open gives the upstream that asks a CA at these addresses, of which there is one
// at least. A call takes no longer than timeout.
type Open func(t testing.TB, addresses []string, timeout time.Duration) ra.Upstream

const (
	soon    = 2 * time.Second  // for a call that gets no answer
	patient = 15 * time.Second // for one that gets it
	// rests is a little more than an address rests after failures in a row.
	rests = 5500 * time.Millisecond
	// trips is how many of these there are before.
	trips = 3
)

// Run holds an upstream to asking each of its addresses as it may.
func Run(t *testing.T, ca *upstreamtest.CA, open Open) {
	for name, test := range map[string]func(*testing.T, *upstreamtest.CA, Open){
		"an order goes on where nobody listens":               testNobody,
		"an order that was sent is sent to no other address":  testUndecided,
		"an address that fails rests, and is asked how it is": testRest,
		"what reads goes to each address":                     testReads,
		"the check has a row for each address":                testCheck,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, ca, open)
		})
	}
}

// A place is an address of the CA, which counts what it is sent.
type place struct {
	*upstreamtest.Front

	ca *upstreamtest.CA

	mu           sync.Mutex
	does         func(*upstreamtest.Asked) // nil: the CA answers
	all          bool                      // does is for all, and not for orders alone
	signed, read int
}

func newPlace(t testing.TB, ca *upstreamtest.CA) *place {
	t.Helper()
	p := &place{ca: ca}
	p.Front = upstreamtest.NewFront(t, ca.Server, ca.TLS, func() string { return ca.URL }, p.handle)
	return p
}

func (p *place) handle(a *upstreamtest.Asked) {
	p.mu.Lock()
	signs := p.ca.Signs(a.Request)
	if signs {
		p.signed++
	} else {
		p.read++
	}
	does := p.does
	if does == nil || !signs && !p.all {
		does = (*upstreamtest.Asked).Relay
	}
	p.mu.Unlock()
	does(a)
}

// orders is what comes of orders from now on; all of whatever is sent. nil: what the
// CA answers.
func (p *place) orders(does func(*upstreamtest.Asked)) { p.set(does, false) }

func (p *place) everything(does func(*upstreamtest.Asked)) { p.set(does, true) }

func (p *place) set(does func(*upstreamtest.Asked), all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.does, p.all = does, all
}

func (p *place) counts() (signed, read int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signed, p.read
}

func (p *place) host() string { return strings.TrimPrefix(p.URL, "https://") }

// nobody is an address at which nobody listens.
func nobody(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "https://" + l.Addr().String()
}

func unavailable(a *upstreamtest.Asked) {
	a.Status, a.Body = http.StatusServiceUnavailable, nil
	a.Answer()
}

// lost is an answer of the CA that nobody gets.
func lost(a *upstreamtest.Asked) {
	a.Pass()
	silent(a)
}

// silent ends without an answer: that of a handler which returns may still arrive.
func silent(a *upstreamtest.Asked) {
	a.Hang()
	a.Reset()
}

func cut(a *upstreamtest.Asked) {
	a.Pass()
	a.Reset()
}

// issue has one order made out. Its error is *ra.Error.
func issue(t testing.TB, up ra.Upstream) *ra.Error {
	t.Helper()
	got, err := up.Issue(t.Context(), ratest.Order(t, ratest.Case{Now: time.Now(), OwnSerials: !up.Carries().Serial}))
	var fail *ra.Error
	if err != nil && !errors.As(err, &fail) {
		t.Fatalf("%v is no *ra.Error", err)
	}
	if err == nil && got.Certificate == nil {
		t.Fatal("there is neither a certificate nor an error")
	}
	return fail
}

func testNobody(t *testing.T, ca *upstreamtest.CA, open Open) {
	second := newPlace(t, ca)
	up := open(t, []string{nobody(t), second.URL}, patient)
	for n := 1; n <= trips+1; n++ {
		if fail := issue(t, up); fail != nil {
			t.Fatal(fail.Text())
		}
		if signed, _ := second.counts(); signed != n {
			t.Errorf("%d orders were sent %d times", n, signed)
		}
	}
}

func testUndecided(t *testing.T, ca *upstreamtest.CA, open Open) {
	for name, does := range map[string]func(*upstreamtest.Asked){"no answer": lost, "a connection that breaks": cut} {
		first, second := newPlace(t, ca), newPlace(t, ca)
		up := open(t, []string{first.URL, second.URL}, soon)
		first.orders(does)
		switch fail := issue(t, up); {
		case ca.Finds && fail != nil:
			t.Errorf("%s: the certificate isn't found: %s", name, fail.Text())
		case ca.Finds:
		case ca.Keeps && (fail == nil || fail.Kind != ra.Pending):
			t.Errorf("%s: %v, want an order that stays open", name, fail)
		case ca.Keeps:
		case fail == nil || fail.Kind != ra.UpstreamTimeout:
			t.Errorf("%s: %v, want an outcome that nobody knows", name, fail)
		}
		one, _ := first.counts()
		if two, _ := second.counts(); one != 1 || two != 0 {
			t.Errorf("%s: the first address had the order %d times, the second %d", name, one, two)
		}
	}
}

func testRest(t *testing.T, ca *upstreamtest.CA, open Open) {
	first, second := newPlace(t, ca), newPlace(t, ca)
	up := open(t, []string{first.URL, second.URL}, patient)
	if fail := issue(t, up); fail != nil {
		t.Fatal(fail.Text())
	}
	had := func(what string, one, two int) {
		t.Helper()
		a, _ := first.counts()
		if b, _ := second.counts(); a != one || b != two {
			t.Errorf("%s: the first address had %d orders, want %d; the second %d, want %d", what, a, one, b, two)
		}
	}
	first.orders(unavailable)
	for range trips {
		if fail := issue(t, up); fail == nil {
			t.Error("a CA that says 503 has issued")
		}
	}
	had("until it rests", 1+trips, 0)
	if fail := issue(t, up); fail != nil {
		t.Error(fail.Text())
	}
	had("while it rests", 1+trips, 1)
	first.everything(unavailable)
	time.Sleep(rests)
	_, before := first.counts()
	if fail := issue(t, up); fail != nil {
		t.Error(fail.Text())
	}
	had("when it says that it isn't well", 1+trips, 2)
	if _, read := first.counts(); read != before+1 {
		t.Errorf("it was asked %d times how it is", read-before)
	}
	first.everything(nil)
	time.Sleep(rests)
	for n := 1; n <= 2; n++ {
		if fail := issue(t, up); fail != nil {
			t.Error(fail.Text())
		}
		had("when it is well", 1+trips+n, 2)
	}
}

func testReads(t *testing.T, ca *upstreamtest.CA, open Open) {
	for name, does := range map[string]func(*upstreamtest.Asked){
		"no answer": silent, "a connection that breaks": (*upstreamtest.Asked).Reset, "503": unavailable,
	} {
		first, second := newPlace(t, ca), newPlace(t, ca)
		up := open(t, []string{first.URL, second.URL}, soon)
		first.everything(does)
		certs, err := up.CACerts(t.Context())
		if err != nil || len(certs) == 0 {
			t.Errorf("%s: %d certificates, %v", name, len(certs), err)
		}
	}
}

func testCheck(t *testing.T, ca *upstreamtest.CA, open Open) {
	first, second, third := newPlace(t, ca), newPlace(t, ca), nobody(t)
	up, ok := open(t, []string{first.URL, second.URL, third}, patient).(ra.Checker)
	if !ok {
		t.Fatal("it can't be checked")
	}
	want := map[string]ra.Result{first.host(): ra.Good, second.host(): ra.Warning, strings.TrimPrefix(third, "https://"): ra.Warning}
	second.everything(unavailable)
	for _, check := range up.Check(t.Context()) {
		host, is := strings.CutPrefix(check.What, "address ")
		if !is {
			continue
		}
		if check.Result != want[host] {
			t.Errorf("%+v, want %s", check, want[host])
		}
		delete(want, host)
	}
	if len(want) > 0 {
		t.Errorf("there is no row for %v", want)
	}
}
