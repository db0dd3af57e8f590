// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

// RestoredService is a service that an earlier daemon wrote.
type RestoredService struct {
	Key      lb.ServiceKey
	Timeouts lb.Timeouts // of the connections it has, rounded up to ticks
	Table    Table       // its slots are in use until it has another
}

// RestoredBackend is a backend that an earlier daemon wrote. Its port is 0
// where it follows the port that the client asked for.
type RestoredBackend struct {
	Service   uint32
	AddrPort  netip.AddrPort
	Adjacency uint32
}

// Restored is what pinned maps hold, by id.
type Restored struct {
	Services  map[uint32]RestoredService
	Backends  map[uint32]RestoredBackend
	Published map[lb.ServiceKey]uint32
	Allowed   map[uint32][]netip.Prefix
	Roles     map[netip.Addr]bool // every address that has one
}

// Restore reads the maps back, so that ids and connections outlive a daemon.
func (t *Tables) Restore() (*Restored, error) {
	r := &Restored{
		Services: map[uint32]RestoredService{}, Backends: map[uint32]RestoredBackend{},
		Published: map[lb.ServiceKey]uint32{}, Allowed: map[uint32][]netip.Prefix{}, Roles: map[netip.Addr]bool{},
	}
	err := t.eachService(func(id uint32, s *bpf.LBService) {
		r.Services[id] = RestoredService{
			Key: lb.ServiceKey{
				Address:  addressOf(s.Vip),
				Ports:    lb.PortRange{First: networkOrder(s.FirstPort), Last: networkOrder(s.LastPort)},
				Protocol: protocolOf(s.Protocol),
			},
			Timeouts: lb.Timeouts{Idle: duration(s.Idle), HalfOpen: duration(s.HalfOpen), Closing: duration(s.Closing)},
			Table:    Table{First: s.FirstSlot, IDs: make([]uint32, s.Slots)},
		}
	})
	if err != nil {
		return nil, err
	}
	if err := t.eachBackend(func(id uint32, b *bpf.LBBackend) {
		r.Backends[id] = RestoredBackend{b.Service, netip.AddrPortFrom(addressOf(b.Address), networkOrder(b.Port)), b.Adjacency}
	}); err != nil {
		return nil, err
	}
	return r, errors.Join(t.restorePublished(r), t.restoreAllowed(r), t.restoreRoles(r))
}

// restorePublished finds which services' ports are found by packets: the
// others are only kept for the connections that they have.
func (t *Tables) restorePublished(r *Restored) error {
	var id uint32
	publish := func() {
		if s, ok := r.Services[id]; ok {
			r.Published[s.Key] = id
		}
	}
	var exact bpf.LBServiceKey
	if err := each(t.byName[bpf.LBMapExactPorts], &exact, &id, publish); err != nil {
		return err
	}
	var prefix bpf.LBPortPrefixKey
	return each(t.byName[bpf.LBMapPortRanges], &prefix, &id, publish)
}

func (t *Tables) restoreAllowed(r *Restored) error {
	var key bpf.LBAllowKey
	var value uint32
	return each(t.byName[bpf.LBMapAllow], &key, &value, func() {
		r.Allowed[key.Service] = append(r.Allowed[key.Service], prefixOf(&key))
	})
}

// prefixOf is the inverse of allowKey.
func prefixOf(key *bpf.LBAllowKey) netip.Prefix {
	client, length := addressOf(key.Client), int(key.Prefixlen)-32
	if length >= 96 && client.Is4() {
		length -= 96
	} else if !client.IsValid() {
		client = netip.IPv6Unspecified() // ::/0 is stored as zeros
	}
	return netip.PrefixFrom(client, length)
}

func (t *Tables) restoreRoles(r *Restored) error {
	var key bpf.LBAddr
	var role bpf.LBRole
	return each(t.byName[bpf.LBMapRoles], &key, &role, func() { r.Roles[addressOf(key)] = true })
}

func each(m *ebpf.Map, key, value any, do func()) error {
	for all := m.Iterate(); ; do() {
		if !all.Next(key, value) {
			if err := all.Err(); err != nil {
				return fmt.Errorf("read map %s: %w", m, err)
			}
			return nil
		}
	}
}

func (t *Tables) eachService(do func(id uint32, s *bpf.LBService)) error {
	return eachValue(t.services, func(id uint32, s *bpf.LBService) {
		if s.Vip != (bpf.LBAddr{}) {
			do(id, s)
		}
	})
}

func (t *Tables) eachBackend(do func(id uint32, b *bpf.LBBackend)) error {
	return eachValue(t.backends, func(id uint32, b *bpf.LBBackend) {
		if b.Address != (bpf.LBAddr{}) {
			do(id, b)
		}
	})
}

// eachValue walks a mapped array, without a system call per value. The memory
// may end with padding to a page, which holds no whole value.
func eachValue[V any](memory *ebpf.Memory, do func(index uint32, value *V)) error {
	values := make([]V, 1024)
	size := int(unsafe.Sizeof(values[0]))
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&values[0])), size*len(values))
	total := int(memory.Size()) / size
	for first := 0; first < total; first += len(values) {
		n := min(len(values), total-first)
		if _, err := memory.ReadAt(raw[:n*size], int64(first*size)); err != nil {
			return fmt.Errorf("read mapped array: %w", err)
		}
		for i := range n {
			do(uint32(first+i), &values[i])
		}
	}
	return nil
}
