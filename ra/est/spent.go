// SPDX-License-Identifier: Apache-2.0

package est

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/caddy-est/estra/ra/binding"
)

// A connection is closed after its linked request, so only those still open
// matter; HTTP/3 can't be closed from here.
const (
	// spentKept is how many channels are remembered.
	spentKept = 1 << 14
	// spentLife is how long. No connection of a device lives that long: Caddy
	// ends an idle one after minutes.
	spentLife = 24 * time.Hour
)

// spent remembers what is good once, by a hash: the channels that a linked
// request has used, since a channel binding serves one authentication instance
// (RFC 9266 section 4.1), and CMC messages. The zero value is ready, and safe for
// concurrent use.
type spent struct {
	mu    sync.Mutex
	seen  map[[32]byte]bool
	queue []spentChannel // in the order spent
}

type spentChannel struct {
	key [32]byte // a hash: the value itself is for the comparison alone
	at  time.Time
}

// spentChannels is for all servers of the process: a connection may reach more
// than one.
var spentChannels spent

// spend takes the channel. It says no when that was done before.
func (s *spent) spend(c binding.Channel, now time.Time) bool {
	head := []byte{byte(c.Version >> 8), byte(c.Version), byte(len(c.Unique))} //nolint:gosec // tls-unique is 12 bytes
	return s.once(sha256.Sum256(append(append(head, c.Unique...), c.Exporter...)), now)
}

// once says no when it was asked about the same before.
func (s *spent) once(key [32]byte, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 && now.Sub(s.queue[0].at) >= spentLife {
		s.forget()
	}
	if s.seen[key] {
		return false
	}
	if len(s.queue) >= spentKept {
		s.forget()
	}
	if s.seen == nil {
		s.seen = make(map[[32]byte]bool)
	}
	s.seen[key] = true
	s.queue = append(s.queue, spentChannel{key, now})
	return true
}

// forget drops the oldest.
func (s *spent) forget() {
	delete(s.seen, s.queue[0].key)
	s.queue = s.queue[1:]
}
