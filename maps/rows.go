// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"errors"
	"fmt"
	stdmaps "maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

// Names are what people call the ids that the maps hold; "" where nobody knows.
type Names struct {
	Service   func(id uint32) string
	Backend   func(id uint32) string
	Interface func(ifindex uint32) string
}

// decoders turn maps into rows: structs that become flat JSON objects, whose
// fields may be added to but never changed. Of arrays only what is in use is a
// row. Connections have a command of their own.
var decoders = map[string]func(*rows) error{
	bpf.LBMapPinned:          (*rows).pinned,
	bpf.LBMapRoles:           (*rows).roles,
	bpf.LBMapRoleHints:       (*rows).roleHints,
	bpf.LBMapExactPorts:      (*rows).exactPorts,
	bpf.LBMapPortRanges:      (*rows).portRanges,
	bpf.LBMapAllow:           (*rows).allow,
	bpf.LBMapAffinities:      (*rows).affinities,
	bpf.LBMapServices:        (*rows).services,
	bpf.LBMapBackends:        (*rows).backends,
	bpf.LBMapSlots:           (*rows).slots,
	bpf.LBMapAdjacencies:     (*rows).adjacencies,
	bpf.LBMapPositions:       (*rows).positions,
	bpf.LBMapActive:          (*rows).active,
	bpf.LBMapEvictions:       (*rows).evictions,
	bpf.LBMapReasonCounters:  (*rows).reasonCounters,
	bpf.LBMapServiceCounters: (*rows).serviceCounters,
	bpf.LBMapBackendCounters: (*rows).backendCounters,
}

// Readable returns nil where Rows can decode the map; else it tells what can be.
func Readable(name string) error {
	if name == bpf.LBMapConns {
		return errors.New("map conns has a command of its own: weir conns")
	}
	if decoders[name] == nil {
		return fmt.Errorf("there is no map %q; it is one of %s", name, strings.Join(slices.Sorted(stdmaps.Keys(decoders)), ", "))
	}
	return nil
}

// Rows calls do for every row of a map, until it returns an error. What
// changes meanwhile may be missed or seen.
func (t *Tables) Rows(name string, names Names, do func(row any) error) error {
	if err := Readable(name); err != nil {
		return err
	}
	r := &rows{m: t.byName[name], names: names, do: do}
	if err := decoders[name](r); err != nil {
		return fmt.Errorf("read map %s: %w", name, err)
	}
	return nil
}

// rows is one reading of a map.
type rows struct {
	m     *ebpf.Map
	names Names
	do    func(any) error
}

// batch of entries is read by one system call; it must hold the fullest
// bucket of a hash.
const batch = 4096

