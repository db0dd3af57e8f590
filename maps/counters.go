// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weirlb/weir/bpf"
)

// Counter is what the program counted, all CPUs together. Bytes are frame
// lengths without FCS, both directions.
type Counter struct {
	Packets, Bytes, Opened, Refused uint64
}

// ServiceCounter returns the counter of a service's id.
func (t *Tables) ServiceCounter(id uint32) (Counter, error) {
	return t.counter(bpf.LBMapServiceCounters, id)
}

// BackendCounter returns the counter of a backend's id.
func (t *Tables) BackendCounter(id uint32) (Counter, error) {
	return t.counter(bpf.LBMapBackendCounters, id)
}

func (t *Tables) counter(name string, id uint32) (sum Counter, err error) {
	var perCPU []bpf.LBServiceCounter
	if err := t.byName[name].Lookup(id, &perCPU); err != nil {
		return sum, fmt.Errorf("read map %s: %w", name, err)
	}
	return sumOf(perCPU), nil
}

func sumOf(perCPU []bpf.LBServiceCounter) (sum Counter) {
	for _, c := range perCPU {
		sum.Packets += c.Packets
		sum.Bytes += c.Bytes
		sum.Opened += c.Opened
		sum.Refused += c.Refused
	}
	return sum
}

// Reason is why packets' journeys ended, and how many did.
type Reason struct {
	Name    string // "not_allowed"
	Packets uint64
	Dropped bool // carried out as a drop
}

// dropped are the reasons whose packets go no further.
var dropped = map[bpf.LBReason]bool{
	bpf.LBReasonREASON_TRUNCATED: true, bpf.LBReasonREASON_BAD_HEADER: true, bpf.LBReasonREASON_EXTENSIONS: true,
	bpf.LBReasonREASON_ZERO_CHECKSUM: true, bpf.LBReasonREASON_NOT_ALLOWED: true, bpf.LBReasonREASON_NO_BACKEND: true,
	bpf.LBReasonREASON_NOT_OPENING: true, bpf.LBReasonREASON_TABLE_FULL: true, bpf.LBReasonREASON_TTL: true,
}

// reasonNames are the C names, as labels.
var reasonNames = map[bpf.LBReason]string{
	bpf.LBReasonREASON_NOT_OURS: "not_ours", bpf.LBReasonREASON_NO_SERVICE: "no_service",
	bpf.LBReasonREASON_NO_CONNECTION: "no_connection", bpf.LBReasonREASON_FORWARDED: "forwarded",
	bpf.LBReasonREASON_REPLIED: "replied", bpf.LBReasonREASON_FRAGMENT: "fragment",
	bpf.LBReasonREASON_TRUNCATED: "truncated", bpf.LBReasonREASON_BAD_HEADER: "bad_header",
	bpf.LBReasonREASON_EXTENSIONS: "extensions", bpf.LBReasonREASON_PROTOCOL: "protocol",
	bpf.LBReasonREASON_ZERO_CHECKSUM: "zero_checksum", bpf.LBReasonREASON_NOT_ALLOWED: "not_allowed",
	bpf.LBReasonREASON_NO_BACKEND: "no_backend", bpf.LBReasonREASON_NOT_OPENING: "not_opening",
	bpf.LBReasonREASON_TABLE_FULL: "table_full", bpf.LBReasonREASON_TTL: "ttl",
	bpf.LBReasonREASON_UNRESOLVED: "unresolved",
}

// Reasons returns every reason in the order of bpf/abi.h.
func (t *Tables) Reasons() ([]Reason, error) {
	var reasons []Reason
	for reason := range bpf.LBReasonREASON_COUNT {
		var perCPU []bpf.LBCounter
		if err := t.byName[bpf.LBMapReasonCounters].Lookup(reason, &perCPU); err != nil {
			return nil, fmt.Errorf("read map reason_counters: %w", err)
		}
		r := Reason{Name: reasonNames[reason], Dropped: dropped[reason]}
		for _, c := range perCPU {
			r.Packets += c.Packets
		}
		reasons = append(reasons, r)
	}
	return reasons, nil
}

// evictionNames are the classes of enum eviction_class whose connections make
// room for new ones.
var evictionNames = map[bpf.LBEvictionClass]string{
	bpf.LBEvictionClassCLASS_CLOSING: "closing", bpf.LBEvictionClassCLASS_UNPROVEN: "unproven",
	bpf.LBEvictionClassCLASS_IDLE_UDP: "idle_udp",
}

// Evictions returns how many connections of each class left a full table for
// a new one.
func (t *Tables) Evictions() (map[string]uint64, error) {
	all := map[string]uint64{}
	for class, name := range evictionNames {
		var perCPU []uint64
		if err := t.byName[bpf.LBMapEvictions].Lookup(class, &perCPU); err != nil {
			return nil, fmt.Errorf("read map evictions: %w", err)
		}
		for _, n := range perCPU {
			all[name] += n
		}
	}
	return all, nil
}

// Active returns the open connections of a backend's id: half-open and
// established ones, and UDP.
func (t *Tables) Active(backend uint32) (uint64, error) {
	var word [8]byte
	if _, err := t.active.ReadAt(word[:], int64(backend)*8); err != nil {
		return 0, fmt.Errorf("read map active: %w", err)
	}
	return binary.NativeEndian.Uint64(word[:]), nil
}

// Info describes one map for an operator.
type Info struct {
	Name     string
	Type     string
	Entries  uint64
	Capacity uint64
	Bytes    uint64
	Pin      string
}

// Describe lists the maps, pinned below a folder. Entries of an array are its
// capacity: each exists.
func (t *Tables) Describe(pins string) ([]Info, error) {
	var infos []Info
	for name, m := range t.byName {
		if strings.HasPrefix(name, ".") {
			continue // the programs' constants
		}
		info := Info{Name: name, Type: strings.ToLower(m.Type().String()), Capacity: uint64(m.MaxEntries()), Entries: uint64(m.MaxEntries()), Pin: filepath.Join(pins, "maps", name)}
		if described, err := m.Info(); err == nil {
			info.Bytes, _ = described.Memlock()
		}
		if !strings.Contains(info.Type, "array") {
			n, err := entries(m)
			if err != nil {
				return nil, fmt.Errorf("count map %s: %w", name, err)
			}
			info.Entries = n
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}
