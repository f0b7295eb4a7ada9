// SPDX-License-Identifier: Apache-2.0

package ra

import (
	"maps"
	"slices"
	"sync"
)

// stopAfter is how many identities in a row get a nonconforming certificate
// before an upstream is no longer asked for a profile.
const stopAfter = 3

// stops counts nonconforming certificates by profile: the identities that got
// one since the last that was as decided. One device with a strange request
// can't stop the others.
type stops struct {
	mu         sync.Mutex
	identities map[string]map[string]struct{}
}

// Stopped tells whether this upstream issues no more for a profile, until
// Resume.
func (c *CA) Stopped(profile string) bool {
	c.stops.mu.Lock()
	defer c.stops.mu.Unlock()
	return len(c.stops.identities[profile]) >= stopAfter
}

// Stops returns the profiles that are stopped, sorted.
func (c *CA) Stops() []string {
	c.stops.mu.Lock()
	defer c.stops.mu.Unlock()
	var stopped []string
	for _, profile := range slices.Sorted(maps.Keys(c.stops.identities)) {
		if len(c.stops.identities[profile]) >= stopAfter {
			stopped = append(stopped, profile)
		}
	}
	return stopped
}

// Resume lets a stopped profile issue again, and tells whether it was
// stopped.
func (c *CA) Resume(profile string) bool {
	c.stops.mu.Lock()
	defer c.stops.mu.Unlock()
	was := len(c.stops.identities[profile]) >= stopAfter
	delete(c.stops.identities, profile)
	return was
}

// conformed ends the row. An answer that was under way when the profile was
// stopped doesn't start it again.
func (c *CA) conformed(profile string) {
	c.stops.mu.Lock()
	defer c.stops.mu.Unlock()
	if len(c.stops.identities[profile]) < stopAfter {
		delete(c.stops.identities, profile)
	}
}

// differed counts an identity; true means that the profile is now stopped.
func (c *CA) differed(profile, identity string) bool {
	c.stops.mu.Lock()
	defer c.stops.mu.Unlock()
	s := &c.stops
	if s.identities == nil {
		s.identities = make(map[string]map[string]struct{})
	}
	if s.identities[profile] == nil {
		s.identities[profile] = make(map[string]struct{})
	}
	s.identities[profile][identity] = struct{}{}
	return len(s.identities[profile]) >= stopAfter
}
