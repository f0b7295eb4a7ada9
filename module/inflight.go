// SPDX-License-Identifier: Apache-2.0

package module

import "sync"

// inFlight are the requests that a configuration still works on. Caddy doesn't
// wait for them at a reload: it cleans up the old configuration while they run,
// and what they need for their record must stay until they have ended.
type inFlight struct {
	mu    sync.Mutex
	n     int
	after func() // nil: nothing waits for their end
}

// enter is called by each; the function it returns, at its end.
func (f *inFlight) enter() (leave func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return f.leave
}

func (f *inFlight) leave() {
	f.mu.Lock()
	f.n--
	after := f.after
	if f.n > 0 {
		after = nil
	} else {
		f.after = nil
	}
	f.mu.Unlock()
	if after != nil {
		after()
	}
}

// afterwards does something once none is under way: now, or by the last of them.
func (f *inFlight) afterwards(do func()) {
	f.mu.Lock()
	wait := f.n > 0
	if wait {
		f.after = do
	}
	f.mu.Unlock()
	if !wait {
		do()
	}
}
