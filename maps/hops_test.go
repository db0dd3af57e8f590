// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
)

// TestFreeHops: a next hop towards clients is freed when two sweeps in a row
// found no connection that names it, and no sooner.
func TestFreeHops(t *testing.T) {
	spec, err := bpf.LoadLB()
	if err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	tables, err := New(coll.Maps)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name string, key, value any) {
		t.Helper()
		if err := coll.Maps[name].Put(key, value); err != nil {
			t.Fatal(err)
		}
	}
	const named, idle = uint32(7), uint32(8)
	for _, hop := range []uint32{named, idle} {
		put(bpf.LBMapAdjacencies, hop, &bpf.LBAdjacency{State: uint32(bpf.LBAdjacencyStateADJACENCY_READY)})
	}
	put(bpf.LBMapServices, uint32(1), &bpf.LBService{Vip: address(netip.MustParseAddr("203.0.113.10")), Idle: 1000})
	now, err := nowTicks()
	if err != nil {
		t.Fatal(err)
	}
	var bucket bpf.LBBucket
	bucket.Ways[3] = bpf.LBConn{Service: 1, ClientAdjacency: named, State: uint8(bpf.LBConnStateCONN_UDP), Seen: now}
	put(bpf.LBMapConns, uint32(0), &bucket)

	last := Usage{}
	for sweep, want := range []int{2, 1} {
		usage, err := tables.Sweep()
		if err != nil {
			t.Fatal(err)
		}
		if err := tables.FreeHops(last, usage); err != nil {
			t.Fatal(err)
		}
		var left []uint32
		if err := tables.eachClientHop(func(hop uint32) { left = append(left, hop) }); err != nil {
			t.Fatal(err)
		}
		if len(left) != want || left[0] != named {
			t.Errorf("after sweep %d: hops %v are left", sweep, left)
		}
		last = usage
	}
}
