// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"slices"
)

// ErrNoRoom says that the maps are too small for the desired state, of which
// nothing has been written.
var ErrNoRoom = errors.New("no room")

// ids gives each key an id of first..limit-1 and keeps it until forgotten,
// also over a plan that failed: what was written under it stays true.
type ids[K comparable] struct {
	what  string
	limit uint32
	next  uint32
	byKey map[K]uint32
	taken map[uint32]bool
	freed []uint32
}

func newIDs[K comparable](what string, first, limit uint32) *ids[K] {
	return &ids[K]{what: what, limit: limit, next: first, byKey: map[K]uint32{}, taken: map[uint32]bool{}}
}

// of returns the key's id.
func (s *ids[K]) of(key K) (uint32, error) {
	if id, ok := s.byKey[key]; ok {
		return id, nil
	}
	if n := len(s.freed); n > 0 {
		id := s.freed[n-1]
		s.freed = s.freed[:n-1]
		s.set(key, id)
		return id, nil
	}
	for ; s.next < s.limit; s.next++ {
		if !s.taken[s.next] {
			s.set(key, s.next)
			return s.byKey[key], nil
		}
	}
	return 0, fmt.Errorf("%w for another %s: all %d ids are in use", ErrNoRoom, s.what, len(s.taken))
}

// set restores an id that an earlier daemon gave.
func (s *ids[K]) set(key K, id uint32) {
	s.byKey[key] = id
	s.taken[id] = true
}

func (s *ids[K]) forget(key K) {
	if id, ok := s.byKey[key]; ok {
		delete(s.byKey, key)
		delete(s.taken, id)
		s.freed = append(s.freed, id)
	}
}

// extent is a run of slots.
type extent struct{ first, count uint32 }

// extents hands out runs of slots, first fit. Freed runs are joined, and are
// given out only after settle: a packet may still be reading an old table.
type extents struct {
	free     []extent
	released []extent
}

func newExtents(first, limit uint32) *extents {
	return &extents{free: []extent{{first, limit - first}}}
}

func (e *extents) take(count uint32) (uint32, error) {
	for i := range e.free {
		if run := &e.free[i]; run.count >= count {
			first := run.first
			run.first += count
			run.count -= count
			return first, nil
		}
	}
	return 0, fmt.Errorf("%w for a table of %d slots", ErrNoRoom, count)
}

// mark takes a run that an earlier daemon gave out.
func (e *extents) mark(first, count uint32) {
	for i, run := range e.free {
		if first >= run.first && first+count <= run.first+run.count {
			rest := []extent{{run.first, first - run.first}, {first + count, run.first + run.count - first - count}}
			e.free = slices.Replace(e.free, i, i+1, rest...)
			return
		}
	}
}

func (e *extents) release(first, count uint32) {
	if count > 0 {
		e.released = append(e.released, extent{first, count})
	}
}

// settle makes what was released before the last reconciliation free.
func (e *extents) settle() {
	all := append(e.free, e.released...)
	e.released = nil
	slices.SortFunc(all, func(a, b extent) int { return int(int64(a.first) - int64(b.first)) })
	e.free = nil
	for _, run := range all {
		switch last := len(e.free) - 1; {
		case run.count == 0:
		case last >= 0 && e.free[last].first+e.free[last].count == run.first:
			e.free[last].count += run.count
		default:
			e.free = append(e.free, run)
		}
	}
}
