// SPDX-License-Identifier: Apache-2.0

package est

import (
	"container/list"
	"crypto/sha256"
	"net/netip"
	"sync"
	"time"
)

// attemptsKept bounds the memory of Attempts. Past it the oldest window is
// forgotten: to clear its own, an attacker has to fail this often elsewhere.
const attemptsKept = 1 << 16

// Attempts bounds how often one client may fail with its HTTP credentials.
// Passwords that devices share are short; guesses must be slow (RFC 7030
// section 6). A client is an address (IPv6: its /64, which one host has to
// itself) together with the user name that it says. Safe for concurrent use.
type Attempts struct {
	n   int
	per time.Duration

	mu      sync.Mutex
	windows map[[32]byte]*list.Element // of *window
	order   list.List                  // oldest first
}

// A window counts one client's failures since its first.
type window struct {
	key    [32]byte
	ends   time.Time
	failed int
}

// NewAttempts allows n failures within per, counted from the first of them.
// A success clears the count.
func NewAttempts(n int, per time.Duration) *Attempts {
	return &Attempts{n: n, per: per, windows: make(map[[32]byte]*list.Element)}
}

// client is who a failure is counted for. It is a hash, so that a long user
// name costs no memory, and none stands here in clear.
func client(remote netip.Addr, user string) [32]byte {
	remote = remote.Unmap().WithZone("")
	if remote.Is6() {
		if p, err := remote.Prefix(64); err == nil {
			remote = p.Addr()
		}
	}
	return sha256.Sum256([]byte(remote.String() + "\x00" + user))
}

// begin counts an attempt as failed before it is made, so that many at once
// get no more than one after the other. It says no, and for how long, when
// the client has used up its attempts. A nil Attempts allows everything.
func (a *Attempts) begin(key [32]byte, now time.Time) (wait time.Duration, ok bool) {
	if a == nil {
		return 0, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e, found := a.windows[key]
	if found && !now.Before(e.Value.(*window).ends) {
		a.forget(e)
		found = false
	}
	if !found {
		if a.order.Len() >= attemptsKept {
			a.forget(a.order.Front())
		}
		e = a.order.PushBack(&window{key: key, ends: now.Add(a.per)})
		a.windows[key] = e
	}
	w := e.Value.(*window)
	if w.failed >= a.n {
		return w.ends.Sub(now), false
	}
	w.failed++
	return 0, true
}

// succeeded clears a client's count.
func (a *Attempts) succeeded(key [32]byte) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.windows[key]; ok {
		a.forget(e)
	}
}

// returned takes one begin back: nothing was verified.
func (a *Attempts) returned(key [32]byte) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if e, ok := a.windows[key]; ok {
		w := e.Value.(*window)
		w.failed = max(0, w.failed-1)
	}
}

func (a *Attempts) forget(e *list.Element) {
	delete(a.windows, e.Value.(*window).key)
	a.order.Remove(e)
}
