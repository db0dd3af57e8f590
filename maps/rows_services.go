// SPDX-License-Identifier: Apache-2.0

package maps

import (
	"net/netip"

	"github.com/weirlb/weir/bpf"
	"github.com/weirlb/weir/lb"
)

type serviceRow struct {
	ID        uint32       `json:"id"`
	Service   string       `json:"service"`
	VIP       netip.Addr   `json:"vip"`
	Ports     string       `json:"ports"`
	Protocol  lb.Protocol  `json:"protocol"`
	Algorithm lb.Algorithm `json:"algorithm"`
	FirstSlot uint32       `json:"first_slot"`
	Slots     uint32       `json:"slots"`
	IdleS     float64      `json:"idle_s"` // this and those below are timeouts
	HalfOpenS float64      `json:"half_open_s"`
	ClosingS  float64      `json:"closing_s"`
	AffinityS float64      `json:"affinity_s"` // 0: none
}

func (r *rows) services() error {
	algorithmOf := map[bpf.LBAlgorithm]lb.Algorithm{}
	for name, number := range algorithms {
		algorithmOf[number] = name
	}
	return read(r, func(id *uint32, v []bpf.LBService) any {
		s := &v[0]
		if s.Vip == (bpf.LBAddr{}) {
			return nil
		}
		ports := lb.PortRange{First: networkOrder(s.FirstPort), Last: networkOrder(s.LastPort)}
		return serviceRow{
			*id, r.names.Service(*id), addressOf(s.Vip), ports.String(), protocolOf(s.Protocol), algorithmOf[s.Algorithm],
			s.FirstSlot, s.Slots, duration(s.Idle).Seconds(), duration(s.HalfOpen).Seconds(), duration(s.Closing).Seconds(),
			duration(s.Affinity).Seconds(),
		}
	})
}

type backendRow struct {
	ID        uint32     `json:"id"`
	ServiceID uint32     `json:"service_id"`
	Service   string     `json:"service"`
	Address   netip.Addr `json:"address"`
	Port      uint16     `json:"port"` // 0: the one that the client asked for
	Weight    uint16     `json:"weight"`
	Adjacency uint32     `json:"adjacency"`
}

func (r *rows) backends() error {
	return read(r, func(id *uint32, v []bpf.LBBackend) any {
		b := &v[0]
		if b.Address == (bpf.LBAddr{}) {
			return nil
		}
		return backendRow{*id, b.Service, r.names.Service(b.Service), addressOf(b.Address), networkOrder(b.Port), b.Weight, b.Adjacency}
	})
}

type slotRow struct {
	Slot      uint32 `json:"slot"`
	BackendID uint32 `json:"backend_id"`
	Backend   string `json:"backend"`
}

// slots of tables in use and of old ones that nothing has overwritten yet.
func (r *rows) slots() error {
	return read(r, func(slot *uint32, v []uint32) any {
		if v[0] == 0 {
			return nil
		}
		return slotRow{*slot, v[0], r.names.Backend(v[0])}
	})
}

type positionRow struct {
	ServiceID uint32 `json:"service_id"`
	Service   string `json:"service"`
	Position  uint64 `json:"position"`
}

func (r *rows) positions() error {
	return read(r, func(id *uint32, v []uint64) any {
		if v[0] == 0 {
			return nil
		}
		return positionRow{*id, r.names.Service(*id), v[0]}
	})
}

type activeRow struct {
	BackendID   uint32 `json:"backend_id"`
	Backend     string `json:"backend"`
	Connections uint64 `json:"connections"`
}

func (r *rows) active() error {
	return read(r, func(id *uint32, v []uint64) any {
		if v[0] == 0 {
			return nil
		}
		return activeRow{*id, r.names.Backend(*id), v[0]}
	})
}

type reasonRow struct {
	Reason  string `json:"reason"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

func (r *rows) reasonCounters() error {
	return read(r, func(reason *bpf.LBReason, v []bpf.LBCounter) any {
		row := reasonRow{Reason: reasonNames[*reason]}
		for _, c := range v {
			row.Packets += c.Packets
			row.Bytes += c.Bytes
		}
		return row
	})
}

type evictionRow struct {
	Class       string `json:"class"`
	Connections uint64 `json:"connections"`
}

func (r *rows) evictions() error {
	return read(r, func(class *bpf.LBEvictionClass, v []uint64) any {
		row := evictionRow{Class: evictionNames[*class]}
		if row.Class == "" {
			return nil // nobody leaves for a free way
		}
		for _, n := range v {
			row.Connections += n
		}
		return row
	})
}

type serviceCounterRow struct {
	ServiceID uint32 `json:"service_id"`
	Service   string `json:"service"`
	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`
	Opened    uint64 `json:"opened"`
	Refused   uint64 `json:"refused"`
}

func (r *rows) serviceCounters() error {
	return read(r, func(id *uint32, v []bpf.LBServiceCounter) any {
		sum := sumOf(v)
		if sum == (Counter{}) {
			return nil
		}
		return serviceCounterRow{*id, r.names.Service(*id), sum.Packets, sum.Bytes, sum.Opened, sum.Refused}
	})
}

type backendCounterRow struct {
	BackendID uint32 `json:"backend_id"`
	Backend   string `json:"backend"`
	Packets   uint64 `json:"packets"`
	Bytes     uint64 `json:"bytes"`
	Opened    uint64 `json:"opened"`
}

func (r *rows) backendCounters() error {
	return read(r, func(id *uint32, v []bpf.LBServiceCounter) any {
		sum := sumOf(v)
		if sum == (Counter{}) {
			return nil
		}
		return backendCounterRow{*id, r.names.Backend(*id), sum.Packets, sum.Bytes, sum.Opened}
	})
}
