// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
)

// smallTable is the XDP program with a table of so many buckets, and a service
// that is open to everyone.
func smallTable(t *testing.T, buckets uint32) hook {
	t.Helper()
	spec, err := LoadLB()
	if err != nil {
		t.Fatal(err)
	}
	spec.Maps[LBMapConns].MaxEntries = buckets
	if err := spec.Variables["cfg_bucket_mask"].Set(buckets - 1); err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(coll.Close)
	h := hook{name: "xdp", coll: coll, prog: coll.Programs["weir_xdp"], pass: actionPassXDP, drop: actionDropXDP, redirect: actionRedirectXDP}
	h.serve(t, families[0])
	h.put(t, LBMapAllow, LBAllowKey{Prefixlen: 32 + 96, Service: 1, Client: as16("0.0.0.0")}, uint32(1))
	return h
}

// establish has a client connect, whichever backend it is given; with close,
// both ends close again. It returns the action on the SYN.
func (h *hook) establish(t *testing.T, client string, port uint16, closing bool) uint32 {
	t.Helper()
	f := families[0]
	verdict, out := h.run(t, segment{client, f.vip, port, 80, synFlag, 100, 0}.tcp(64))
	if verdict != h.redirect {
		return verdict
	}
	backend := netip.AddrFrom4([4]byte(out[30:34])).String()
	h.run(t, segment{backend, client, 8080, port, synFlag | ackFlag, 900, 101}.tcp(64))
	h.run(t, segment{client, f.vip, port, 80, ackFlag, 101, 901}.tcp(64))
	if closing {
		h.run(t, segment{client, f.vip, port, 80, finFlag | ackFlag, 101, 901}.tcp(64))
		h.run(t, segment{backend, client, 8080, port, finFlag | ackFlag, 901, 102}.tcp(64))
	}
	return verdict
}

// TestClosingMakesRoom: connections that have ended do not fill the table,
// however many come and go within their timeout.
func TestClosingMakesRoom(t *testing.T) {
	h := smallTable(t, 16)
	for port := uint16(1); port <= 2000; port++ {
		if verdict := h.establish(t, "198.51.100.7", port, true); verdict != h.redirect {
			t.Fatalf("connection %d: verdict %d", port, verdict)
		}
	}
}

// TestFlood: SYNs of many clients take each other's entries, never those of
// connections that a client confirmed.
func TestFlood(t *testing.T) {
	h := smallTable(t, 16)
	const kept = 60 // of 128 entries
	for port := uint16(1); port <= kept; port++ {
		if verdict := h.establish(t, "198.51.100.7", port, false); verdict != h.redirect {
			t.Fatalf("connection %d: verdict %d", port, verdict)
		}
	}
	frame := segment{families[0].client, families[0].vip, 4000, 80, synFlag, 1, 0}.tcp(64)
	for i := range uint32(20000) {
		binary.BigEndian.PutUint32(frame[26:], 10<<24|i)
		h.run(t, frame)
	}
	established := 0
	var bucket LBBucket
	for i := range uint32(16) {
		if err := h.coll.Maps[LBMapConns].Lookup(i, &bucket); err != nil {
			t.Fatal(err)
		}
		for _, c := range bucket.Ways {
			if c.State == uint8(LBConnStateCONN_ESTABLISHED) {
				established++
			}
		}
	}
	var evicted []uint64
	if err := h.coll.Maps[LBMapEvictions].Lookup(LBEvictionClassCLASS_UNPROVEN, &evicted); err != nil {
		t.Fatal(err)
	}
	// The table held 128 - 60 of the 20 000; those in full buckets pushed out others.
	if sum := total(evicted); sum < 19000 || sum > 20000-68 {
		t.Errorf("%d evictions counted", sum)
	}
	if established != kept {
		t.Errorf("%d of %d established connections are left", established, kept)
	}
}

func total(perCPU []uint64) (sum uint64) {
	for _, n := range perCPU {
		sum += n
	}
	return sum
}

// TestConcurrentInserts has two CPUs open the same connections, to 70 % of
// the table: no connection is entered twice or torn, at most 0.1 % refused.
func TestConcurrentInserts(t *testing.T) {
	const buckets = 8192
	const connections = buckets * 8 * 7 / 10
	f := families[0]
	h := smallTable(t, buckets)

	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			frame := segment{f.client, f.vip, 4000, 80, synFlag, 1, 0}.tcp(64)
			for i := range uint32(connections) {
				// The program does not verify checksums, so the addresses alone
				// may change: source 10.(i) and its port.
				binary.BigEndian.PutUint32(frame[26:], 10<<24|i)
				if _, _, err := h.prog.Test(frame); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()

	type client struct {
		address LBAddr
		port    uint16
	}
	seen := map[client]bool{}
	var bucket LBBucket
	for i := range uint32(buckets) {
		if err := h.coll.Maps[LBMapConns].Lookup(i, &bucket); err != nil {
			t.Fatal(err)
		}
		for _, c := range bucket.Ways {
			if c.State == uint8(LBConnStateCONN_FREE) {
				continue
			}
			key := client{c.Client, c.ClientPort}
			if seen[key] {
				t.Errorf("connection of %v entered twice", key)
			}
			seen[key] = true
			if c.Service != 1 || c.Backend < 1 || c.Backend > 2 || c.BackendPort != be16(8080) || c.Protocol != 6 {
				t.Errorf("torn entry %+v", c)
			}
		}
	}
	if refused := connections - len(seen); refused > connections/1000 {
		t.Errorf("%d of %d connections are not in the table, more than 0.1 %%", refused, connections)
	}
	var counted uint64
	for id := uint32(1); id <= 2; id++ {
		var n uint64
		if err := h.coll.Maps[LBMapActive].Lookup(id, &n); err != nil {
			t.Fatal(err)
		}
		counted += n
	}
	if counted != uint64(len(seen)) {
		t.Errorf("%d connections counted active, %d in the table", counted, len(seen))
	}
}
