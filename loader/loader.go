// SPDX-License-Identifier: Apache-2.0

// Package loader loads the programs of both hooks over one set of maps, pins
// them, adopts what is pinned already, and attaches them. It needs CAP_BPF,
// CAP_NET_ADMIN and, for pins, a bpffs.
package loader

import (
	"errors"
	"fmt"
	"math/bits"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/maps"
)

// fullest is the load up to which the table refuses nobody.
const fullest = 0.7

// Options of Load.
type Options struct {
	Pins        string // folder in a bpffs; empty: nothing outlives Close
	Connections uint64 // the table's capacity
	HashKey     uint64 // a fleet that shares it schedules alike
	XDP         bool   // load XDP too, whose companion tc then is: it finishes what XDP leaves
}

// Programs are the loaded programs and their maps.
type Programs struct {
	Tables   *maps.Tables
	pins     pins
	tc       *ebpf.Collection
	xdp      *ebpf.Collection      // nil without Options.XDP
	attached map[string]attachment // by device and hook
}

// Load loads the hooks' programs over the pinned maps, if there are some:
// those keep their size and hash key, whatever the options say. Pins of
// another ABI are an error and stay as they are. A program that the verifier
// refuses is a *ebpf.VerifierError, whose %+v is the whole log.
func Load(o Options) (*Programs, error) {
	p := &Programs{pins: pins(o.Pins), attached: map[string]attachment{}}
	if err := p.pins.create(); err != nil {
		return nil, err
	}
	made, err := p.pins.made()
	if err != nil {
		return nil, err
	}
	fresh := made == nil
	if fresh {
		made = &bpf.LBPinned{AbiVersion: uint32(bpf.LBAbiABI_VERSION), BucketMask: buckets(o.Connections) - 1, HashKey: o.HashKey}
	}
	if p.tc, err = load(bpf.LoadTC, o, made, nil); err != nil {
		return nil, fmt.Errorf("load tc program: %w", err)
	}
	if o.XDP {
		if p.xdp, err = load(bpf.LoadLB, o, made, p.tc.Maps); err != nil {
			p.tc.Close()
			return nil, fmt.Errorf("load xdp program: %w", err)
		}
	}
	if p.Tables, err = maps.New(p.tc.Maps); err == nil && fresh {
		// Written last: pins without it are of a daemon that died while it
		// made them, and hold nothing.
		err = p.tc.Maps[bpf.LBMapPinned].Put(uint32(0), made)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// load edits a spec and loads it; maps of `shared` are used, not made.
func load(read func() (*ebpf.CollectionSpec, error), o Options, made *bpf.LBPinned, shared map[string]*ebpf.Map) (*ebpf.Collection, error) {
	spec, err := read()
	if err != nil {
		return nil, err
	}
	spec.Maps[bpf.LBMapConns].MaxEntries = made.BucketMask + 1
	if err := errors.Join(
		spec.Variables["cfg_bucket_mask"].Set(made.BucketMask),
		spec.Variables["cfg_hash_key"].Set(made.HashKey),
		spec.Variables["cfg_companion"].Set(o.XDP && shared == nil),
	); err != nil {
		return nil, err
	}
	options := ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{}}
	for name, m := range spec.Maps {
		switch {
		case name[0] == '.': // a program's own constants
		case shared != nil:
			options.MapReplacements[name] = shared[name]
		case o.Pins != "":
			m.Pinning = ebpf.PinByName
		}
	}
	options.Maps.PinPath = pins(o.Pins).maps()
	return ebpf.NewCollectionWithOptions(spec, options)
}

// buckets is the power of two that holds the connections at `fullest`.
func buckets(connections uint64) uint32 {
	wanted := uint64(float64(connections)/fullest/float64(bpf.LBLimitWAYS)) + 1
	return uint32(1) << max(4, bits.Len64(wanted-1))
}

const bucketBytes = 512

// Fits tells whether a table for so many connections is as large as the one
// in use.
func (p *Programs) Fits(connections uint64) bool {
	return buckets(connections) == p.tc.Maps[bpf.LBMapConns].MaxEntries()
}

// TableBytes is the memory that a table of this capacity takes.
func TableBytes(connections uint64) uint64 { return uint64(buckets(connections)) * bucketBytes }

// MaxConnections is the largest capacity whose table fits into the bytes.
func MaxConnections(bytes uint64) uint64 {
	largest := uint64(1) << (bits.Len64(bytes/bucketBytes) - 1)
	return uint64(float64(largest*uint64(bpf.LBLimitWAYS))*fullest) - 1
}

// Close lets go of the programs. With pins they go on without the daemon.
func (p *Programs) Close() error {
	var errs []error
	for _, a := range p.attached {
		if p.pins == "" {
			errs = append(errs, a.detach())
		} else {
			errs = append(errs, a.leave())
		}
	}
	p.tc.Close()
	if p.xdp != nil {
		p.xdp.Close()
	}
	return errors.Join(errs...)
}

// Stats is what the kernel counted of a program, where
// kernel.bpf_stats_enabled is on.
type Stats struct {
	Name    string
	Runs    uint64
	Runtime time.Duration
}

// Stats returns those of every program.
func (p *Programs) Stats() (all []Stats, err error) {
	programs := map[string]*ebpf.Program{"weir_tc": p.tc.Programs["weir_tc"]}
	if p.xdp != nil {
		programs["weir_xdp"] = p.xdp.Programs["weir_xdp"]
	}
	for name, program := range programs {
		s, err := program.Stats()
		if err != nil {
			return nil, fmt.Errorf("read statistics of %s: %w", name, err)
		}
		all = append(all, Stats{name, s.RunCount, s.Runtime})
	}
	return all, nil
}
