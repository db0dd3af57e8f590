// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

// Conn is one connection. VIP and backend addresses belong to their ids.
type Conn struct {
	Protocol          lb.Protocol
	Client            netip.AddrPort
	VIPPort           uint16
	BackendPort       uint16
	Service, Backend  uint32
	State             string // half_open, established, closing, udp
	Age, Idle         time.Duration
	Active, Confirmed bool
}

var stateNames = map[bpf.LBConnState]string{
	bpf.LBConnStateCONN_HALF_OPEN: "half_open", bpf.LBConnStateCONN_ESTABLISHED: "established",
	bpf.LBConnStateCONN_CLOSING: "closing", bpf.LBConnStateCONN_UDP: "udp",
}

// bucketsPerRead keeps the copy of the table in a CPU's cache.
const bucketsPerRead = 256

// EachConn calls do for every connection that has not outlived its timeout,
// until it returns false. It needs no system call per entry; connections that
// come or go meanwhile may be missed or seen.
func (t *Tables) EachConn(do func(Conn) bool) error {
	now, err := nowTicks()
	if err != nil {
		return err
	}
	return t.eachLive(func(c *bpf.LBConn, idle uint32) bool {
		state := bpf.LBConnState(c.State)
		return do(Conn{
			Protocol: protocolOf(c.Protocol),
			Client:   netip.AddrPortFrom(addressOf(c.Client), networkOrder(c.ClientPort)),
			VIPPort:  networkOrder(c.VipPort), BackendPort: networkOrder(c.BackendPort),
			Service: c.Service, Backend: c.Backend,
			State:  stateNames[state],
			Age:    duration(max(now-c.Opened, idle)),
			Idle:   duration(idle),
			Active: state != bpf.LBConnStateCONN_CLOSING, Confirmed: bpf.LBConnFlag(c.Flags)&bpf.LBConnFlagCONN_CONFIRMED != 0,
		})
	})
}

// eachLive walks the entries that have not outlived their timeout, with the
// ticks since each was last seen.
func (t *Tables) eachLive(do func(c *bpf.LBConn, idle uint32) bool) error {
	services, err := t.timeouts()
	if err != nil {
		return err
	}
	now, err := nowTicks()
	if err != nil {
		return err
	}
	return t.eachEntry(func(c *bpf.LBConn) bool {
		idle := now - c.Seen
		if int32(idle) < 0 {
			idle = 0 // seen since the walk began
		}
		if int(c.Service) >= len(services) || idle > services[c.Service].of(bpf.LBConnState(c.State)) {
			return true
		}
		return do(c, idle)
	})
}

// eachEntry walks the table's taken entries.
func (t *Tables) eachEntry(do func(*bpf.LBConn) bool) error {
	buckets := make([]bpf.LBBucket, bucketsPerRead)
	size := int64(unsafe.Sizeof(buckets[0]))
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&buckets[0])), int(size)*len(buckets))
	for at, end := int64(0), int64(t.byName[bpf.LBMapConns].MaxEntries())*size; at < end; at += int64(len(raw)) {
		raw = raw[:min(int64(len(raw)), end-at)]
		if _, err := t.conns.ReadAt(raw, at); err != nil {
			return fmt.Errorf("read map conns: %w", err)
		}
		for i := range buckets[:int64(len(raw))/size] {
			for way := range buckets[i].Ways {
				c := &buckets[i].Ways[way]
				if c.State != uint8(bpf.LBConnStateCONN_FREE) && !do(c) {
					return nil
				}
			}
		}
	}
	return nil
}

// stateTimeouts of one service, in ticks.
type stateTimeouts struct{ idle, halfOpen, closing uint32 }

func (s stateTimeouts) of(state bpf.LBConnState) uint32 {
	switch state {
	case bpf.LBConnStateCONN_HALF_OPEN:
		return s.halfOpen
	case bpf.LBConnStateCONN_CLOSING:
		return s.closing
	case bpf.LBConnStateCONN_FREE, bpf.LBConnStateCONN_ESTABLISHED, bpf.LBConnStateCONN_UDP:
	}
	return s.idle
}

func (t *Tables) timeouts() ([]stateTimeouts, error) {
	all := make([]stateTimeouts, MaxServices)
	err := t.eachService(func(id uint32, s *bpf.LBService) {
		all[id] = stateTimeouts{s.Idle, s.HalfOpen, s.Closing}
	})
	return all, err
}

// nowTicks is the program's clock, CLOCK_MONOTONIC in ticks.
func nowTicks() (uint32, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read the monotonic clock: %w", err)
	}
	return uint32(ts.Nano() >> bpf.LBLimitTICK_SHIFT), nil
}

// ConnCapacity is how many connections the table can hold.
func (t *Tables) ConnCapacity() uint64 {
	return uint64(t.byName[bpf.LBMapConns].MaxEntries()) * uint64(bpf.LBLimitWAYS)
}

// entries counts a hash's or trie's keys.
func entries(m *ebpf.Map) (n uint64, err error) {
	key := make([]byte, m.KeySize())
	if err = m.NextKey(nil, key); err == nil {
		for n = 1; ; n++ {
			next := make([]byte, m.KeySize())
			if err = m.NextKey(key, next); err != nil {
				break
			}
			key = next
		}
	}
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	return n, err
}

// Usage is what a sweep of the table found.
type Usage struct {
	Services, Backends map[uint32]uint64 // connections that name the id
	Active             map[uint32]uint64 // of those, open ones, by backend
	IdleHops           map[uint32]bool   // adjacencies towards clients that no connection names
	Total              uint64
}

// SetActive corrects the count of a backend's open connections.
func (t *Tables) SetActive(backend uint32, n uint64) error {
	if _, err := t.active.WriteAt(binary.NativeEndian.AppendUint64(nil, n), int64(backend)*8); err != nil {
		return fmt.Errorf("write map active: %w", err)
	}
	return nil
}

// Sweep counts the connections of every id. Expired entries count as none:
// no packet can meet them.
func (t *Tables) Sweep() (Usage, error) {
	u := Usage{map[uint32]uint64{}, map[uint32]uint64{}, map[uint32]uint64{}, map[uint32]bool{}, 0}
	if err := t.eachClientHop(func(hop uint32) { u.IdleHops[hop] = true }); err != nil {
		return u, err
	}
	// By id, as a map would cost more than the walk.
	services, backends, active := make([]uint64, MaxServices), make([]uint64, MaxBackends), make([]uint64, MaxBackends)
	err := t.eachLive(func(c *bpf.LBConn, _ uint32) bool {
		if len(u.IdleHops) > 0 {
			delete(u.IdleHops, c.ClientAdjacency)
		}
		services[c.Service]++
		backends[c.Backend%MaxBackends]++
		if c.State != uint8(bpf.LBConnStateCONN_CLOSING) {
			active[c.Backend%MaxBackends]++
		}
		u.Total++
		return true
	})
	for counts, to := range map[*[]uint64]map[uint32]uint64{&services: u.Services, &backends: u.Backends, &active: u.Active} {
		for id, n := range *counts {
			if n > 0 {
				to[uint32(id)] = n
			}
		}
	}
	return u, err
}
