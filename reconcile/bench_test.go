// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

// discard is a Tables that takes everything.
type discard struct{}

func (discard) PutAdjacency(uint32, maps.Adjacency) error           { return nil }
func (discard) PutBackend(uint32, uint32, lb.Backend, uint32) error { return nil }
func (discard) SetRole(netip.Addr, bool, bool) error                { return nil }
func (discard) Allow(uint32, netip.Prefix) error                    { return nil }
func (discard) Disallow(uint32, netip.Prefix) error                 { return nil }
func (discard) PutTable(maps.Table) error                           { return nil }
func (discard) PutService(uint32, *lb.Service, maps.Table) error    { return nil }
func (discard) Publish(lb.ServiceKey, uint32) error                 { return nil }
func (discard) Unpublish(lb.ServiceKey) error                       { return nil }
func (discard) DeleteService(uint32) error                          { return nil }
func (discard) DeleteBackend(uint32) error                          { return nil }

// BenchmarkOneBackendChanges is the cost of one health change among 1 000
// services of 10 backends, without the kernel's part.
func BenchmarkOneBackendChanges(b *testing.B) {
	d := &Desired{State: &lb.State{}, Health: map[BackendKey]lb.Health{}, Drains: map[BackendKey]bool{}, Hops: map[netip.Addr]maps.Adjacency{}}
	for i := range 1000 {
		s := lb.Service{
			Name: fmt.Sprint(i), Address: netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)}), Ports: lb.PortRange{First: 80, Last: 80},
			Protocol: lb.TCP, Algorithm: lb.RoundRobin, Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
			Timeouts: lb.Timeouts{Idle: time.Hour, HalfOpen: time.Second, Closing: time.Second},
		}
		for n := range 10 {
			backend := lb.Backend{Address: netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), byte(n)}), Port: 8080, Weight: 1}
			s.Backends = append(s.Backends, backend)
			d.Health[BackendKey{s.Key(), backend.AddrPort()}] = lb.Up
			d.Hops[backend.Address] = maps.Adjacency{Ifindex: 2, MTU: 1500}
		}
		d.State.Services = append(d.State.Services, s)
	}
	r := New(discard{}, nil)
	if err := r.Reconcile(d); err != nil {
		b.Fatal(err)
	}
	changing := BackendKey{d.State.Services[500].Key(), d.State.Services[500].Backends[5].AddrPort()}
	b.ReportAllocs()
	for b.Loop() {
		if d.Health[changing] == lb.Up {
			d.Health[changing] = lb.Down
		} else {
			d.Health[changing] = lb.Up
		}
		if err := r.Update(d, []*lb.Service{&d.State.Services[500]}); err != nil {
			b.Fatal(err)
		}
	}
}
