// SPDX-License-Identifier: Apache-2.0

package anchor

import "time"

// Remembered is how many chains a set remembers.
func (s *Set) Remembered() int {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return s.memory.recent.Len()
}

// Uppers is how many uppers a set remembers.
func (s *Set) Uppers() int {
	s.uppers.mu.Lock()
	defer s.uppers.mu.Unlock()
	return s.uppers.recent.Len()
}

// At sets the clock of a source of files.
func (f *Files) At(now func() time.Time) { f.now = now }

// Idle tells that no reading is under way.
func (l *List) Idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flight == nil
}