// read decodes every entry; decode returns nil for what is no row. A map that
// has a copy a CPU gives all of them, others one value.
func read[K, V any](r *rows, decode func(key *K, values []V) any) error {
	copies := 1
	if strings.HasPrefix(r.m.Type().String(), "PerCPU") {
		copies = ebpf.MustPossibleCPU()
	}
	keys, values := make([]K, batch), make([]V, batch*copies)
	var cursor ebpf.MapBatchCursor
	for {
		n, err := r.m.BatchLookup(&cursor, keys, values, nil)
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		for i := range n {
			row := decode(&keys[i], values[i*copies:(i+1)*copies])
			if row == nil {
				continue
			}
			if err := r.do(row); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

type pinnedRow struct {
	ABIVersion uint32 `json:"abi_version"`
	Buckets    uint32 `json:"buckets"`
	HashKey    string `json:"hash_key"`
}

func (r *rows) pinned() error {
	return read(r, func(_ *uint32, v []bpf.LBPinned) any {
		return pinnedRow{v[0].AbiVersion, v[0].BucketMask + 1, fmt.Sprintf("%#016x", v[0].HashKey)}
	})
}

type roleRow struct {
	Address netip.Addr `json:"address"`
	VIP     bool       `json:"vip"`
	Backend bool       `json:"backend"`
}

func (r *rows) roles() error {
	return read(r, func(a *bpf.LBAddr, v []bpf.LBRole) any {
		return roleRow{addressOf(*a), v[0]&bpf.LBRoleROLE_VIP != 0, v[0]&bpf.LBRoleROLE_BACKEND != 0}
	})
}

type hintRow struct {
	Slot    int  `json:"slot"`
	VIP     bool `json:"vip"`
	Backend bool `json:"backend"`
}

// roleHints has no use for batches: the map is one large value.
func (r *rows) roleHints() error {
	var hints bpf.LBRoleHints
	if err := r.m.Lookup(uint32(0), &hints); err != nil {
		return err
	}
	for slot := range 4 * len(hints.Slots) {
		bits := bpf.LBRole(hints.Slots[slot/4] >> (slot % 4 * 2))
		row := hintRow{slot, bits&bpf.LBRoleROLE_VIP != 0, bits&bpf.LBRoleROLE_BACKEND != 0}
		if !row.VIP && !row.Backend {
			continue
		}
		if err := r.do(row); err != nil {
			return err
		}
	}
	return nil
}

type portRow struct {
	VIP       netip.Addr  `json:"vip"`
	Ports     string      `json:"ports"`
	Protocol  lb.Protocol `json:"protocol"`
	ServiceID uint32      `json:"service_id"`
	Service   string      `json:"service"`
}

func (r *rows) exactPorts() error {
	return read(r, func(k *bpf.LBServiceKey, v []uint32) any {
		return portRow{addressOf(k.Vip), fmt.Sprint(networkOrder(k.Port)), protocolOf(k.Protocol), v[0], r.names.Service(v[0])}
	})
}

// portRanges are in blocks of ports that share their first bits.
func (r *rows) portRanges() error {
	return read(r, func(k *bpf.LBPortPrefixKey, v []uint32) any {
		first := uint16(k.Port[0])<<8 | uint16(k.Port[1])
		block := lb.PortRange{First: first, Last: first | uint16(1<<(16-(k.Prefixlen-portPrefixBits))-1)}
		return portRow{addressOf(k.Vip), block.String(), protocolOf(k.Protocol), v[0], r.names.Service(v[0])}
	})
}

type allowedRow struct {
	ServiceID uint32       `json:"service_id"`
	Service   string       `json:"service"`
	Prefix    netip.Prefix `json:"prefix"`
}

func (r *rows) allow() error {
	return read(r, func(k *bpf.LBAllowKey, _ []uint32) any {
		return allowedRow{k.Service, r.names.Service(k.Service), prefixOf(k)}
	})
}

type affinityRow struct {
	ServiceID uint32     `json:"service_id"`
	Service   string     `json:"service"`
	Client    netip.Addr `json:"client"`
	BackendID uint32     `json:"backend_id"`
	Backend   string     `json:"backend"`
	IdleS     float64    `json:"idle_s"` // since the last new connection
}

func (r *rows) affinities() error {
	now, err := nowTicks()
	if err != nil {
		return err
	}
	return read(r, func(k *bpf.LBAffinityKey, v []bpf.LBAffinity) any {
		idle := duration(uint32(max(0, int32(now-v[0].Seen))))
		return affinityRow{k.Service, r.names.Service(k.Service), addressOf(k.Client), v[0].Backend, r.names.Backend(v[0].Backend), idle.Seconds()}
	})
}

type hardware net.HardwareAddr

func (h hardware) MarshalText() ([]byte, error) { return []byte(net.HardwareAddr(h).String()), nil }

type adjacencyRow struct {
	Index       uint32     `json:"index"`
	Interface   string     `json:"interface"`
	MTU         uint32     `json:"mtu"`
	Source      hardware   `json:"source"`
	Destination hardware   `json:"destination"`
	NextHop     netip.Addr `json:"next_hop"`
	Towards     string     `json:"towards"` // client | backend
	State       string     `json:"state"`   // writing | unresolved | ready
}

var adjacencyStates = map[bpf.LBAdjacencyState]string{
	bpf.LBAdjacencyStateADJACENCY_WRITING: "writing", bpf.LBAdjacencyStateADJACENCY_UNRESOLVED: "unresolved",
	bpf.LBAdjacencyStateADJACENCY_READY: "ready",
}

func (r *rows) adjacencies() error {
	return read(r, func(index *uint32, v []bpf.LBAdjacency) any {
		a, towards := &v[0], "backend"
		if *index < FirstAdjacency {
			towards = "client"
		}
		if a.State == uint32(bpf.LBAdjacencyStateADJACENCY_FREE) {
			return nil
		}
		return adjacencyRow{*index, r.names.Interface(a.Ifindex), a.Mtu, a.Source[:], a.Destination[:], addressOf(a.NextHop), towards,
			adjacencyStates[bpf.LBAdjacencyState(a.State)]}
	})
}
