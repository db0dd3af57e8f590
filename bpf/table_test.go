// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"encoding/binary"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
)

// TestConcurrentInserts has two CPUs open the same connections, to 70 % of
// the table: no connection is entered twice or torn, at most 0.1 % refused.
func TestConcurrentInserts(t *testing.T) {
	const buckets = 8192
	const connections = buckets * 8 * 7 / 10
	spec, err := LoadLB()
	if err != nil {
		t.Fatal(err)
	}
	spec.Maps[LBMapConns].MaxEntries = buckets
	if err := spec.Variables["cfg_bucket_mask"].Set(uint32(buckets - 1)); err != nil {
		t.Fatal(err)
	}
	coll, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer coll.Close()
	h := hook{name: "xdp", coll: coll, prog: coll.Programs["weir_xdp"]}
	f := families[0]
	h.serve(t, f)
	h.put(t, LBMapAllow, LBAllowKey{Prefixlen: 32 + 96, Service: 1, Client: as16("0.0.0.0")}, uint32(1))

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
		if err := coll.Maps[LBMapConns].Lookup(i, &bucket); err != nil {
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
		if err := coll.Maps[LBMapActive].Lookup(id, &n); err != nil {
			t.Fatal(err)
		}
		counted += n
	}
	if counted != uint64(len(seen)) {
		t.Errorf("%d connections counted active, %d in the table", counted, len(seen))
	}
}
