// SPDX-License-Identifier: Apache-2.0

// Package maps gives typed access to the BPF maps. It is the only place that
// knows their byte order, ids and padding. It starts no goroutine; a Tables
// may be written by one goroutine at a time.
package maps

import (
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

// FirstAdjacency is the lowest index that Go may write; lower ones belong to
// the program, which learns next hops towards clients there.
const FirstAdjacency = 1024

// Tables writes the maps of one loaded set of programs.
type Tables struct {
	byName map[string]*ebpf.Map
}

// New returns Tables over the maps of a loaded collection, by their C names.
func New(byName map[string]*ebpf.Map) *Tables { return &Tables{byName} }

// Adjacency is a next hop towards a backend. Without a Destination the
// program on tc asks the kernel's neighbour table for NextHop.
type Adjacency struct {
	Ifindex     int
	MTU         int // bytes
	Source      net.HardwareAddr
	Destination net.HardwareAddr
	NextHop     netip.Addr
}

// PutAdjacency writes the next hop with this index (FirstAdjacency or more).
func (t *Tables) PutAdjacency(index uint32, a Adjacency) error {
	value := bpf.LBAdjacency{
		Ifindex: uint32(a.Ifindex),
		Mtu:     uint32(a.MTU),
		State:   uint32(bpf.LBAdjacencyStateADJACENCY_UNRESOLVED),
		NextHop: address(a.NextHop),
	}
	if len(a.Destination) > 0 {
		value.State = uint32(bpf.LBAdjacencyStateADJACENCY_READY)
		copy(value.Destination[:], a.Destination)
		copy(value.Source[:], a.Source)
	}
	return t.put(bpf.LBMapAdjacencies, index, &value)
}

// PutBackend writes a backend under its id, reached over an adjacency.
func (t *Tables) PutBackend(id uint32, b lb.Backend, adjacency uint32) error {
	if err := t.put(bpf.LBMapBackends, id, &bpf.LBBackend{
		Address: address(b.Address), Port: networkOrder(b.Port), Weight: b.Weight, Adjacency: adjacency,
	}); err != nil {
		return err
	}
	return t.addRole(b.Address, bpf.LBRoleROLE_BACKEND)
}

// PutService publishes a service under its id: first who may use it and its
// slot table of backend ids, at firstSlot, then the entry that makes it found.
func (t *Tables) PutService(id uint32, s *lb.Service, firstSlot uint32, slots []uint32) error {
	for i, backend := range slots {
		if err := t.put(bpf.LBMapSlots, firstSlot+uint32(i), backend); err != nil {
			return err
		}
	}
	for _, prefix := range s.Allow {
		if err := t.put(bpf.LBMapAllow, allowKey(id, prefix), uint32(1)); err != nil {
			return err
		}
	}
	if err := t.put(bpf.LBMapServices, id, &bpf.LBService{
		Vip: address(s.Address), FirstSlot: firstSlot, Slots: uint32(len(slots)), Algorithm: algorithms[s.Algorithm],
		Idle: ticks(s.Timeouts.Idle), HalfOpen: ticks(s.Timeouts.HalfOpen), Closing: ticks(s.Timeouts.Closing),
	}); err != nil {
		return err
	}
	if err := t.putPorts(id, s); err != nil {
		return err
	}
	return t.addRole(s.Address, bpf.LBRoleROLE_VIP)
}

func (t *Tables) putPorts(id uint32, s *lb.Service) error {
	if s.Ports.First == s.Ports.Last {
		return t.put(bpf.LBMapExactPorts, &bpf.LBServiceKey{
			Vip: address(s.Address), Port: networkOrder(s.Ports.First), Protocol: protocols[s.Protocol],
		}, id)
	}
	for _, p := range portPrefixes(s.Ports) {
		key := bpf.LBPortPrefixKey{
			Prefixlen: portPrefixBits + p.bits, Vip: address(s.Address), Protocol: protocols[s.Protocol],
			Port: [2]uint8{uint8(p.port >> 8), uint8(p.port)},
		}
		if err := t.put(bpf.LBMapPortRanges, &key, id); err != nil {
			return err
		}
	}
	return nil
}

// Reasons returns the packets counted under each reason, all CPUs together.
func (t *Tables) Reasons() (map[bpf.LBReason]uint64, error) {
	sums := map[bpf.LBReason]uint64{}
	for reason := range bpf.LBReasonREASON_COUNT {
		var perCPU []bpf.LBCounter
		if err := t.byName[bpf.LBMapReasonCounters].Lookup(reason, &perCPU); err != nil {
			return nil, fmt.Errorf("read counter %d: %w", reason, err)
		}
		for _, c := range perCPU {
			sums[reason] += c.Packets
		}
	}
	return sums, nil
}

// addRole adds to what an address already is: a backend may hold a VIP too.
func (t *Tables) addRole(a netip.Addr, role bpf.LBRole) error {
	var held bpf.LBRole
	key := address(a)
	// An absent key reads as no role, which is what an absent key means.
	_ = t.byName[bpf.LBMapRoles].Lookup(&key, &held)
	return t.put(bpf.LBMapRoles, &key, held|role)
}

func (t *Tables) put(name string, key, value any) error {
	if err := t.byName[name].Put(key, value); err != nil {
		return fmt.Errorf("write map %s: %w", name, err)
	}
	return nil
}

var algorithms = map[lb.Algorithm]bpf.LBAlgorithm{
	lb.RoundRobin: bpf.LBAlgorithmALGORITHM_ROUNDROBIN,
	lb.Source:     bpf.LBAlgorithmALGORITHM_SOURCE,
	lb.Maglev:     bpf.LBAlgorithmALGORITHM_MAGLEV,
	lb.LeastConn:  bpf.LBAlgorithmALGORITHM_LEASTCONN,
}

// protocols are IANA's numbers.
var protocols = map[lb.Protocol]uint8{lb.TCP: 6, lb.UDP: 17}

func networkOrder(port uint16) uint16 { return bits.ReverseBytes16(port) }

// ticks rounds up to the program's unit of 2^28 ns.
func ticks(d time.Duration) uint32 { return uint32((d + 1<<28 - 1) >> 28) }

// portPrefixBits is PORT_PREFIX_BITS of bpf/abi.h: protocol, padding, address.
const portPrefixBits = 8 * (1 + 3 + 16)

// portPrefix is a block of ports that share their first bits.
type portPrefix struct {
	port uint16
	bits uint32
}

// portPrefixes splits a range into the fewest prefixes that cover exactly it.
func portPrefixes(r lb.PortRange) []portPrefix {
	var prefixes []portPrefix
	for first, last := uint32(r.First), uint32(r.Last); first <= last; {
		size := uint32(1)
		for first&size == 0 && size <= 1<<15 && first+2*size-1 <= last {
			size *= 2
		}
		prefixes = append(prefixes, portPrefix{uint16(first), uint32(16 - bits.TrailingZeros32(size))})
		first += size
	}
	return prefixes
}
