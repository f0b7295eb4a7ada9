// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra"
)

const (
	// checkWait is how long a request may wait for its password's turn.
	checkWait = 10 * time.Second
	// checkQueue is how many requests of one address may have their password
	// verified or wait for it.
	checkQueue = 128
)

// checks bounds how many HTTP credentials are verified at once: a password
// hash takes all of a core and up to some 50 MiB, and anybody may ask for one.
// One address (IPv6: its /64) has half of the places at most, and a queue of
// its own, so that others get theirs beside it. Safe for concurrent use.
type checks struct {
	places chan struct{} // a token for each that is taken
	share  int           // of them for one address
	wait   time.Duration

	mu sync.Mutex
	by map[netip.Addr]*checksOf // of those who are in
}

// checksOf are the checks of one address.
type checksOf struct {
	places chan struct{}
	inside int // waiting or being verified; with checks.mu
}

func newChecks(n int) *checks {
	return &checks{places: make(chan struct{}, n), share: (n + 1) / 2, wait: checkWait, by: make(map[netip.Addr]*checksOf)}
}

// processChecks is for all servers of the process, since they share its cores
// and memory, and so do an old configuration and a new one. One place for each
// core and at least two: with one, an address could hold all.
var processChecks = sync.OnceValue(func() *checks { return newChecks(max(2, runtime.GOMAXPROCS(0))) })

// A visit is one request that wants its credentials verified.
type visit struct {
	c       *checks
	network netip.Addr
	of      *checksOf
	placed  bool
}

// enter joins the queue of an address, and refuses when it is too long.
func (c *checks) enter(network netip.Addr) (*visit, *ra.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of, ok := c.by[network]
	if !ok {
		of = &checksOf{places: make(chan struct{}, c.share)}
		c.by[network] = of
	}
	if of.inside >= checkQueue {
		return nil, ra.Fail(ra.Busy, "too many HTTP credentials of this address wait to be verified", nil).After(time.Second)
	}
	of.inside++
	return &visit{c: c, network: network, of: of}, nil
}

// place waits for a place until ctx ends. The address's own comes first, so
// that among those who wait for the process's no address has more than its
// share.
func (v *visit) place(ctx context.Context) *ra.Error {
	busy := func() *ra.Error {
		return ra.Fail(ra.Busy, "other HTTP credentials are being verified", nil).After(time.Second)
	}
	select {
	case v.of.places <- struct{}{}:
	case <-ctx.Done():
		return busy()
	}
	select {
	case v.c.places <- struct{}{}:
		v.placed = true
		return nil
	case <-ctx.Done():
		<-v.of.places
		return busy()
	}
}

// leave gives back what was taken.
func (v *visit) leave() {
	if v.placed {
		<-v.c.places
		<-v.of.places
	}
	v.c.mu.Lock()
	defer v.c.mu.Unlock()
	if v.of.inside--; v.of.inside == 0 {
		delete(v.c.by, v.network)
	}
}
