// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"bytes"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-est/estra/ra"
)

// Overhead measures what an upstream costs over its CA's bare API, in CPU time of this
// process: wall time says nothing of it on a machine with other work.
//
// One order is issued at the CA and taped. Then the same order is issued again and
// again, by answers of the tape, and against that the same requests are sent and the
// same answers read by net/http alone. Both sides have the tape's server in them, and
// none the CA. What is left is the adapter: it writes the plan down, seals it for the
// CA (the token of step-ca, the HMAC of CFSSL), reads the answer and what is in it, and
// keeps account of the address. It is reported in µs, of one call: an order may take
// several.
//
// Native, where there is one, is what whoever uses the API has to do with each exchange
// beside sending it: it counts as the API's.
func Overhead(b *testing.B, s Subject, native ...func(sent, answer []byte)) {
	b.Helper()
	tape := new(tape)
	front := NewFront(b, s.CA.Server, s.CA.TLS, func() string { return s.CA.URL }, tape.handle)
	up := s.Open(b, Place{URL: front.URL})
	order := plain(b, up)
	if _, err := up.Issue(b.Context(), order); err != nil { // logs in, and asks what it asks once
		b.Fatal(err)
	}
	tape.record(func() {
		if _, err := up.Issue(b.Context(), order); err != nil {
			b.Fatal(err)
		}
	})
	bare := &http.Client{Transport: &http.Transport{TLSClientConfig: s.CA.TLS.Clone(), DisableCompression: true}}
	defer bare.CloseIdleConnections()
	issue := func() { tape.issue(b, up, order) }
	send := func() { tape.send(b, bare, front.URL, native) }
	for range 20 { // connections, caches, the heap
		issue()
		send()
	}
	var adapter, api time.Duration
	b.ResetTimer()
	// In turns, so that what changes with time is in both.
	const turn = 50
	for done := 0; done < b.N; done += turn {
		n := min(turn, b.N-done)
		adapter += cpu(n, issue)
		api += cpu(n, send)
	}
	calls := len(tape.exchanges)
	each := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N*calls) }
	b.ReportMetric(float64(calls), "calls/op")
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(each(api), "bare-µs/call")
	b.ReportMetric(each(adapter-api), "over-µs/call")
}

// cpu is the CPU time of n calls, of user and system.
func cpu(n int, call func()) time.Duration {
	before := used()
	for range n {
		call()
	}
	return used() - before
}

func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A tape has the exchanges of one order.
type tape struct {
	mu        sync.Mutex
	recording bool
	playing   bool
	next      int
	exchanges []taped
}

type taped struct {
	method, path string
	asked        http.Header
	sent         []byte
	status       int
	header       http.Header
	body         []byte
}

func (t *tape) record(order func()) {
	t.mu.Lock()
	t.recording = true
	t.mu.Unlock()
	order()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recording, t.playing = false, true
}

func (t *tape) handle(a *Asked) {
	t.mu.Lock()
	if t.playing {
		e := t.exchanges[t.next%len(t.exchanges)]
		t.next++
		t.mu.Unlock()
		a.Status, a.Header, a.Body = e.status, e.header, e.body
		a.Answer()
		return
	}
	t.mu.Unlock()
	if !a.Pass() {
		a.Reset()
		return
	}
	a.Answer()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.recording {
		t.exchanges = append(t.exchanges, taped{
			a.Request.Method, a.Request.URL.RequestURI(), a.Request.Header.Clone(), a.Sent, a.Status, a.Header.Clone(), a.Body,
		})
	}
}

func (t *tape) issue(b *testing.B, up ra.Upstream, order ra.Order) {
	if _, err := up.Issue(b.Context(), order); err != nil {
		b.Fatal(err)
	}
}

// send is a client that knows what to send.
func (t *tape) send(b *testing.B, client *http.Client, address string, native []func(sent, answer []byte)) {
	for _, e := range t.exchanges {
		r, err := http.NewRequestWithContext(b.Context(), e.method, address+e.path, bytes.NewReader(e.sent))
		if err != nil {
			b.Fatal(err)
		}
		r.Header = e.asked
		res, err := client.Do(r)
		if err != nil {
			b.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil || len(body) != len(e.body) {
			b.Fatalf("%d bytes of %d: %v", len(body), len(e.body), err)
		}
		_ = res.Body.Close()
		for _, do := range native {
			do(e.sent, body)
		}
	}
}
