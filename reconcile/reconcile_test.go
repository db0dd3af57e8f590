// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

// fake is a Tables that keeps the order maps need: what a write points to
// must be there, and what is pointed to must not be deleted.
type fake struct {
	t         *testing.T
	fail      int // writes until one fails; 0: none does
	writes    int
	hops      map[uint32]maps.Adjacency
	backends  map[uint32]fakeBackend
	services  map[uint32]fakeService
	slots     map[uint32]uint32
	published map[lb.ServiceKey]uint32
	allowed   map[allowRow]bool
	roles     map[netip.Addr]role

	mostAllowed int
}

type fakeBackend struct {
	service, hop uint32
	address      netip.Addr
}

type fakeService struct {
	vip   netip.Addr
	table maps.Table
}

func newFake(t *testing.T) *fake {
	return &fake{t: t, hops: map[uint32]maps.Adjacency{}, backends: map[uint32]fakeBackend{}, services: map[uint32]fakeService{},
		slots: map[uint32]uint32{}, published: map[lb.ServiceKey]uint32{}, allowed: map[allowRow]bool{}, roles: map[netip.Addr]role{}}
}

var errFull = errors.New("map is full")

func (f *fake) write() error {
	if f.writes++; f.fail > 0 {
		if f.fail--; f.fail == 0 {
			return errFull
		}
	}
	return nil
}

func (f *fake) must(ok bool, format string, args ...any) {
	f.t.Helper()
	if !ok {
		f.t.Errorf(format, args...)
	}
}

func (f *fake) PutAdjacency(index uint32, a maps.Adjacency) error {
	if err := f.write(); err != nil {
		return err
	}
	f.hops[index] = a
	return nil
}

func (f *fake) PutBackend(id, service uint32, b lb.Backend, hop uint32) error {
	if err := f.write(); err != nil {
		return err
	}
	_, ok := f.hops[hop]
	f.must(ok, "backend %d before its next hop %d", id, hop)
	f.backends[id] = fakeBackend{service, hop, b.Address}
	return nil
}

func (f *fake) SetRole(a netip.Addr, vip, backend bool) error {
	if err := f.write(); err != nil {
		return err
	}
	for _, s := range f.services {
		f.must(vip || s.vip != a, "VIP %s forgotten before its service", a)
	}
	for _, b := range f.backends {
		f.must(backend || b.address != a, "backend %s forgotten before it is deleted", a)
	}
	f.roles[a] = role{vip: vip, backend: backend}
	return nil
}

func (f *fake) Allow(service uint32, p netip.Prefix) error {
	if err := f.write(); err != nil {
		return err
	}
	f.allowed[allowRow{service, p}] = true
	f.mostAllowed = max(f.mostAllowed, len(f.allowed))
	return nil
}

func (f *fake) Disallow(service uint32, p netip.Prefix) error {
	if err := f.write(); err != nil {
		return err
	}
	delete(f.allowed, allowRow{service, p})
	return nil
}

func (f *fake) PutTable(t maps.Table) error {
	if err := f.write(); err != nil {
		return err
	}
	for i, backend := range t.IDs {
		_, ok := f.backends[backend]
		f.must(ok, "slot of backend %d, which is not there", backend)
		slot := t.First + uint32(i)
		for id, s := range f.services {
			inUse := slot >= s.table.First && slot < s.table.First+uint32(len(s.table.IDs))
			f.must(!inUse, "slot %d written while service %d reads it", slot, id)
		}
		f.slots[slot] = backend
	}
	return nil
}

func (f *fake) PutService(id uint32, s *lb.Service, t maps.Table) error {
	if err := f.write(); err != nil {
		return err
	}
	for i, backend := range t.IDs {
		f.must(f.slots[t.First+uint32(i)] == backend, "service %d published before its table", id)
	}
	f.must(f.roles[s.Address].vip, "service %d before its VIP's role", id)
	f.must(s.Timeouts.Idle > 0, "service %d without a timeout: its connections would end", id)
	f.services[id] = fakeService{s.Address, t}
	return nil
}

func (f *fake) Publish(key lb.ServiceKey, id uint32) error {
	if err := f.write(); err != nil {
		return err
	}
	_, ok := f.services[id]
	f.must(ok, "ports of service %d before the service", id)
	f.published[key] = id
	return nil
}

func (f *fake) Unpublish(key lb.ServiceKey) error {
	if err := f.write(); err != nil {
		return err
	}
	delete(f.published, key)
	return nil
}

func (f *fake) DeleteService(id uint32) error {
	if err := f.write(); err != nil {
		return err
	}
	for key, published := range f.published {
		f.must(published != id, "service %d deleted while %s leads to it", id, key)
	}
	delete(f.services, id)
	return nil
}

func (f *fake) DeleteBackend(id uint32) error {
	if err := f.write(); err != nil {
		return err
	}
	for service, s := range f.services {
		for _, backend := range s.table.IDs {
			f.must(backend != id, "backend %d deleted while service %d uses it", id, service)
		}
	}
	delete(f.backends, id)
	return nil
}

// desired has a service a letter of `names`, each with the backends given.
func desired(names string, backends ...int) *Desired {
	d := &Desired{State: &lb.State{}, Health: map[BackendKey]lb.Health{}, Drains: map[BackendKey]bool{}, Hops: map[netip.Addr]maps.Adjacency{}}
	for _, name := range names {
		s := lb.Service{
			Name: string(name), Address: netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", name)), Ports: lb.PortRange{First: 80, Last: 80},
			Protocol: lb.TCP, Algorithm: lb.RoundRobin, Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
			Timeouts: lb.Timeouts{Idle: time.Hour, HalfOpen: time.Second, Closing: time.Second},
		}
		for _, n := range backends {
			b := lb.Backend{Address: netip.MustParseAddr(fmt.Sprintf("10.0.0.%d", n)), Port: 8080, Weight: 1}
			s.Backends = append(s.Backends, b)
			d.Health[BackendKey{s.Key(), b.AddrPort()}] = lb.Up
			d.Hops[b.Address] = maps.Adjacency{Ifindex: 2, MTU: 1500}
		}
		d.State.Services = append(d.State.Services, s)
	}
	return d
}

