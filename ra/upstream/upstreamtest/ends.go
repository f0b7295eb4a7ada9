// SPDX-License-Identifier: Apache-2.0

package upstreamtest

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"
)

const (
	// shortly is the time of a caller, or of an upstream, that gives up.
	shortly = 400 * time.Millisecond
	// soon is until when whoever gives up has done so.
	soon = 5 * time.Second
)

// testSilence has a CA that takes an order and says nothing.
func (s Subject) testSilence(t *testing.T) {
	front := s.line(t)
	for name, c := range map[string]struct {
		timeout, caller time.Duration
		does            func(*Asked)
	}{
		"the upstream's time is over":             {shortly, patience, (*Asked).Hang},
		"the caller's time is over":               {0, shortly, (*Asked).Hang},
		"the CA has signed, and the time is over": {0, shortly, signed((*Asked).Hang)},
		"the caller's time is over, amid an answer": {0, shortly, signed(func(a *Asked) {
			a.w.Header().Set("Content-Length", "1000")
			a.w.WriteHeader(200)
			a.w.(interface{ Flush() }).Flush()
			a.Hang()
		})},
	} {
		t.Run(name, func(t *testing.T) {
			up := s.Open(t, Place{URL: front.URL, Timeout: c.timeout})
			Issue(t, up, plain(t, up)) // so that it has a connection, and a session
			order := plain(t, up)
			_, before := front.counts()
			front.spoil(c.does)
			defer front.spoil(nil)
			ctx, cancel := context.WithTimeout(t.Context(), c.caller)
			defer cancel()
			start := time.Now()
			issued, err := up.Issue(ctx, order)
			if took := time.Since(start); took > soon {
				t.Errorf("it took %s to give up", took)
			}
			front.sentOnce(t, name, before)
			if issued.Certificate != nil {
				t.Error("it gave a certificate")
			}
			fault{kinds: unknown}.hold(t, s, err)
		})
	}
}

// testConnections has orders one after the other go over the connections that there
// are.
func (s Subject) testConnections(t *testing.T) {
	front := s.line(t)
	up := s.Open(t, Place{URL: front.URL})
	Issue(t, up, plain(t, up))
	opened := front.Opened()
	const more = 6
	for range more {
		Issue(t, up, plain(t, up))
	}
	if now := front.Opened(); now != opened {
		t.Errorf("after %d orders more there were %d connections more", more, now-opened)
	}
}

// testGoroutines has orders that end well, that fail and that are given up, and then
// looks for what they have left.
func (s Subject) testGoroutines(t *testing.T) {
	place, drop, spoil := s.place(), func() {}, func(func(*Asked)) {}
	if s.CA != nil {
		front := s.line(t)
		place, drop, spoil = Place{URL: front.URL}, front.Drop, front.spoil
	}
	Issue(t, s.open(t), plain(t, s.open(t))) // what a package does once
	before := settled(0)
	up := s.Open(t, place)
	for range 3 {
		Issue(t, up, plain(t, up))
	}
	spoil((*Asked).Hang)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), shortly/4)
		_, _ = up.Issue(ctx, plain(t, up)) // testSilence looks at what comes of it
		cancel()
	}
	spoil((*Asked).Reset)
	_, _ = up.Issue(t.Context(), plain(t, up))
	spoil(nil)
	if retired, ok := up.(interface{ Retire() }); ok {
		retired.Retire()
	}
	drop()
	if after := settled(before); after > before {
		t.Errorf("there are %d goroutines, and before there were %d:\n%s", after, before, ours())
	}
}

// settled waits until there are no more goroutines than before, and tells how many
// there are. Zero waits until their number stays.
func settled(before int) int {
	n, same := runtime.NumGoroutine(), 0
	for end := time.Now().Add(soon); time.Now().Before(end) && same < 10; {
		time.Sleep(10 * time.Millisecond)
		now := runtime.NumGoroutine()
		if now == n {
			same++
		} else {
			same = 0
		}
		if n = now; before > 0 && n > before {
			same = 0
		}
	}
	return n
}

// ours are the goroutines that have to do with an upstream.
func ours() string {
	text := make([]byte, 1<<20)
	text = text[:runtime.Stack(text, true)]
	var list []string
	for one := range strings.SplitSeq(string(text), "\n\n") {
		if strings.Contains(one, "estra") || strings.Contains(one, "net/http") {
			list = append(list, one)
		}
	}
	return strings.Join(list, "\n\n")
}
