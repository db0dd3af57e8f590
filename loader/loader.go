// SPDX-License-Identifier: Apache-2.0

// Package loader loads the programs of both hooks over one set of maps and
// attaches them. It needs CAP_BPF and CAP_NET_ADMIN.
package loader

import (
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

// ways of a bucket and the load at which the table still refuses nobody.
const ways, fullest = 8, 0.7

// Options of Load.
type Options struct {
	Connections uint64 // the table's capacity; 0: 65536
	HashKey     uint64 // a fleet that shares it schedules alike
}

// Programs are the loaded programs and their maps.
type Programs struct {
	Tables  *maps.Tables
	xdp, tc *ebpf.Collection
	links   []io.Closer
}

// Load loads both hooks' programs. A program that the verifier refuses is a
// *ebpf.VerifierError, whose %+v is the whole log.
func Load(o Options) (*Programs, error) {
	xdpSpec, err := bpf.LoadLB()
	if err != nil {
		return nil, fmt.Errorf("read xdp object: %w", err)
	}
	tcSpec, err := bpf.LoadTC()
	if err != nil {
		return nil, fmt.Errorf("read tc object: %w", err)
	}
	for _, spec := range []*ebpf.CollectionSpec{xdpSpec, tcSpec} {
		if err := configure(spec, o); err != nil {
			return nil, err
		}
	}
	xdp, err := ebpf.NewCollection(xdpSpec)
	if err != nil {
		return nil, fmt.Errorf("load xdp program: %w", err)
	}
	shared := map[string]*ebpf.Map{}
	for name := range tcSpec.Maps {
		if m, ok := xdp.Maps[name]; ok && name[0] != '.' {
			shared[name] = m
		}
	}
	tc, err := ebpf.NewCollectionWithOptions(tcSpec, ebpf.CollectionOptions{MapReplacements: shared})
	if err != nil {
		xdp.Close()
		return nil, fmt.Errorf("load tc program: %w", err)
	}
	return &Programs{Tables: maps.New(xdp.Maps), xdp: xdp, tc: tc}, nil
}

// configure sizes the table to a power of two of buckets and sets the knobs.
func configure(spec *ebpf.CollectionSpec, o Options) error {
	if o.Connections == 0 {
		o.Connections = 65536
	}
	wanted := uint64(float64(o.Connections)/fullest)/ways + 1
	buckets := uint32(1) << max(4, bits.Len64(wanted-1))
	spec.Maps[bpf.LBMapConns].MaxEntries = buckets
	spec.Maps[bpf.LBMapLocks].MaxEntries = buckets
	return errors.Join(
		spec.Variables["cfg_bucket_mask"].Set(buckets-1),
		spec.Variables["cfg_hash_key"].Set(o.HashKey),
	)
}

// Attach attaches to one interface of the caller's network namespace, by the
// hook given: AttachXDP (native), AttachXDPGeneric or AttachTC, which is tcx
// and, on kernels before 6.6 (the virtual router's 6.1), clsact.
func (p *Programs) Attach(ifindex int, hook lb.Attach) error {
	var l io.Closer
	var err error
	switch hook {
	case lb.AttachXDP, lb.AttachXDPGeneric:
		flags := link.XDPDriverMode
		if hook == lb.AttachXDPGeneric {
			flags = link.XDPGenericMode
		}
		l, err = link.AttachXDP(link.XDPOptions{Program: p.xdp.Programs["weir_xdp"], Interface: ifindex, Flags: flags})
	case lb.AttachTC:
		l, err = link.AttachTCX(link.TCXOptions{Program: p.tc.Programs["weir_tc"], Interface: ifindex, Attach: ebpf.AttachTCXIngress})
		if errors.Is(err, ebpf.ErrNotSupported) {
			l, err = attachClsact(p.tc.Programs["weir_tc"], ifindex)
		}
	default:
		return fmt.Errorf("attach to interface %d: hook %q is not one of xdp, xdp-generic, tc", ifindex, hook)
	}
	if err != nil {
		return fmt.Errorf("attach %s to interface %d: %w", hook, ifindex, err)
	}
	p.links = append(p.links, l)
	return nil
}

// Close detaches and unloads everything.
func (p *Programs) Close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	p.xdp.Close()
	p.tc.Close()
	return errors.Join(errs...)
}
