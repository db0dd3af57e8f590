// SPDX-License-Identifier: Apache-2.0

// Package scheduler turns weighted backends into the slot tables from which
// the program picks: pure functions, the same result on every router.
package scheduler

import (
	"hash/fnv"
	"math"
	"slices"
	"strings"
)

// MaxSlots bounds a round-robin table. Longer cycles are approximated.
const MaxSlots = 65536

// Backend is what a table is made from.
type Backend struct {
	ID     uint32 // what the slots hold
	Key    string // identity across routers and restarts, "address:port"
	Weight uint16 // 0: no slots
}

// RoundRobin returns one cycle of smooth weighted round robin (as nginx
// spreads it): over its Σweights/gcd slots each backend has weight/gcd, as far
// apart as they go. A cycle longer than MaxSlots is scaled down, each backend
// keeping at least one slot.
func RoundRobin(backends []Backend) []uint32 {
	backends = usable(backends)
	shares, total := shares(backends)
	table := make([]uint32, 0, total)
	credit := make([]int, len(backends))
	for range total {
		best := 0
		for i, share := range shares {
			credit[i] += share
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= total
		table = append(table, backends[best].ID)
	}
	return table
}

// shares are the weights divided by their greatest common divisor, and scaled
// when their sum passes MaxSlots.
func shares(backends []Backend) (shares []int, total int) {
	var divisor int
	for _, b := range backends {
		divisor = gcd(divisor, int(b.Weight))
		total += int(b.Weight)
	}
	if total == 0 {
		return nil, 0
	}
	scale := max(float64(divisor), float64(total)/MaxSlots)
	total = 0
	for _, b := range backends {
		share := max(1, int(math.Round(float64(b.Weight)/scale)))
		shares = append(shares, share)
		total += share
	}
	return shares, total
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// LeastConn lists the backends that take connections; the program compares
// their open connections itself.
func LeastConn(backends []Backend) []uint32 {
	var table []uint32
	for _, b := range usable(backends) {
		table = append(table, b.ID)
	}
	return table
}

// usable drops weight 0 and sorts by Key, so that tables do not depend on the
// order in which a source lists its backends.
func usable(backends []Backend) []Backend {
	backends = slices.DeleteFunc(slices.Clone(backends), func(b Backend) bool { return b.Weight == 0 })
	slices.SortFunc(backends, func(a, b Backend) int { return strings.Compare(a.Key, b.Key) })
	return backends
}

// sizes of Maglev tables: primes, so that every skip visits every slot.
var sizes = []int{251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071}

// perBackend slots keep backends' shares within a few percent of each other
// (Maglev, NSDI 2016, §5.3).
const perBackend = 100

// Maglev returns a consistent-hashing table (Eisenbud et al., NSDI 2016,
// §3.4): few slots move when a backend comes or goes. Weights give a backend
// that many turns in proportion. The algorithms maglev and source share it:
// they differ in what the program hashes. Backends of weight 0 count for the
// table's size: one that fails must not change it, which would move nearly
// every slot.
func Maglev(backends []Backend) []uint32 {
	room := perBackend * len(backends)
	backends = usable(backends)
	if len(backends) == 0 {
		return nil
	}
	size := sizes[len(sizes)-1]
	for _, s := range sizes {
		if s >= room {
			size = s
			break
		}
	}
	return fill(backends, size)
}

func fill(backends []Backend, size int) []uint32 {
	heaviest := 0.0
	at, skip := make([]int, len(backends)), make([]int, len(backends))
	for i, b := range backends {
		heaviest = max(heaviest, float64(b.Weight))
		at[i] = int(hash("offset", b.Key) % uint64(size))
		skip[i] = int(hash("skip", b.Key)%uint64(size-1)) + 1
	}
	table, credit := make([]uint32, size), make([]float64, len(backends))
	for filled := 0; ; {
		for i, b := range backends {
			// A backend has a turn each time its weight's share adds up to one.
			if credit[i] += float64(b.Weight) / heaviest; credit[i] < 1 {
				continue
			}
			credit[i]--
			for table[at[i]] != 0 {
				at[i] = (at[i] + skip[i]) % size
			}
			table[at[i]] = b.ID
			if filled++; filled == size {
				return table
			}
		}
	}
}

// hash is FNV-1a with a finaliser: stable across processes and releases, as a
// fleet's tables must be equal.
func hash(role, key string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(role + "\x00" + key))
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	return x ^ x>>33
}
