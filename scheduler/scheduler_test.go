// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func pool(weights ...uint16) (backends []Backend) {
	for i, w := range weights {
		backends = append(backends, Backend{uint32(i + 1), fmt.Sprintf("10.0.0.%d:80", i+1), w})
	}
	return backends
}

func count(table []uint32) map[uint32]int {
	counts := map[uint32]int{}
	for _, id := range table {
		counts[id]++
	}
	return counts
}

func TestRoundRobin(t *testing.T) {
	for _, c := range []struct {
		weights []uint16
		want    []uint32
	}{
		{nil, []uint32{}},
		{[]uint16{0, 0}, []uint32{}},
		{[]uint16{7}, []uint32{1}},
		{[]uint16{1, 1, 1}, []uint32{1, 2, 3}},
		{[]uint16{5, 1, 1}, []uint32{1, 1, 2, 1, 3, 1, 1}},
		{[]uint16{20, 0, 10}, []uint32{1, 3, 1}},
	} {
		if got := RoundRobin(pool(c.weights...)); !slices.Equal(got, c.want) {
			t.Errorf("weights %v: %v, want %v", c.weights, got, c.want)
		}
	}
}

// TestRoundRobinExact counts a cycle of coprime weights.
func TestRoundRobinExact(t *testing.T) {
	backends := pool(300, 7, 64, 1)
	counts := count(RoundRobin(backends))
	for _, b := range backends {
		if counts[b.ID] != int(b.Weight) {
			t.Errorf("backend %d: %d slots a cycle, want %d", b.ID, counts[b.ID], b.Weight)
		}
	}
}

// TestRoundRobinScaled has weights whose cycle is longer than a table.
func TestRoundRobinScaled(t *testing.T) {
	backends := pool(65535, 65534, 1, 40000)
	table := RoundRobin(backends)
	if len(table) > MaxSlots+len(backends) {
		t.Errorf("%d slots", len(table))
	}
	counts := count(table)
	for _, b := range backends {
		share := float64(b.Weight) / 171070
		if got := float64(counts[b.ID]) / float64(len(table)); math.Abs(got-share) > 1e-4 || counts[b.ID] == 0 {
			t.Errorf("backend %d: share %.5f, want %.5f", b.ID, got, share)
		}
	}
}

func TestLeastConn(t *testing.T) {
	if got := LeastConn(pool(1, 0, 9)); !slices.Equal(got, []uint32{1, 3}) {
		t.Errorf("got %v", got)
	}
}

// TestMaglevBalance: equal weights differ little, others keep their ratio.
func TestMaglevBalance(t *testing.T) {
	for _, weights := range [][]uint16{{1}, {1, 1, 1}, {1, 2, 3, 4}, {100, 1}, slices.Repeat([]uint16{3}, 200)} {
		backends := pool(weights...)
		table, sum := Maglev(backends), 0
		for _, w := range weights {
			sum += int(w)
		}
		counts := count(table)
		for _, b := range backends {
			want := float64(len(table)) * float64(b.Weight) / float64(sum)
			if got := float64(counts[b.ID]); math.Abs(got-want) > 1+want*0.02 {
				t.Errorf("weights %v: backend %d has %.0f of %d slots, want %.0f", weights, b.ID, got, len(table), want)
			}
		}
	}
}

// TestMaglevDisruption removes each of 20 backends in turn: on average little
// more than the removed one's slots move (paper, §5.3).
func TestMaglevDisruption(t *testing.T) {
	backends := pool(slices.Repeat([]uint16{1}, 20)...)
	before := Maglev(backends)
	var moved, own int
	for i := range backends {
		after := Maglev(slices.Delete(slices.Clone(backends), i, i+1))
		for slot := range before {
			if before[slot] == backends[i].ID {
				own++
			} else if before[slot] != after[slot] {
				moved++
			}
		}
	}
	if share := float64(moved) / float64(len(backends)*len(before)-own); share > 0.05 {
		t.Errorf("%.1f %% of the other backends' slots moved", 100*share)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	backends := pool(3, 1, 4, 1, 5)
	reversed := slices.Clone(backends)
	slices.Reverse(reversed)
	for name, table := range map[string]func([]Backend) []uint32{"maglev": Maglev, "round robin": RoundRobin, "leastconn": LeastConn} {
		if !slices.Equal(table(backends), table(reversed)) {
			t.Errorf("%s depends on the order of its input", name)
		}
	}
}
