// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-est/estra/policy"
	"github.com/caddy-est/estra/ra"
)

const (
	// mostKeys bounds the keys in memory, to about 100 MB.
	mostKeys = 512 * segmentKeys
	// keysEvery is how long a key may be in memory alone.
	keysEvery = time.Second
	// mostSmall is how many segments that aren't half full are left as they
	// are: each start begins one.
	mostSmall = 16

	// writeTimeout bounds one write, and so the wait at the end.
	writeTimeout = 10 * time.Second

	keysFolder = "est/keys"
)

// A keyMemory is ra.Keys in Caddy's storage, under est/keys. Everything is in
// memory too, so that a request waits for no disk; what is new is written in
// the background, in segments. One keyMemory is shared by all handlers, and by
// the configuration before a reload with the one after it.
type keyMemory struct {
	most  int           // keys
	every time.Duration // between two writes

	opening sync.Once
	opened  chan struct{} // closed when what is stored has been read
	failed  error         // of reading it
	wake    chan struct{} // there is something to write
	stop    chan struct{}
	done    sync.WaitGroup

	writing sync.Mutex // one flush at a time

	mu       sync.Mutex
	storage  certmagic.Storage
	log      *zap.Logger
	turns    map[keyID]chan struct{} // of requests under way; closed at their end
	held     map[keyID]heldKey
	segments []*keySegment // oldest first; the last is written to
	count    int           // of keys in the segments
	next     uint32        // number of the next segment
	ill      bool          // the last write failed
}

// A keySegment is one value in the storage.
type keySegment struct {
	name   string
	number uint32
	count  int
	text   []byte // only appended to; nil once it is full and written
	dirty  bool
}

// keyMemories are the key memories by their storage.
var keyMemories = caddy.NewUsagePool()

func newKeyMemory() *keyMemory {
	return &keyMemory{
		most: mostKeys, every: keysEvery,
		opened: make(chan struct{}), wake: make(chan struct{}, 1), stop: make(chan struct{}),
		turns: make(map[keyID]chan struct{}), held: make(map[keyID]heldKey),
	}
}

// shareKeys gives the key memory of a storage, and what to release it by.
func shareKeys(storage certmagic.Storage) (*keyMemory, string, error) {
	name := fmt.Sprintf("%T %p", storage, storage)
	if named, ok := storage.(fmt.Stringer); ok {
		name = named.String()
	}
	shared, _, err := keyMemories.LoadOrNew(name, func() (caddy.Destructor, error) { return newKeyMemory(), nil })
	if err != nil {
		return nil, "", err
	}
	return shared.(*keyMemory), name, nil
}

// open reads what is stored, once, and begins to write. Storage and logger are
// those of the newest configuration: an older one's may have been closed.
func (m *keyMemory) open(ctx context.Context, storage certmagic.Storage, log *zap.Logger) error {
	m.mu.Lock()
	m.storage, m.log = storage, log
	m.mu.Unlock()
	m.opening.Do(func() {
		defer close(m.opened)
		if m.failed = m.load(ctx); m.failed == nil {
			m.done.Go(m.write)
		}
	})
	return m.failed
}

// Destruct writes what is left, when the last configuration ends.
func (m *keyMemory) Destruct() error {
	close(m.stop)
	m.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	return m.flush(ctx)
}

