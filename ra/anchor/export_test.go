// SPDX-License-Identifier: Apache-2.0

package anchor

// Remembered is how many chains a set remembers.
func (s *Set) Remembered() int {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.memory.recent.Len()
}
