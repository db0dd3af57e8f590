// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"math"
	"slices"
	"testing"
)

// TestRoundRobinSmooth: from the cycle's start to any slot, a backend's slots
// differ from its share by no more than half the number of backends, so that
// no heavy backend comes in one burst.
func TestRoundRobinSmooth(t *testing.T) {
	for _, weights := range [][]uint16{{5, 1, 1}, {10, 9, 1}, {100, 50, 25, 1}, {7, 7, 7, 2}} {
		backends := pool(weights...)
		table := RoundRobin(backends)
		for _, b := range backends {
			share, seen := float64(b.Weight)/float64(sum(weights)), 0
			for i, id := range table {
				if id == b.ID {
					seen++
				}
				if drift := math.Abs(float64(seen) - share*float64(i+1)); drift > float64(len(backends))/2 {
					t.Errorf("weights %v: backend %d drifts %.1f slots by slot %d", weights, b.ID, drift, i)
				}
			}
		}
	}
}

// FuzzTables holds every algorithm to what no weights may break.
func FuzzTables(f *testing.F) {
	f.Add([]byte{1, 0, 2, 0})
	f.Add([]byte{255, 255, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		var weights []uint16
		for i := 0; i+1 < len(data) && len(weights) < 64; i += 2 {
			weights = append(weights, uint16(data[i])|uint16(data[i+1])<<8)
		}
		backends := pool(weights...)
		reversed := slices.Clone(backends)
		slices.Reverse(reversed)
		for name, build := range map[string]func([]Backend) []uint32{"round robin": RoundRobin, "maglev": Maglev, "leastconn": LeastConn} {
			table := build(backends)
			if !slices.Equal(table, build(reversed)) {
				t.Errorf("%s of %v depends on the order of its input", name, weights)
			}
			for _, id := range table {
				if id == 0 || int(id) > len(weights) || weights[id-1] == 0 {
					t.Fatalf("%s of %v: slot of backend %d", name, weights, id)
				}
			}
			if (len(table) == 0) != (sum(weights) == 0) {
				t.Errorf("%s of %v: %d slots", name, weights, len(table))
			}
		}
		checkCounts(t, weights)
	})
}

// checkCounts is the oracle of a cycle that needs no scaling: weight/gcd each.
func checkCounts(t *testing.T, weights []uint16) {
	divisor := 0
	for _, w := range weights {
		divisor = gcd(divisor, int(w))
	}
	if divisor == 0 || sum(weights)/divisor > MaxSlots {
		return
	}
	counts := count(RoundRobin(pool(weights...)))
	for i, w := range weights {
		if got := counts[uint32(i+1)]; got != int(w)/divisor {
			t.Errorf("weights %v: backend %d has %d slots, want %d", weights, i+1, got, int(w)/divisor)
		}
	}
}

func sum(weights []uint16) (total int) {
	for _, w := range weights {
		total += int(w)
	}
	return total
}

// TestMaglevKeepsSize takes each of 21 backends, one more than 2039 slots
// serve, to weight 0: the table stays as large, and on average few of the
// others' slots move. These keys have two backends whose skips clash, so it is
// 5 % where 2 % are usual; with another size it would be 95 %.
func TestMaglevKeepsSize(t *testing.T) {
	before := Maglev(pool(slices.Repeat([]uint16{1}, 21)...))
	moved, others := 0, 0
	for i := range 21 {
		weights := slices.Repeat([]uint16{1}, 21)
		weights[i] = 0
		after := Maglev(pool(weights...))
		if len(before) != len(after) {
			t.Fatalf("%d slots, then %d", len(before), len(after))
		}
		for slot, id := range before {
			if id == uint32(i+1) {
				continue
			}
			others++
			if id != after[slot] {
				moved++
			}
		}
	}
	if share := float64(moved) / float64(others); share > 0.1 {
		t.Errorf("%.1f %% of the other backends' slots moved", 100*share)
	}
}
