// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/sha256"
	"sync"

	"github.com/caddy-est/estra/ra/binding"
)

// spentKept is how many channels are remembered. A connection is closed after
// its linked request, so only those still open matter; HTTP/3 can't be closed
// from here.
const spentKept = 1 << 14

// spent remembers the channels that a linked request has used: a channel
// binding serves one authentication instance (RFC 9266 section 4.1). The zero
// value is ready, and safe for concurrent use.
type spent struct {
	mu   sync.Mutex
	seen map[[32]byte]bool
	ring [][32]byte // in the order spent; next is the oldest once it is full
	next int
}

// spentChannels is for all servers of the process: a connection may reach more
// than one.
var spentChannels spent

// spend takes the channel. It says no when that was done before.
func (s *spent) spend(c binding.Channel) bool {
	head := []byte{byte(c.Version >> 8), byte(c.Version), byte(len(c.Unique))} //nolint:gosec // tls-unique is 12 bytes
	key := sha256.Sum256(append(append(head, c.Unique...), c.Exporter...))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[key] {
		return false
	}
	if s.seen == nil {
		s.seen = make(map[[32]byte]bool)
	}
	s.seen[key] = true
	if len(s.ring) < spentKept {
		s.ring = append(s.ring, key)
		return true
	}
	delete(s.seen, s.ring[s.next])
	s.ring[s.next] = key
	s.next = (s.next + 1) % spentKept
	return true
}
