// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

// load makes the maps anew, in the kernel.
func load(t *testing.T) *Tables {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make BPF maps")
	}
	spec, err := bpf.LoadLB()
	if err != nil {
		t.Fatal(err)
	}
	all, err := ebpf.NewCollection(&ebpf.CollectionSpec{Maps: spec.Maps, Types: spec.Types, ByteOrder: spec.ByteOrder})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(all.Close)
	tables, err := New(all.Maps)
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

func numbered(kind string) func(uint32) string {
	return func(id uint32) string { return fmt.Sprint(kind, id) }
}

// TestRows writes what the daemon and the program write and reads it back as
// an operator does.
func TestRows(t *testing.T) {
	tables := load(t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	web := &lb.Service{Address: netip.MustParseAddr("203.0.113.10"), Ports: lb.PortRange{First: 80, Last: 80}, Protocol: lb.TCP,
		Algorithm: lb.Maglev, Timeouts: lb.Timeouts{Idle: time.Hour, HalfOpen: 30 * time.Second, Closing: 30 * time.Second}}
	table := Table{First: 3, IDs: []uint32{5, 5}}
	six := lb.ServiceKey{Address: netip.MustParseAddr("2001:db8::10"), Ports: lb.PortRange{First: 8000, Last: 8004}, Protocol: lb.UDP}
	check(tables.PutAdjacency(FirstAdjacency+1, Adjacency{Ifindex: 7, MTU: 1500, Source: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		Destination: net.HardwareAddr{2, 0, 0, 0, 0, 2}, NextHop: netip.MustParseAddr("10.1.1.1")}))
	check(tables.PutBackend(5, 1, lb.Backend{Address: netip.MustParseAddr("10.1.1.21"), Port: 8080, Weight: 3}, FirstAdjacency+1))
	check(tables.SetRole(web.Address, true, false))
	check(tables.PutTable(table))
	check(tables.PutService(1, web, table))
	check(tables.Publish(web.Key(), 1))
	check(tables.Publish(six, 2))
	check(tables.Allow(1, netip.MustParsePrefix("198.51.100.0/24")))
	check(tables.Allow(2, netip.MustParsePrefix("::/0")))
	check(tables.SetActive(5, 9))
	check(tables.put(bpf.LBMapPinned, uint32(0), &bpf.LBPinned{AbiVersion: 1, BucketMask: 1023, HashKey: 255}))
	check(tables.put(bpf.LBMapPositions, uint32(1), uint64(12)))
	now, err := nowTicks()
	check(err)
	check(tables.put(bpf.LBMapAffinities, &bpf.LBAffinityKey{Service: 1, Client: address(netip.MustParseAddr("2001:db8::7"))},
		&bpf.LBAffinity{Backend: 5, Seen: now + 100}))
	counters := make([]bpf.LBServiceCounter, ebpf.MustPossibleCPU())
	for i := range counters {
		counters[i] = bpf.LBServiceCounter{Packets: 10, Bytes: 1000, Opened: 2, Refused: 1}
	}
	check(tables.put(bpf.LBMapServiceCounters, uint32(1), counters))
	check(tables.put(bpf.LBMapBackendCounters, uint32(5), counters))
	cpus := uint64(len(counters))

	for name, want := range map[string]string{
		"pinned":      `{"abi_version":1,"buckets":1024,"hash_key":"0x00000000000000ff"}`,
		"evictions":   `{"class":"closing","connections":0}{"class":"idle_udp","connections":0}{"class":"unproven","connections":0}`,
		"role_hints":  fmt.Sprintf(`{"slot":%d,"vip":true,"backend":false}`, bpf.RoleSlot(web.Address)),
		"roles":       `{"address":"203.0.113.10","vip":true,"backend":false}`,
		"exact_ports": `{"vip":"203.0.113.10","ports":"80","protocol":"tcp","service_id":1,"service":"s1"}`,
		"port_ranges": `{"vip":"2001:db8::10","ports":"8000-8003","protocol":"udp","service_id":2,"service":"s2"}` +
			`{"vip":"2001:db8::10","ports":"8004","protocol":"udp","service_id":2,"service":"s2"}`,
		"allow":      `{"service_id":1,"service":"s1","prefix":"198.51.100.0/24"}{"service_id":2,"service":"s2","prefix":"::/0"}`,
		"affinities": `{"service_id":1,"service":"s1","client":"2001:db8::7","backend_id":5,"backend":"b5","idle_s":0}`,
		"services": `{"id":1,"service":"s1","vip":"203.0.113.10","ports":"80","protocol":"tcp","algorithm":"maglev","first_slot":3,"slots":2,` +
			`"idle_s":3600.256335872,"half_open_s":30.064771072,"closing_s":30.064771072,"affinity_s":0}`,
		"backends": `{"id":5,"service_id":1,"service":"s1","address":"10.1.1.21","port":8080,"weight":3,"adjacency":16385}`,
		"slots":    `{"slot":3,"backend_id":5,"backend":"b5"}{"slot":4,"backend_id":5,"backend":"b5"}`,
		"adjacencies": `{"index":16385,"interface":"i7","mtu":1500,"source":"02:00:00:00:00:01","destination":"02:00:00:00:00:02",` +
			`"next_hop":"10.1.1.1","towards":"backend","state":"ready"}`,
		"positions":        `{"service_id":1,"service":"s1","position":12}`,
		"active":           `{"backend_id":5,"backend":"b5","connections":9}`,
		"service_counters": fmt.Sprintf(`{"service_id":1,"service":"s1","packets":%d,"bytes":%d,"opened":%d,"refused":%d}`, 10*cpus, 1000*cpus, 2*cpus, cpus),
		"backend_counters": fmt.Sprintf(`{"backend_id":5,"backend":"b5","packets":%d,"bytes":%d,"opened":%d}`, 10*cpus, 1000*cpus, 2*cpus),
	} {
		if got := strings.Join(readAll(t, tables, name), ""); got != want {
			t.Errorf("%s:\n%s, want\n%s", name, got, want)
		}
	}
	reasons := readAll(t, tables, "reason_counters")
	if len(reasons) != len(reasonNames) || !slices.Contains(reasons, `{"reason":"not_ours","packets":0,"bytes":0}`) {
		t.Errorf("reason_counters: %v", reasons)
	}
}

func readAll(t *testing.T, tables *Tables, name string) (all []string) {
	t.Helper()
	names := Names{numbered("s"), numbered("b"), numbered("i")}
	if err := tables.Rows(name, names, func(row any) error {
		text, err := json.Marshal(row)
		all = append(all, string(text))
		return err
	}); err != nil {
		t.Error(err)
	}
	slices.Sort(all) // hashes have no order
	return all
}

// TestManyRows: more rows than one read takes, each once, and a reader that
// has enough.
func TestManyRows(t *testing.T) {
	tables := load(t)
	const many = 100_000
	keys, values := make([]bpf.LBAddr, many), make([]bpf.LBRole, many)
	for i := range keys {
		keys[i] = address(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
		values[i] = bpf.LBRoleROLE_BACKEND
	}
	if _, err := tables.byName[bpf.LBMapRoles].BatchUpdate(keys, values, nil); err != nil {
		t.Fatal(err)
	}
	if found := len(slices.Compact(readAll(t, tables, "roles"))); found != many {
		t.Errorf("%d rows, want %d", found, many)
	}
	enough, n := errors.New("enough"), 0
	err := tables.Rows("roles", Names{}, func(any) error {
		n++
		return enough
	})
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("after %d rows: %v", n, err)
	}
}

// TestEveryMap: none is left without rows.
func TestEveryMap(t *testing.T) {
	spec, err := bpf.LoadLB()
	if err != nil {
		t.Fatal(err)
	}
	for name := range spec.Maps {
		if name[0] != '.' && name != bpf.LBMapConns && Readable(name) != nil {
			t.Errorf("map %s has no rows", name)
		}
	}
	if err := Readable("nope"); err == nil || !strings.Contains(err.Error(), "affinities") {
		t.Errorf("no such map: %v", err)
	}
	if err := Readable("conns"); err == nil || !strings.Contains(err.Error(), "weir conns") {
		t.Errorf("conns: %v", err)
	}
}
