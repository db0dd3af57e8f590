// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"fmt"
	"net"
	"net/netip"
	"unsafe"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

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

// PutBackend writes a service's backend under its id, reached over an adjacency.
// Of one in use only single words change, which packets see whole.
func (t *Tables) PutBackend(id, service uint32, b lb.Backend, adjacency uint32) error {
	value := bpf.LBBackend{
		Address: address(b.Address), Port: networkOrder(b.Port), Weight: b.Weight, Adjacency: adjacency, Service: service,
	}
	raw := (*[unsafe.Sizeof(value)]byte)(unsafe.Pointer(&value))[:]
	if _, err := t.backends.WriteAt(raw, int64(id)*int64(len(raw))); err != nil {
		return fmt.Errorf("write map backends: %w", err)
	}
	return nil
}

// DeleteBackend frees an id that no connection names any more.
func (t *Tables) DeleteBackend(id uint32) error {
	return t.put(bpf.LBMapBackends, id, &bpf.LBBackend{})
}
