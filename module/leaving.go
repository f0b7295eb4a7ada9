// SPDX-License-Identifier: Apache-2.0

package module

import (
	"sync"
	"time"
)

// leaveFor is how long a configuration that is about to be replaced closes the
// connections that it answers on. Go's server then drops those that are idle, with a
// request that may be on its way: the fewer there are, the fewer are lost.
const leaveFor = 250 * time.Millisecond

// running are the configurations of this process: at a reload, two.
var running runningApps

type runningApps struct {
	mu   sync.Mutex
	apps map[*App]struct{}
}

// enter is called by one that has started. Those before it leave: it is true where
// there are any.
func (r *runningApps) enter(a *App) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for other := range r.apps {
		other.leaving.Store(true)
	}
	if r.apps == nil {
		r.apps = make(map[*App]struct{})
	}
	r.apps[a] = struct{}{}
	return len(r.apps) > 1
}

// leave is called by one that stops. Where it is the last that has started, since
// another part of its configuration doesn't start, those before it stay.
func (r *runningApps) leave(a *App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, is := r.apps[a]; !is {
		return
	}
	delete(r.apps, a)
	if a.leaving.Load() {
		return
	}
	for other := range r.apps {
		other.leaving.Store(false)
	}
}
