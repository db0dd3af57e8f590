// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"time"
	"unsafe"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

// Table is a run of slots, each holding a backend's id.
type Table struct {
	First uint32
	IDs   []uint32
}

// PutTable writes slots that no service uses yet; PutService publishes them.
func (t *Tables) PutTable(table Table) error {
	if len(table.IDs) == 0 {
		return nil
	}
	keys := make([]uint32, len(table.IDs))
	for i := range keys {
		keys[i] = table.First + uint32(i)
	}
	if _, err := t.byName[bpf.LBMapSlots].BatchUpdate(keys, table.IDs, nil); err != nil {
		return fmt.Errorf("write map slots: %w", err)
	}
	return nil
}

// PutService writes what connections of the service follow, and publishes its
// table by one 8-byte store: a packet sees the old table or the new one.
func (t *Tables) PutService(id uint32, s *lb.Service, table Table) error {
	value := bpf.LBService{
		Vip: address(s.Address), FirstSlot: table.First, Slots: uint32(len(table.IDs)), Algorithm: algorithms[s.Algorithm],
		Idle: ticks(s.Timeouts.Idle), HalfOpen: ticks(s.Timeouts.HalfOpen), Closing: ticks(s.Timeouts.Closing),
		Affinity:  ticks(s.AffinityTimeout),
		FirstPort: networkOrder(s.Ports.First), LastPort: networkOrder(s.Ports.Last), Protocol: protocols[s.Protocol],
	}
	word := binary.NativeEndian.AppendUint64(nil, uint64(value.FirstSlot)|uint64(value.Slots)<<32)
	at := int64(id)*int64(unsafe.Sizeof(value)) + int64(unsafe.Offsetof(value.FirstSlot))
	// Eight aligned bytes are copied by one store. The write that follows
	// finds them as they will be.
	if _, err := t.services.WriteAt(word, at); err != nil {
		return fmt.Errorf("publish table of service id %d: %w", id, err)
	}
	return t.put(bpf.LBMapServices, id, &value)
}

// DeleteService frees an id that no connection names any more.
func (t *Tables) DeleteService(id uint32) error {
	return t.put(bpf.LBMapServices, id, &bpf.LBService{})
}

// Publish makes new connections to the service's ports find it.
func (t *Tables) Publish(key lb.ServiceKey, id uint32) error {
	return eachPortKey(key, func(name string, k any) error { return t.put(name, k, id) })
}

// Unpublish ends that; connections that exist go on.
func (t *Tables) Unpublish(key lb.ServiceKey) error {
	return eachPortKey(key, func(name string, k any) error { return t.remove(name, k) })
}

// portPrefixBits is PORT_PREFIX_BITS of bpf/abi.h: what comes before the port.
const portPrefixBits = 8 * uint32(unsafe.Offsetof(bpf.LBPortPrefixKey{}.Port)-unsafe.Offsetof(bpf.LBPortPrefixKey{}.Protocol))

func eachPortKey(key lb.ServiceKey, do func(name string, key any) error) error {
	vip, protocol := address(key.Address), protocols[key.Protocol]
	if key.Ports.First == key.Ports.Last {
		return do(bpf.LBMapExactPorts, &bpf.LBServiceKey{Vip: vip, Port: networkOrder(key.Ports.First), Protocol: protocol})
	}
	for _, p := range portPrefixes(key.Ports) {
		k := bpf.LBPortPrefixKey{
			Prefixlen: portPrefixBits + p.bits, Vip: vip, Protocol: protocol,
			Port: [2]uint8{uint8(p.port >> 8), uint8(p.port)},
		}
		if err := do(bpf.LBMapPortRanges, &k); err != nil {
			return err
		}
	}
	return nil
}

// Allow lets clients of a prefix open connections to a service.
func (t *Tables) Allow(service uint32, p netip.Prefix) error {
	return t.put(bpf.LBMapAllow, allowKey(service, p), uint32(1))
}

// Disallow takes that back.
func (t *Tables) Disallow(service uint32, p netip.Prefix) error {
	return t.remove(bpf.LBMapAllow, allowKey(service, p))
}

func allowKey(service uint32, p netip.Prefix) *bpf.LBAllowKey {
	length := p.Bits()
	if p.Addr().Is4() {
		length += 96
	}
	return &bpf.LBAllowKey{Prefixlen: 32 + uint32(length), Service: service, Client: address(p.Addr())}
}

var algorithms = map[lb.Algorithm]bpf.LBAlgorithm{
	lb.RoundRobin: bpf.LBAlgorithmALGORITHM_ROUNDROBIN,
	lb.Source:     bpf.LBAlgorithmALGORITHM_SOURCE,
	lb.Maglev:     bpf.LBAlgorithmALGORITHM_MAGLEV,
	lb.LeastConn:  bpf.LBAlgorithmALGORITHM_LEASTCONN,
}

// protocols are IANA's numbers.
var protocols = map[lb.Protocol]uint8{lb.TCP: 6, lb.UDP: 17}

func protocolOf(number uint8) lb.Protocol {
	if number == protocols[lb.UDP] {
		return lb.UDP
	}
	return lb.TCP
}

func networkOrder(port uint16) uint16 { return bits.ReverseBytes16(port) }

// ticks rounds up to the program's unit.
func ticks(d time.Duration) uint32 {
	return uint32((d + 1<<bpf.LBLimitTICK_SHIFT - 1) >> bpf.LBLimitTICK_SHIFT)
}

func duration(ticks uint32) time.Duration { return time.Duration(ticks) << bpf.LBLimitTICK_SHIFT }

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
