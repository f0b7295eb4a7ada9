// SPDX-License-Identifier: Apache-2.0

package anchor

import (
	"encoding/binary"
	"testing"
)

func TestMemoryForgetsWhatWasUsedLongestAgo(t *testing.T) {
	var m memory[[]chain]
	nth := func(n int) (k key) {
		binary.BigEndian.PutUint64(k[:], uint64(n))
		return k
	}
	for n := range memorySize {
		m.put(nth(n), []chain{{}})
	}
	m.get(nth(0))
	m.put(nth(memorySize), []chain{{}})
	if len(m.entries) != memorySize || m.recent.Len() != memorySize {
		t.Errorf("%d entries in the map and %d in the list, want %d", len(m.entries), m.recent.Len(), memorySize)
	}
	if m.get(nth(0)) == nil {
		t.Error("the entry just used is gone")
	}
	if m.get(nth(1)) != nil {
		t.Error("the entry used longest ago is still there")
	}
	m.put(nth(2), []chain{{}, {}})
	if got := m.get(nth(2)); len(got) != 2 || m.recent.Len() != memorySize {
		t.Errorf("putting again: %d chains, %d entries", len(got), m.recent.Len())
	}
}
