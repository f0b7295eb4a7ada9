// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"container/list"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"hash"
	"slices"
	"sync"
	"time"
)

// memorySize bounds the chains that are remembered: some kilobytes each, and a
// busy site has one for each client certificate.
const memorySize = 4096

// A chain is leaf first, anchor last.
type chain = []*x509.Certificate

// A key holds all that a chain's signatures and constraints depend on.
type key [sha256.Size]byte

// memory keeps what was most recently used. The zero value is empty.
type memory[V any] struct {
	size int // 0: memorySize

	mu      sync.Mutex
	entries map[key]*list.Element
	recent  list.List // of *entry[V], the latest first
}

type entry[V any] struct {
	key   key
	value V
}

// get returns the zero value for what isn't remembered.
func (m *memory[V]) get(k key) (value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[k]
	if !ok {
		return value
	}
	m.recent.MoveToFront(e)
	return e.Value.(*entry[V]).value
}

func (m *memory[V]) put(k key, value V) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[k]; ok {
		e.Value.(*entry[V]).value = value
		m.recent.MoveToFront(e)
		return
	}
	if m.entries == nil {
		m.entries = make(map[key]*list.Element)
	}
	m.entries[k] = m.recent.PushFront(&entry[V]{key: k, value: value})
	size := m.size
	if size == 0 {
		size = memorySize
	}
	if m.recent.Len() <= size {
		return
	}
	oldest := m.recent.Back()
	m.recent.Remove(oldest)
	delete(m.entries, oldest.Value.(*entry[V]).key)
}

// validAt leaves out the chains that have a certificate which isn't valid at
// a time.
func validAt(chains []chain, at time.Time) []chain {
	var valid []chain
	for _, c := range chains {
		if !slices.ContainsFunc(c, func(cert *x509.Certificate) bool {
			return at.Before(cert.NotBefore) || at.After(cert.NotAfter)
		}) {
			valid = append(valid, c)
		}
	}
	return valid
}

// keyOf is the key of what an anchor says of lists of certificates.
func keyOf(a Anchor, lists ...[]*x509.Certificate) key {
	h := sha256.New()
	write(h, []byte(a.Name))
	anyEKU := []byte{0}
	if a.AnyEKU {
		anyEKU[0] = 1
	}
	write(h, anyEKU)
	for _, list := range lists {
		write(h, binary.BigEndian.AppendUint64(nil, uint64(len(list))))
		for _, c := range list {
			write(h, c.Raw)
		}
	}
	return key(h.Sum(nil))
}

func keyOfSignature(c, issuer *x509.Certificate) key {
	h := sha256.New()
	write(h, c.Raw)
	write(h, issuer.Raw)
	return key(h.Sum(nil))
}

// write puts the length first, so that no two inputs run into one another.
func write(h hash.Hash, b []byte) {
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
	h.Write(b)
}
