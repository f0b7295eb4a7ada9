// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra/ratest"
)

// busyCA makes the site's CA slow, and counts.
type busyCA struct{ signed, inside, most atomic.Int64 }

func (c *busyCA) sign(*x509.Certificate) {
	n := c.inside.Add(1)
	defer c.inside.Add(-1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	time.Sleep(5 * time.Millisecond)
	c.signed.Add(1)
}

func TestMoreThanCanBeServedIsTurnedAwayAndNothingIsLost(t *testing.T) {
	const places, devices = 2, 100
	x := newSite(t, func(x *site) { x.Limits.Concurrency, x.Limits.Patience = places, time.Minute })
	var ca busyCA
	x.ca.Set(ratest.Knobs{Mutate: ca.sign})
	client, body := x.client(true, x.device("device.example")), csrBody(t)
	var served, turned, other atomic.Int64
	var all sync.WaitGroup
	start := make(chan bool)
	for range devices {
		all.Go(func() {
			<-start
			switch g := x.doWith(client, call{path: "cert/simpleenroll", body: body}); g.StatusCode {
			case 200:
				served.Add(1)
			case 503:
				turned.Add(1)
				if g.Header.Get("Retry-After") != "10" { // the fixture draws the least
					other.Add(1)
				}
			default:
				other.Add(1)
			}
		})
	}
	close(start)
	all.Wait()
	if n := ca.most.Load(); n > places {
		t.Errorf("%d were at the CA at once", n)
	}
	if served.Load() != ca.signed.Load() || served.Load() < places*(1+waitingForEach) || served.Load()+turned.Load() != devices || other.Load() != 0 {
		t.Errorf("%d were served, %d turned away, %d got something else; the CA signed %d", served.Load(), turned.Load(), other.Load(), ca.signed.Load())
	}
	x.mu.Lock()
	outcomes := map[string]int64{}
	for _, r := range x.records {
		outcomes[string(r.Outcome)]++
	}
	x.mu.Unlock()
	if len(outcomes) != 2 || outcomes["issued"] != served.Load() || outcomes["failed"] != turned.Load() {
		t.Errorf("the records have %v; %d were served, %d turned away", outcomes, served.Load(), turned.Load())
	}
}

func TestRenewalsThatCannotWaitGoFirst(t *testing.T) {
	x := newSite(t, func(x *site) { x.Limits.Concurrency, x.Limits.Patience = 1, time.Minute })
	var first sync.Once
	inside, leave := make(chan bool, 1), make(chan bool)
	x.ca.Set(ratest.Knobs{Mutate: func(*x509.Certificate) {
		first.Do(func() {
			inside <- true
			<-leave
		})
	}})
	var all sync.WaitGroup
	waiting := 0
	ask := func(name string, left time.Duration) {
		c := call{user: right, body: csrFor(t, name)}
		if left > 0 {
			cert := x.ca.Intermediate.Device(t, name, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(left) })
			c = call{path: "simplereenroll", certs: []tls.Certificate{cert}, body: csrFor(t, name)}
		}
		all.Go(func() {
			if g := x.do(c); g.StatusCode != http.StatusOK {
				t.Errorf("%s: %d %s", name, g.StatusCode, g.body)
			}
		})
		if waiting++; waiting > 1 {
			until(t, fmt.Sprintf("%d who wait", waiting-1), func() bool { return x.enrolling.Waiting() == waiting-1 })
			return
		}
		<-inside
	}
	ask("inside.example", 0)
	ask("first.example", 0)
	ask("in-a-month.example", 30*24*time.Hour)
	ask("in-two-hours.example", 2*time.Hour)
	ask("in-an-hour.example", time.Hour)
	ask("last.example", 0)
	close(leave)
	all.Wait()
	var order []string
	for _, o := range x.ca.Orders() {
		order = append(order, strings.TrimPrefix(o.CSR().Names.Subject.String(), "CN="))
	}
	want := []string{"inside.example", "in-an-hour.example", "in-two-hours.example", "first.example", "in-a-month.example", "last.example"}
	if !slices.Equal(order, want) {
		t.Errorf("%v, want %v", order, want)
	}
}

// Who finds no room to wait is told so before anybody looks at his certificate
// or his password.
func TestNothingIsLookedAtWhereThereIsNoRoomToWait(t *testing.T) {
	x := newSite(t, func(x *site) { x.Limits.Concurrency, x.Limits.Patience = 1, time.Minute })
	inside, leave := make(chan bool, 100), make(chan bool)
	x.ca.Set(ratest.Knobs{Mutate: func(*x509.Certificate) { inside <- true; <-leave }})
	var all sync.WaitGroup
	client, body := x.client(true), csrBody(t)
	for range 1 + waitingForEach {
		all.Go(func() { x.doWith(client, call{user: right, body: body}) })
	}
	<-inside
	until(t, "a queue that is full", func() bool { return x.enrolling.Waiting() == waitingForEach })
	x.mu.Lock()
	before := x.checked
	x.mu.Unlock()
	x.refused(t, x.do(call{user: right}), 503, "busy", "try again later")
	x.refused(t, x.do(call{}), 503, "busy", "try again later")
	x.mu.Lock()
	if x.checked != before {
		t.Errorf("%d passwords were verified for those who are turned away", x.checked-before)
	}
	x.mu.Unlock()
	// One that can't wait gets in all the same, in another's stead.
	soonEnds := x.ca.Intermediate.Device(t, "device.example", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(time.Hour) })
	done := make(chan got, 1)
	go func() {
		done <- x.do(call{path: "simplereenroll", certs: []tls.Certificate{soonEnds}, body: csrFor(t, "device.example")})
	}()
	until(t, "one who is turned away for it", func() bool {
		x.mu.Lock()
		defer x.mu.Unlock()
		n := 0
		for _, r := range x.records {
			if string(r.Kind) == "busy" {
				n++
			}
		}
		return n == 3
	})
	close(leave)
	if g := <-done; g.StatusCode != 200 {
		t.Errorf("%d %s", g.StatusCode, g.body)
	}
	all.Wait()
}
