// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"net/http"
	"sync"
	"testing"

	"github.com/caddy-est/estra/ra"
	"github.com/caddy-est/estra/ra/ratest"
)

// A line is the front of a CA that the suite has: it counts, and does to one kind of
// requests what it is told.
type line struct {
	*Front

	ca *CA

	mu   sync.Mutex
	does func(*Asked) // nil: it relays
	// concerns tells what does is for.
	concerns func(*http.Request) bool
	asked    int
	signed   int
}

func (s Subject) line(t testing.TB) *line {
	t.Helper()
	l := &line{ca: s.CA, concerns: s.CA.Signs}
	l.Front = NewFront(t, s.CA.Server, s.CA.TLS, func() string { return s.CA.URL }, l.handle)
	return l
}

func (l *line) handle(a *Asked) {
	l.mu.Lock()
	l.asked++
	signs := l.ca.Signs(a.Request)
	if signs {
		l.signed++
	}
	does := l.does
	if !l.concerns(a.Request) {
		does = nil
	}
	l.mu.Unlock()
	if does == nil {
		does = (*Asked).Relay
	}
	does(a)
}

// spoil is for all requests for a certificate from now on; spoilGift for those whose
// answer has it, and spoilReads for all that ask for none. nil ends it.
func (l *line) spoil(does func(*Asked)) { l.set(does, l.ca.Signs) }

func (l *line) spoilGift(does func(*Asked)) {
	if l.ca.Gives == nil {
		l.spoil(does)
		return
	}
	l.set(does, l.ca.Gives)
}

func (l *line) spoilReads(does func(*Asked)) {
	l.set(does, func(r *http.Request) bool { return !l.ca.Signs(r) })
}

func (l *line) set(does func(*Asked), concerns func(*http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.does, l.concerns = does, concerns
}

// counts are how many requests there were, and how many of them for a certificate.
func (l *line) counts() (asked, signed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked, l.signed
}

// sentOnce holds an upstream to sending an order once. One that stays open at the CA
// has one certificate, however often it is asked for.
func (l *line) sentOnce(t testing.TB, what string, before int) {
	t.Helper()
	if l.ca.Keeps {
		return
	}
	if _, signed := l.counts(); signed != before+1 {
		t.Errorf("%s: the order was sent %d times", what, signed-before)
	}
}

// plain is an order that every CA of a suite issues.
func plain(t testing.TB, up ra.Upstream) ra.Order {
	t.Helper()
	return Named(t, up, "device.example")
}

// Named is one for a DNS name, with a CN where the upstream has subjects.
func Named(t testing.TB, up ra.Upstream, name string) ra.Order {
	t.Helper()
	can := up.Carries()
	return ratest.Order(t, ratest.Case{Policy: permissive(up), CSR: named(t, can, name), OwnSerials: !can.Serial})
}