// Take implements ra.Keys.
func (m *keyMemory) Take(ctx context.Context, spki [sha256.Size]byte) (*policy.KeyHolder, func(*policy.KeyHolder), error) {
	select {
	case <-m.opened: // the sites may start before the app
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if m.failed != nil {
		return nil, nil, m.failed
	}
	id := keyID(spki)
	for {
		m.mu.Lock()
		other, busy := m.turns[id]
		if !busy {
			turn := make(chan struct{})
			m.turns[id] = turn
			held, known := m.held[id]
			m.mu.Unlock()
			var holder *policy.KeyHolder
			if known {
				holder = held.holder()
			}
			return holder, func(certified *policy.KeyHolder) { m.end(id, turn, certified) }, nil
		}
		m.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

// end ends the turn of a key.
func (m *keyMemory) end(id keyID, turn chan struct{}, certified *policy.KeyHolder) {
	m.mu.Lock()
	delete(m.turns, id)
	if certified != nil {
		m.remember(id, *certified)
	}
	m.mu.Unlock()
	close(turn)
	if certified != nil {
		select {
		case m.wake <- struct{}{}:
		default: // it has been told
		}
	}
}

// remember puts a key into the last segment. m.mu is held.
func (m *keyMemory) remember(id keyID, holder policy.KeyHolder) {
	if len(m.segments) == 0 || m.last().text == nil || m.last().count >= segmentKeys {
		m.begin()
	}
	segment := m.last()
	held := holding(holder, segment.number)
	segment.text = appendKey(segment.text, id, held)
	segment.dirty = true
	segment.count++
	m.count++
	m.held[id] = held
}

func (m *keyMemory) last() *keySegment { return m.segments[len(m.segments)-1] }

// begin begins a segment. m.mu is held.
func (m *keyMemory) begin() {
	m.segments = append(m.segments, &keySegment{name: segmentName(), number: m.next, text: []byte(keysHead)})
	m.next++
}

// segmentName sorts by time. Servers that share a storage write different
// segments.
func segmentName() string {
	var random [4]byte
	_, _ = rand.Read(random[:]) // never fails
	return path.Join(keysFolder, fmt.Sprintf("%016x-%s.txt", time.Now().UnixNano(), hex.EncodeToString(random[:])))
}

// write writes what is new, and not too often.
func (m *keyMemory) write() {
	for {
		select {
		case <-m.stop:
			return
		case <-m.wake:
		}
		select {
		case <-m.stop:
			return
		case <-time.After(m.every):
		}
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		if m.flush(ctx) != nil {
			select {
			case m.wake <- struct{}{}:
			default:
			}
		}
		m.forget(ctx)
		cancel()
	}
}

// flush writes every segment that has something new.
func (m *keyMemory) flush(ctx context.Context) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	m.mu.Lock()
	storage := m.storage
	var dirty []keySegment // copies: the text is only appended to
	for _, s := range m.segments {
		if s.dirty {
			s.dirty = false
			dirty = append(dirty, *s)
		}
	}
	m.mu.Unlock()
	var failed error
	for _, s := range dirty {
		err := storage.Store(ctx, s.name, s.text)
		m.written(s, err)
		failed = errors.Join(failed, err)
	}
	if len(dirty) > 0 {
		m.report(failed)
	}
	return failed
}

func (m *keyMemory) written(s keySegment, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.segments, func(now *keySegment) bool { return now.number == s.number })
	if i < 0 {
		return // forgotten meanwhile
	}
	now := m.segments[i]
	if err != nil {
		now.dirty = true
	} else if now.count >= segmentKeys && !now.dirty {
		now.text = nil
	}
}

// report logs the first failure to write, and that it is over.
func (m *keyMemory) report(failed error) {
	m.mu.Lock()
	was := m.ill
	m.ill = failed != nil
	log := m.log
	m.mu.Unlock()
	switch {
	case failed != nil && !was:
		log.Error("the keys that were certified can't be written; a restart would forget them", zap.Error(failed))
	case failed == nil && was:
		log.Info("the keys that were certified are written again")
	}
}

// forget lets go of the oldest segments beyond the bound.
func (m *keyMemory) forget(ctx context.Context) {
	for {
		m.mu.Lock()
		if m.count <= m.most || len(m.segments) < 2 {
			m.mu.Unlock()
			return
		}
		oldest, storage, log := m.segments[0], m.storage, m.log
		m.segments = m.segments[1:]
		m.count -= oldest.count
		text := oldest.text
		m.mu.Unlock()
		if text == nil {
			var err error
			if text, err = storage.Load(ctx, oldest.name); err != nil {
				log.Error("the oldest keys can't be read: they stay until a restart", zap.String("segment", oldest.name), zap.Error(err))
			}
		}
		m.drop(text, oldest)
		if err := storage.Delete(ctx, oldest.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("the oldest keys can't be deleted", zap.String("segment", oldest.name), zap.Error(err))
		}
		log.Warn("there are too many keys: the oldest are forgotten", zap.Int("keys", oldest.count), zap.Int("most", m.most))
	}
}

// drop takes the keys of a segment out of memory, but for those that a later
// segment has as well.
func (m *keyMemory) drop(text []byte, of *keySegment) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_ = readSegment(text, func(id keyID, _ heldKey) { // what can't be read isn't in memory
		if m.held[id].segment == of.number {
			delete(m.held, id)
		}
	})
}

var _ ra.Keys = (*keyMemory)(nil)
