// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

const (
	buckets        = 1 << 18 // of 8 connections
	frameSize      = 78      // FRAME of bench.c
	backends       = 8       // BACKENDS of bench.c
	mixed          = 0x9e3779b1
	actionTransmit = 3 // XDP_TX
	syn, ack       = 0x02, 0x10
)

// traffic is what the harness's packets are.
type traffic struct {
	ipv6    bool
	reply   bool
	clients uint32 // a power of two
	stride  uint32 // 1: clients in order; mixed
	flags   byte   // TCP
	to      string // instead of the VIP
}

func (t traffic) vip() netip.Addr {
	if t.ipv6 {
		return netip.MustParseAddr("2001:db8:ff::10")
	}
	return netip.MustParseAddr("203.0.113.10")
}

// backend is where bench.c lets the replies of every 8th client come from.
func (t traffic) backend(i int) netip.Addr {
	if t.ipv6 {
		return netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 11: byte(1 + i)})
	}
	return netip.AddrFrom4([4]byte{10, 255, 0, byte(1 + i)})
}

// header is the frame that bench.c restores, but for the client's endpoint.
// Checksums are left 0: the program changes them without reading them first.
func (t traffic) header() []byte {
	h := make([]byte, frameSize)
	copy(h, []byte{2, 0, 0, 0, 0, 0xfe, 2, 0, 0, 0, 0, 0xff})
	to := t.vip()
	if t.to != "" {
		to = netip.MustParseAddr(t.to)
	}
	source, destination, l4 := 26, 30, 34
	if t.ipv6 {
		source, destination, l4 = 22, 38, 54
		copy(h[12:], []byte{0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64})
		copy(h[source:], []byte{0x20, 0x01, 0x0d, 0xb8})
	} else {
		copy(h[12:], []byte{0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6})
	}
	copy(h[destination:], to.AsSlice())
	binary.BigEndian.PutUint16(h[l4+2:], 80)
	if t.reply {
		// The backend's address and the client's endpoint are bench.c's.
		copy(h[destination:], h[source:source+8])
		binary.BigEndian.PutUint16(h[l4:], 8080)
	}
	h[l4+12], h[l4+13] = 5<<4, t.flags
	return h
}

// harness is the loaded bench object with one service and its backends.
type harness struct {
	coll   *ebpf.Collection
	tables *maps.Tables
	sent   traffic
}

// load loads bench.c, or another version's object file, with a table for 1 Mi
// connections (at a load of at most 70 %), however few of them the case uses.
func load(object string, t traffic) (*harness, error) {
	spec, err := loadBench()
	if object != "" {
		spec, err = ebpf.LoadCollectionSpec(object)
	}
	if err != nil {
		return nil, fmt.Errorf("read object: %w", err)
	}
	spec.Maps["conns"].MaxEntries = buckets
	if err := spec.Variables["cfg_bucket_mask"].Set(uint32(buckets - 1)); err != nil {
		return nil, err
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	tables, err := maps.New(coll.Maps)
	if err != nil {
		return nil, err
	}
	h := &harness{coll: coll, tables: tables, sent: t}
	return h, h.send(t)
}

// serve writes service 1 of the VIP's port 80, and its backends over ifindex.
func (h *harness) serve(algorithm lb.Algorithm, allow []netip.Prefix, ifindex int, destination net.HardwareAddr) error {
	service := &lb.Service{
		Address: h.sent.vip(), Ports: lb.PortRange{First: 80, Last: 80}, Protocol: lb.TCP, Algorithm: algorithm,
		Timeouts: lb.Timeouts{Idle: time.Hour, HalfOpen: time.Hour, Closing: time.Hour},
	}
	errs := []error{h.tables.SetRole(service.Address, true, false)}
	table := maps.Table{}
	for i := range backends {
		id, address := uint32(1+i), h.sent.backend(i)
		errs = append(errs,
			h.tables.PutAdjacency(maps.FirstAdjacency+id, maps.Adjacency{
				Ifindex: ifindex, MTU: 1500, Source: net.HardwareAddr{2, 0, 0, 0, 1, 1}, Destination: destination,
			}),
			h.tables.PutBackend(id, 1, lb.Backend{Address: address, Port: 8080, Weight: 1}, maps.FirstAdjacency+id),
			h.tables.SetRole(address, false, true))
		table.IDs = append(table.IDs, id)
	}
	if allow == nil {
		allow = []netip.Prefix{netip.PrefixFrom(h.sent.vip(), 0).Masked()}
	}
	for _, prefix := range allow {
		errs = append(errs, h.tables.Allow(1, prefix))
	}
	errs = append(errs, h.tables.PutTable(table), h.tables.PutService(1, service, table), h.tables.Publish(service.Key(), 1))
	return errors.Join(errs...)
}

// send sets what the next runs' packets are, from the first client on.
func (h *harness) send(t traffic) error {
	h.sent = t
	flag := map[bool]uint32{true: 1}
	var errs []error
	for name, value := range map[string]any{
		"header": t.header(), "ipv6": flag[t.ipv6], "reply": flag[t.reply], "client_mask": t.clients - 1,
		"stride": t.stride, "next_client": uint32(0),
	} {
		errs = append(errs, h.coll.Variables[name].Set(value))
	}
	return errors.Join(errs...)
}

// run runs a program and returns ns a packet.
func (h *harness) run(program string, repeat int) (float64, error) {
	action, took, err := h.coll.Programs[program].Benchmark(h.sent.header(), repeat, nil)
	if err != nil {
		return 0, fmt.Errorf("run %s: %w", program, err)
	}
	if action != actionTransmit && h.sent.to == "" {
		return 0, fmt.Errorf("run %s: action %d, not XDP_TX", program, action)
	}
	return float64(took.Nanoseconds()), nil
}

// connect opens every client's connection, in order, and confirms it.
func (h *harness) connect() error {
	kept := h.sent
	opener := kept
	opener.reply, opener.flags, opener.stride, opener.to = false, syn, 1, ""
	for _, program := range []string{"weir", "establish"} {
		if err := h.send(opener); err != nil {
			return err
		}
		if _, err := h.run(program, int(kept.clients)); err != nil {
			return err
		}
	}
	return h.send(kept)
}
