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

// memorySize bounds what is remembered: some kilobytes each, and a busy site has
// one chain for each client certificate.
const memorySize = 4096

// A chain is leaf first, anchor last.
type chain = []*x509.Certificate

// A key holds all that a chain's signatures and constraints depend on.
type key [sha256.Size]byte

// memory keeps the chains most recently used. The zero value is empty.
type memory struct {
	mu      sync.Mutex
	entries map[key]*list.Element
	recent  list.List // of *entry, the latest first
}

type entry struct {
	key    key
	chains []chain
}

func (m *memory) get(k key) []chain {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[k]
	if !ok {
		return nil
	}
	m.recent.MoveToFront(e)
	return e.Value.(*entry).chains
}

func (m *memory) put(k key, chains []chain) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries[k]; ok {
		e.Value.(*entry).chains = chains
		m.recent.MoveToFront(e)
		return
	}
	if m.entries == nil {
		m.entries = make(map[key]*list.Element)
	}
	m.entries[k] = m.recent.PushFront(&entry{key: k, chains: chains})
	if m.recent.Len() <= memorySize {
		return
	}
	oldest := m.recent.Back()
	m.recent.Remove(oldest)
	delete(m.entries, oldest.Value.(*entry).key)
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
