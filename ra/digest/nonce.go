// SPDX-License-Identifier: Apache-2.0

package digest

import (
	"container/list"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"sync"
	"time"
)

const (
	// nonceLife is how long a nonce is good: long enough for a device that makes
	// a key after the challenge.
	nonceLife = 5 * time.Minute
	// noncesKept bounds the memory. Nobody without a password gets anything
	// into it.
	noncesKept = 1 << 14

	timeBytes, randomBytes, macBytes = 8, 12, 16
	nonceBytes                       = timeBytes + randomBytes + macBytes
	// countWindow is how many counts below the highest may still come: over
	// HTTP/2 requests overtake each other.
	countWindow = 64
)

// nonces makes nonces and keeps which counts of them were used. A nonce is its
// time, random bytes and an HMAC, so that those that nobody has answered take
// no memory.
type nonces struct {
	key  []byte
	rand io.Reader

	mu    sync.Mutex
	kept  map[string]*list.Element // of *used, by nonce
	order list.List                // first used first
	// floor: nonces that were made before it aren't good any more. So one that
	// is forgotten for want of room can't be used again.
	floor time.Time
}

// used is a nonce with the counts that it came with.
type used struct {
	nonce   string
	made    time.Time
	highest uint32
	seen    uint64 // bit i: highest-i came
}

func newNonces(rand io.Reader) (*nonces, error) {
	key := make([]byte, sha256.Size)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, err
	}
	return &nonces{key: key, rand: rand, kept: map[string]*list.Element{}}, nil
}

// make gives a new nonce.
func (n *nonces) make(now time.Time) (string, error) {
	var b [nonceBytes]byte
	binary.BigEndian.PutUint64(b[:], uint64(now.UnixNano()))
	if _, err := io.ReadFull(n.rand, b[timeBytes:timeBytes+randomBytes]); err != nil {
		return "", err
	}
	copy(b[timeBytes+randomBytes:], n.mac(b[:timeBytes+randomBytes]))
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

func (n *nonces) mac(b []byte) []byte {
	mac := hmac.New(sha256.New, n.key)
	mac.Write(b)
	return mac.Sum(nil)[:macBytes]
}

// madeAt tells when we made a nonce; false when it isn't ours, or is too old.
func (n *nonces) madeAt(nonce string, now time.Time) (time.Time, bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(nonce)
	if err != nil || len(b) != nonceBytes || !hmac.Equal(b[timeBytes+randomBytes:], n.mac(b[:timeBytes+randomBytes])) {
		return time.Time{}, false
	}
	made := time.Unix(0, int64(binary.BigEndian.Uint64(b))) //nolint:gosec // as it was made
	age := now.Sub(made)
	return made, age < nonceLife && age > -nonceLife // a clock may be set back
}

// use takes a count of a nonce of madeAt. Each one is taken once.
func (n *nonces) use(nonce string, count uint32, made, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if made.Before(n.floor) {
		return false
	}
	if e, ok := n.kept[nonce]; ok {
		return e.Value.(*used).take(count)
	}
	for e := n.order.Front(); e != nil; e = n.order.Front() {
		old := e.Value.(*used)
		if now.Sub(old.made) < nonceLife {
			if n.order.Len() < noncesKept {
				break
			}
			if floor := old.made.Add(1); floor.After(n.floor) {
				n.floor = floor
			}
		}
		delete(n.kept, old.nonce)
		n.order.Remove(e)
	}
	if made.Before(n.floor) {
		return false
	}
	n.kept[nonce] = n.order.PushBack(&used{nonce: nonce, made: made, highest: count, seen: 1})
	return true
}

func (u *used) take(count uint32) bool {
	if count > u.highest {
		u.seen = u.seen<<min(count-u.highest, countWindow) | 1
		u.highest = count
		return true
	}
	back := u.highest - count
	if back >= countWindow || u.seen&(1<<back) != 0 {
		return false
	}
	u.seen |= 1 << back
	return true
}