func (f *fake) table(name byte) []uint32 {
	key := lb.ServiceKey{Address: netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", name)), Ports: lb.PortRange{First: 80, Last: 80}, Protocol: lb.TCP}
	return f.services[f.published[key]].table.IDs
}

func reconcile(t *testing.T, r *Reconciler, d *Desired) {
	t.Helper()
	if err := r.Reconcile(d); err != nil {
		t.Fatal(err)
	}
}

// TestIdempotent: the same state again writes nothing.
func TestIdempotent(t *testing.T) {
	f := newFake(t)
	r := New(f, nil)
	reconcile(t, r, desired("abc", 1, 2, 3))
	before := f.writes
	reconcile(t, r, desired("abc", 1, 2, 3))
	if f.writes != before {
		t.Errorf("%d writes for an unchanged state", f.writes-before)
	}
}

// TestBackendLeaves: a removed, a drained and a failed backend take no new
// connection; the removed one stays until no connection names it.
func TestBackendLeaves(t *testing.T) {
	f := newFake(t)
	r := New(f, nil)
	reconcile(t, r, desired("a", 1, 2, 3, 4))
	d := desired("a", 1, 2, 3)
	key := d.State.Services[0].Key()
	drained := BackendKey{key, d.State.Services[0].Backends[1].AddrPort()}
	failed := BackendKey{key, d.State.Services[0].Backends[2].AddrPort()}
	d.Drains[drained], d.Health[failed] = true, lb.Down
	reconcile(t, r, d)
	if got := f.table('a'); len(got) != 1 {
		t.Errorf("table %v, want the one backend that is left", got)
	}
	if len(f.backends) != 4 {
		t.Errorf("%d backends, want 4 until the sweep", len(f.backends))
	}
	removed := r.BackendID(BackendKey{key, netip.MustParseAddrPort("10.0.0.4:8080")})
	for _, connections := range []uint64{1, 0} {
		if err := r.Sweep(maps.Usage{Backends: map[uint32]uint64{removed: connections}}); err != nil {
			t.Fatal(err)
		}
		if _, ok := f.backends[removed]; ok != (connections > 0) {
			t.Errorf("%d connections: backend there %v", connections, ok)
		}
	}
}

// TestUpdate: updating the services that changed leads to the same maps as
// reconciling everything, and writes nothing else.
func TestUpdate(t *testing.T) {
	f, g := newFake(t), newFake(t)
	whole, part := New(f, nil), New(g, nil)
	d := desired("abcd", 1, 2, 3)
	reconcile(t, whole, d)
	reconcile(t, part, d)
	before := g.writes
	for i, health := range []lb.Health{lb.Down, lb.Up, lb.Down, lb.Down} {
		s := &d.State.Services[i]
		d.Health[BackendKey{s.Key(), s.Backends[i%3].AddrPort()}] = health
		reconcile(t, whole, d)
		if err := part.Update(d, []*lb.Service{s}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []byte("abcd") {
			if !slices.Equal(sortedHops(f, name), sortedHops(g, name)) {
				t.Errorf("%c: tables %v and %v", name, f.table(name), g.table(name))
			}
		}
	}
	// Three services changed: a backend, a table and the service each.
	if n := g.writes - before; n != 9 {
		t.Errorf("%d writes for three changes, want 9", n)
	}
}

// sortedHops are the addresses that a service's table leads to.
func sortedHops(f *fake, name byte) (all []string) {
	for _, id := range f.table(name) {
		all = append(all, f.backends[id].address.String())
	}
	slices.Sort(all)
	return all
}

// TestServiceLeaves: no packet finds a removed service, its connections do.
func TestServiceLeaves(t *testing.T) {
	f := newFake(t)
	r := New(f, nil)
	reconcile(t, r, desired("ab", 1))
	id := f.published[desired("b").State.Services[0].Key()]
	reconcile(t, r, desired("a", 1))
	if len(f.published) != 1 || len(f.services) != 2 {
		t.Errorf("%d published of %d services, want 1 of 2", len(f.published), len(f.services))
	}
	if err := r.Sweep(maps.Usage{}); err != nil {
		t.Fatal(err)
	}
	if _, ok := f.services[id]; ok {
		t.Error("unused service is still there")
	}
	reconcile(t, r, desired("ac", 1)) // takes the freed id
	if len(f.services) != 2 {
		t.Errorf("%d services, want 2", len(f.services))
	}
}

// TestExtents marks, takes and releases runs until all is one again.
func TestExtents(t *testing.T) {
	e := newExtents(0, 100)
	e.mark(20, 10)
	var got []extent
	for _, n := range []uint32{15, 5, 30, 40} {
		first, err := e.take(n)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, extent{first, n})
	}
	if _, err := e.take(1); err == nil {
		t.Error("took a slot of 100 that are taken")
	}
	for _, run := range append(got, extent{20, 10}) {
		e.release(run.first, run.count)
	}
	if _, err := e.take(1); err == nil {
		t.Error("took a released run before it settled")
	}
	e.settle()
	if first, err := e.take(100); err != nil || first != 0 {
		t.Errorf("took 100 at %d: %v", first, err)
	}
}
