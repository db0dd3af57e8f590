// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

// FuzzConversions: what Go writes into keys and values it reads back.
func FuzzConversions(f *testing.F) {
	f.Add([]byte{10, 0, 0, 1}, uint8(32), uint16(80), int64(time.Hour))
	f.Add(make([]byte, 4), uint8(0), uint16(0), int64(1))
	f.Add(make([]byte, 16), uint8(0), uint16(65535), int64(lb.MaxTimeout))
	f.Add([]byte{15: 1}, uint8(128), uint16(256), int64(lb.MinTimeout))
	f.Add([]byte{8: 0, 10: 0xff, 15: 0}, uint8(95), uint16(1), int64(268435456))
	f.Fuzz(func(t *testing.T, raw []byte, length uint8, port uint16, timeout int64) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok || a.Is4In6() {
			return // validation lets no mapped address in
		}
		if got := addressOf(address(a)); got != a && a != netip.IPv6Unspecified() {
			t.Errorf("address %s: %s", a, got)
		}
		p := netip.PrefixFrom(a, int(length)%(a.BitLen()+1)).Masked()
		if !p.Addr().Is4In6() {
			key := allowKey(7, p)
			if got := prefixOf(key); got != p || key.Service != 7 {
				t.Errorf("prefix %s: %s", p, got)
			}
		}
		if got := networkOrder(networkOrder(port)); got != port {
			t.Errorf("port %d: %d", port, got)
		}
		d := time.Duration(timeout)
		if d < lb.MinTimeout || d > lb.MaxTimeout {
			return
		}
		if got := duration(ticks(d)); got < d || got-d >= 1<<bpf.LBLimitTICK_SHIFT || ticks(got) != ticks(d) {
			t.Errorf("timeout %s: %s", d, got)
		}
	})
}

// tables are fresh maps without programs.
func tables(t *testing.T) *Tables {
	t.Helper()
	spec, err := bpf.LoadLB()
	if err != nil {
		t.Fatal(err)
	}
	spec.Programs = nil
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	all, err := New(coll.Maps)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func randomAddress(random *rand.Rand, v6 bool) netip.Addr {
	raw := make([]byte, 4)
	if v6 {
		raw = make([]byte, 16)
	}
	for i := range raw {
		raw[i] = byte(random.Uint32())
	}
	a, _ := netip.AddrFromSlice(raw)
	return a
}

// TestRestore: what is written into the kernel's maps is what a daemon that
// restarts finds, for services of all kinds.
func TestRestore(t *testing.T) {
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	all := tables(t)
	want := Restored{map[uint32]RestoredService{}, map[uint32]RestoredBackend{}, map[lb.ServiceKey]uint32{}, map[uint32][]netip.Prefix{}, map[netip.Addr]bool{}}
	for i := range uint32(300) {
		id, v6 := 1+i*50, random.IntN(2) == 0
		s := lb.Service{Address: randomAddress(random, v6), Protocol: []lb.Protocol{lb.TCP, lb.UDP}[random.IntN(2)], Algorithm: lb.Maglev,
			Timeouts: lb.Timeouts{Idle: duration(1 + random.Uint32N(1<<20)), HalfOpen: duration(1), Closing: duration(ticks(lb.MaxTimeout))}}
		first := uint16(1 + random.Uint32N(65535))
		s.Ports = []lb.PortRange{{First: first, Last: first}, {First: first, Last: first + uint16(random.Uint32N(65536-uint32(first)))}, lb.AnyPort}[random.IntN(3)]
		table := Table{First: i * 10, IDs: make([]uint32, random.IntN(10))}
		check(all.PutTable(table))
		check(all.PutService(id, &s, table))
		want.Services[id] = RestoredService{s.Key(), s.Timeouts, table}
		if random.IntN(4) > 0 {
			check(all.Publish(s.Key(), id))
			want.Published[s.Key()] = id
		}
		b := lb.Backend{Address: randomAddress(random, v6), Port: uint16(random.Uint32()), Weight: 3}
		adjacency := FirstAdjacency + 1 + id
		check(all.PutAdjacency(adjacency, Adjacency{Ifindex: 3, MTU: 1500, NextHop: b.Address, Destination: net.HardwareAddr{2, 0, 0, 0, 0, 1}, Source: net.HardwareAddr{2, 0, 0, 0, 0, 2}}))
		check(all.PutBackend(id*8, id, b, adjacency))
		want.Backends[id*8] = RestoredBackend{id, b.AddrPort(), adjacency}
		for range random.IntN(5) {
			a := randomAddress(random, random.IntN(2) == 0)
			p := netip.PrefixFrom(a, random.IntN(a.BitLen()+1)).Masked()
			check(all.Allow(id, p))
			if !slices.Contains(want.Allowed[id], p) {
				want.Allowed[id] = append(want.Allowed[id], p)
			}
		}
		check(all.SetRole(s.Address, true, false))
		check(all.SetRole(b.Address, false, true))
		want.Roles[s.Address], want.Roles[b.Address] = true, true
	}
	got, err := all.Restore()
	check(err)
	for id := range want.Allowed {
		slices.SortFunc(want.Allowed[id], netip.Prefix.Compare)
		slices.SortFunc(got.Allowed[id], netip.Prefix.Compare)
	}
	for _, part := range []struct {
		name      string
		got, want any
	}{{"services", got.Services, want.Services}, {"backends", got.Backends, want.Backends}, {"published", got.Published, want.Published},
		{"allowed", got.Allowed, want.Allowed}, {"roles", got.Roles, want.Roles}} {
		if !reflect.DeepEqual(part.got, part.want) {
			t.Errorf("seed %d: %s:\n got %v\nwant %v", seed, part.name, part.got, part.want)
		}
	}
	for id, s := range want.Services {
		check(all.Unpublish(s.Key))
		check(all.DeleteService(id))
		check(all.DeleteBackend(id * 8))
		for _, p := range want.Allowed[id] {
			check(all.Disallow(id, p))
		}
	}
	for a := range want.Roles {
		check(all.SetRole(a, false, false))
	}
	if empty, err := all.Restore(); err != nil || len(empty.Services)+len(empty.Backends)+len(empty.Published)+len(empty.Allowed)+len(empty.Roles) != 0 {
		t.Errorf("after all is deleted: %+v, %v", empty, err)
	}
}
