// SPDX-License-Identifier: Apache-2.0

package module

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"go.uber.org/zap"
)

// load reads every segment, the oldest first, so that what a later one says of
// a key counts.
func (m *keyMemory) load(ctx context.Context) error {
	names, err := m.storage.List(ctx, keysFolder, false)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the keys that were certified: %w", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return path.Ext(name) != ".txt" }) // what a broken write left
	slices.Sort(names)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		src, err := m.storage.Load(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // another server has merged it
		}
		if err != nil {
			return fmt.Errorf("reading the keys that were certified: %s: %w", name, err)
		}
		segment := &keySegment{name: name, number: m.next}
		m.next++
		err = readSegment(src, func(id keyID, held heldKey) {
			held.segment = segment.number
			m.held[id] = held
			segment.count++
		})
		if err != nil {
			m.log.Error("some of the keys that were certified can't be read", zap.String("segment", name), zap.Error(err))
		}
		m.segments = append(m.segments, segment)
		m.count += segment.count
	}
	m.merge(ctx)
	return nil
}

// merge writes small segments as one: each start begins one. Nothing is lost
// when it is broken off: a key may then stand in two. m.mu is held.
func (m *keyMemory) merge(ctx context.Context) {
	small := slices.DeleteFunc(slices.Clone(m.segments), func(s *keySegment) bool { return s.count > segmentKeys/2 || s.count == 0 })
	if len(small) <= mostSmall {
		return
	}
	numbers := make(map[uint32]bool, len(small))
	for _, s := range small {
		numbers[s.number] = true
	}
	before := m.segments
	m.segments = slices.DeleteFunc(slices.Clone(before), func(s *keySegment) bool { return numbers[s.number] })
	for _, s := range small {
		m.count -= s.count
	}
	kept := len(m.segments)
	for id, held := range m.held {
		if numbers[held.segment] {
			m.remember(id, *held.holder())
		}
	}
	for _, s := range m.segments[kept:] {
		if err := m.storage.Store(ctx, s.name, s.text); err != nil {
			m.log.Warn("small segments of keys can't be merged", zap.Error(err))
			return // the new ones stay to be written, and the old ones to be merged
		}
		s.dirty = false
	}
	for _, s := range small {
		if err := m.storage.Delete(ctx, s.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			m.log.Warn("a segment of keys that was merged can't be deleted", zap.String("segment", s.name), zap.Error(err))
		}
	}
}
