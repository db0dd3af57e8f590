// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"bytes"
	"testing"
	"time"
)

// chosen opens a connection and returns the number of the backend it went to.
func (h *hook) chosen(t *testing.T, f family, port uint16) int {
	t.Helper()
	_, out := h.run(t, segment{f.client, f.vip, port, 80, synFlag, 1, 0}.tcp(64))
	for i, backend := range f.backends {
		if bytes.Equal(out[14:], segment{f.client, backend, port, 8080, synFlag, 1, 0}.tcp(63)[14:]) {
			return i + 1
		}
	}
	t.Fatalf("port %d went to no backend: %x", port, out)
	return 0
}

func (h *hook) algorithm(t *testing.T, f family, algorithm LBAlgorithm) {
	h.put(t, LBMapServices, uint32(1), LBService{
		Vip: as16(f.vip), Slots: 2, Algorithm: algorithm, Idle: 10000, HalfOpen: 100, Closing: 100,
	})
}

// TestSource: one client, whatever its port, always has the same backend.
func TestSource(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		h.algorithm(t, f, LBAlgorithmALGORITHM_SOURCE)
		first := h.chosen(t, f, 7000)
		for port := uint16(7001); port < 7010; port++ {
			if got := h.chosen(t, f, port); got != first {
				t.Errorf("port %d: backend %d, before it %d", port, got, first)
			}
		}
	})
}

// TestMaglev: ports of one client spread over both backends.
func TestMaglev(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		h.algorithm(t, f, LBAlgorithmALGORITHM_MAGLEV)
		counts := map[int]int{}
		for port := uint16(7000); port < 7200; port++ {
			counts[h.chosen(t, f, port)]++
		}
		if counts[1] < 60 || counts[2] < 60 {
			t.Errorf("200 connections spread %v", counts)
		}
	})
}

// TestLeastConn: a backend that already has connections waits for the other.
func TestLeastConn(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		h.algorithm(t, f, LBAlgorithmALGORITHM_LEASTCONN)
		h.put(t, LBMapActive, uint32(1), uint64(5))
		for port := uint16(7000); port < 7005; port++ {
			if got := h.chosen(t, f, port); got != 2 {
				t.Errorf("port %d: backend %d, want the one with fewer connections", port, got)
			}
		}
		counts := map[int]int{}
		for port := uint16(7005); port < 7015; port++ {
			counts[h.chosen(t, f, port)]++
		}
		if counts[1] != 5 || counts[2] != 5 {
			t.Errorf("equal backends took %v of 10", counts)
		}
	})
}

// TestPortOrder: an exact port wins over a range, a range over any port; the
// range's service refuses this client, any port's has no backend.
func TestPortOrder(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		for id := uint32(2); id <= 3; id++ {
			h.put(t, LBMapServices, id, LBService{Vip: as16(f.vip), Idle: 100, HalfOpen: 100, Closing: 100})
		}
		h.put(t, LBMapAllow, LBAllowKey{Prefixlen: 32 + 128, Service: 3, Client: as16(f.client)}, uint32(1))
		// Ports 64–95 are one prefix of 11 bits; any port is one of none.
		h.put(t, LBMapPortRanges, LBPortPrefixKey{Prefixlen: 8*20 + 11, Vip: as16(f.vip), Protocol: 6, Port: [2]uint8{0, 64}}, uint32(2))
		h.put(t, LBMapPortRanges, LBPortPrefixKey{Prefixlen: 8 * 20, Vip: as16(f.vip), Protocol: 6}, uint32(3))
		for _, c := range []struct {
			port   uint16
			reason LBReason
		}{
			{80, LBReasonREASON_FORWARDED}, {81, LBReasonREASON_NOT_ALLOWED}, {64, LBReasonREASON_NOT_ALLOWED},
			{95, LBReasonREASON_NOT_ALLOWED}, {96, LBReasonREASON_NO_BACKEND}, {65535, LBReasonREASON_NO_BACKEND},
		} {
			before := h.reason(t, c.reason)
			h.run(t, segment{f.client, f.vip, 4000, c.port, synFlag, 1, 0}.tcp(64))
			if h.reason(t, c.reason) != before+1 {
				t.Errorf("port %d: not counted under %v", c.port, c.reason)
			}
		}
	})
}

// TestAffinity: a client stays with its backend over new connections, until
// that takes no more or the timeout passes; another client is not bound.
func TestAffinity(t *testing.T) {
	each(t, func(t *testing.T, h hook, f family) {
		affinity := func(ticks uint32) {
			h.put(t, LBMapServices, uint32(1), LBService{Vip: as16(f.vip), Slots: 2, Algorithm: LBAlgorithmALGORITHM_ROUNDROBIN,
				Idle: 10000, HalfOpen: 100, Closing: 100, Affinity: ticks})
		}
		affinity(10000)
		first := h.chosen(t, f, 7000)
		for port := uint16(7001); port < 7006; port++ {
			if got := h.chosen(t, f, port); got != first {
				t.Errorf("port %d: backend %d, before it %d", port, got, first)
			}
		}
		full := LBBackend{Address: as16(f.backends[first-1]), Port: be16(8080), Adjacency: uint32(LBLimitCLIENT_ADJACENCIES) + uint32(first), Service: 1}
		h.put(t, LBMapBackends, uint32(first), &full)
		other := 0
		for port := uint16(7010); other != 3-first && port < 7013; port++ {
			other = h.chosen(t, f, port) // round robin's slots still hold both
		}
		if other != 3-first {
			t.Fatalf("client stays with backend %d, which takes no connections", first)
		}
		if got := h.chosen(t, f, 7020); got != other {
			t.Errorf("client did not stay with backend %d", other)
		}
		affinity(1)
		counts := map[int]int{}
		for port := uint16(7030); port < 7032; port++ {
			time.Sleep(2<<LBLimitTICK_SHIFT + 50*time.Millisecond) // more than the one tick
			counts[h.chosen(t, f, port)]++
		}
		if counts[1] != 1 || counts[2] != 1 {
			t.Errorf("after the timeout round robin gave %v", counts)
		}
	})
}
