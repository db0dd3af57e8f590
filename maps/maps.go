// SPDX-License-Identifier: Apache-2.0

// Package maps gives typed access to the BPF maps. It is the only place that
// knows their byte order, ids and padding. It starts no goroutine; a Tables
// may be written by one goroutine at a time and read by many.
package maps

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
)

// Limits of the maps, as ids: an id is 1..limit-1, as 0 means "unset".
const (
	MaxServices = uint32(bpf.LBLimitMAX_SERVICES)
	MaxBackends = uint32(bpf.LBLimitMAX_BACKENDS)
	MaxSlots    = uint32(bpf.LBLimitMAX_SLOTS)
	// MaxAllow is how many prefixes there may be at once.
	MaxAllow = uint32(bpf.LBLimitMAX_ALLOW)
	// Adjacencies below this belong to the program, which learns next hops
	// towards clients there.
	FirstAdjacency = uint32(bpf.LBLimitCLIENT_ADJACENCIES)
	MaxAdjacencies = uint32(bpf.LBLimitMAX_ADJACENCIES)
)

// Tables reads and writes the maps of one loaded set of programs.
type Tables struct {
	byName   map[string]*ebpf.Map
	conns    *ebpf.Memory
	services *ebpf.Memory
	backends *ebpf.Memory
	active   *ebpf.Memory
	hops     *ebpf.Memory
	hints    *ebpf.Memory
	hinted   map[uint32]roleCount // by slot of the hints
}

// New returns Tables over the maps of a loaded collection, by their C names.
// It maps those into memory that are read or published without system calls;
// the mappings end with their maps.
func New(byName map[string]*ebpf.Map) (*Tables, error) {
	t := &Tables{byName: byName, hinted: map[uint32]roleCount{}}
	for name, memory := range map[string]**ebpf.Memory{
		bpf.LBMapConns: &t.conns, bpf.LBMapServices: &t.services,
		bpf.LBMapBackends: &t.backends, bpf.LBMapActive: &t.active, bpf.LBMapAdjacencies: &t.hops, bpf.LBMapRoleHints: &t.hints,
	} {
		mapped, err := byName[name].Memory()
		if err != nil {
			return nil, fmt.Errorf("map %s into memory: %w", name, err)
		}
		*memory = mapped
	}
	return t, t.countHints()
}

func (t *Tables) put(name string, key, value any) error {
	if err := t.byName[name].Put(key, value); err != nil {
		return fmt.Errorf("write map %s: %w", name, err)
	}
	return nil
}

// remove deletes a key; one that is absent is no error.
func (t *Tables) remove(name string, key any) error {
	if err := t.byName[name].Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete from map %s: %w", name, err)
	}
	return nil
}
