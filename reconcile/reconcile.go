// SPDX-License-Identifier: Apache-2.0

// Package reconcile brings the maps to what is desired: a pure plan from what
// they say to what they are to say, then its writes in order. It starts no
// goroutine and one goroutine owns a Reconciler.
package reconcile

import (
	"fmt"
	stdmaps "maps"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

// Reconciler knows what the maps say.
type Reconciler struct {
	tables     Tables
	current    model
	doubtful   bool // a plan failed, and none for everything has gone through since
	serviceIDs *ids[lb.ServiceKey]
	backendIDs *ids[BackendKey]
	hopIDs     *ids[netip.Addr]
	slots      *extents
}

// New returns a Reconciler of maps that hold what an earlier daemon wrote, if
// restored is not nil: its ids are kept, and its services and backends stay
// until a sweep finds no connection of theirs.
func New(tables Tables, restored *maps.Restored) *Reconciler {
	r := &Reconciler{
		tables:     tables,
		current:    newModel(),
		serviceIDs: newIDs[lb.ServiceKey]("service", 1, maps.MaxServices),
		backendIDs: newIDs[BackendKey]("backend", 1, maps.MaxBackends),
		hopIDs:     newIDs[netip.Addr]("next hop", maps.FirstAdjacency+1, maps.MaxAdjacencies),
		slots:      newExtents(0, maps.MaxSlots),
	}
	if restored != nil {
		r.restore(restored)
	}
	return r
}

func (r *Reconciler) restore(found *maps.Restored) {
	keys := map[uint32]lb.ServiceKey{}
	for id, s := range found.Services {
		r.serviceIDs.set(s.Key, id)
		keys[id] = s.Key
		r.slots.mark(s.Table.First, uint32(len(s.Table.IDs)))
		r.current.services[s.Key] = serviceRow{id: id, table: s.Table, service: settings{key: s.Key, timeouts: s.Timeouts}, published: found.Published[s.Key] == id}
	}
	for id, b := range found.Backends {
		address, key := b.AddrPort.Addr(), BackendKey{keys[b.Service], b.AddrPort}
		r.backendIDs.set(key, id)
		r.hopIDs.set(address, b.Adjacency)
		r.current.backends[key] = backendRow{
			id: id, service: b.Service, hop: b.Adjacency, backend: lb.Backend{Address: address, Port: b.AddrPort.Port()},
		}
		r.current.hops[address] = hopRow{index: b.Adjacency}
	}
	for service, prefixes := range found.Allowed {
		for _, prefix := range prefixes {
			r.current.allowed[allowRow{service, prefix}] = true
		}
	}
	for a := range found.Roles {
		r.current.roles[a] = role{}
	}
}

// Reconcile writes what differs from the desired state. After an error the
// maps hold a whole prefix of the plan, and the next call, for this state or
// another, repeats or undoes what it may have written.
func (r *Reconciler) Reconcile(d *Desired) error {
	next, err := r.next(d)
	if err != nil {
		return err
	}
	if err := r.place(next); err != nil {
		return err
	}
	if err := r.apply(r.current, next); err != nil {
		r.releaseTables(next, r.current)
		r.doubt(next)
		return err
	}
	r.slots.settle()
	r.releaseTables(r.current, next)
	r.current, r.doubtful = next, false
	return nil
}

// Update is Reconcile for a desired state that differs from the last one only
// in health and drains of these services; its cost is theirs alone.
func (r *Reconciler) Update(d *Desired, services []*lb.Service) error {
	old, next := newModel(), newModel()
	for _, s := range services {
		if err := r.addService(next, d, s); err != nil {
			return err
		}
		old.services[s.Key()] = r.current.services[s.Key()]
	}
	for key := range next.backends {
		old.backends[key] = r.current.backends[key]
		old.hops[key.Backend.Addr()] = r.current.hops[key.Backend.Addr()]
	}
	old.allowed = next.allowed // as before
	if err := r.place(next); err != nil {
		return err
	}
	if err := r.apply(old, next); err != nil {
		r.releaseTables(next, old)
		next.allowed = r.current.allowed // not written
		r.doubt(next)
		return err
	}
	r.slots.settle()
	r.releaseTables(old, next)
	stdmaps.Copy(r.current.services, next.services)
	stdmaps.Copy(r.current.backends, next.backends)
	stdmaps.Copy(r.current.hops, next.hops)
	return nil
}

func (r *Reconciler) apply(old, next model) error {
	for _, s := range plan(old, next) {
		if err := s.write(r.tables); err != nil {
			return fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return nil
}

// releaseTables lets go of the slots that only `from` uses.
func (r *Reconciler) releaseTables(from, stays model) {
	for key, row := range from.services {
		if kept := stays.services[key].table; len(kept.IDs) == 0 || kept.First != row.table.First {
			r.slots.release(row.table.First, uint32(len(row.table.IDs)))
		}
	}
}

// place gives every table that changed a run of slots beside the old one.
func (r *Reconciler) place(next model) error {
	for key, row := range next.services {
		was := r.current.services[key]
		row.table.First = was.table.First
		if !slices.Equal(was.table.IDs, row.table.IDs) {
			row.table.First = 0
			if n := uint32(len(row.table.IDs)); n > 0 {
				first, err := r.slots.take(n)
				if err != nil {
					return fmt.Errorf("service %s: %w", key, err)
				}
				row.table.First = first
			}
		}
		next.services[key] = row
	}
	return nil
}

// Sweep forgets services and backends that are not desired and that no
// connection names: used tells which ids are named. After a plan that failed
// it waits for one that goes through.
func (r *Reconciler) Sweep(used maps.Usage) error {
	if r.doubtful {
		return nil
	}
	next := newModel()
	for key, row := range r.current.services {
		if row.published || used.Services[row.id] > 0 {
			next.services[key] = row
		}
	}
	for key, row := range r.current.backends {
		if row.desired || used.Backends[row.id] > 0 {
			next.backends[key] = row
			next.hops[key.Backend.Addr()] = r.current.hops[key.Backend.Addr()]
		}
	}
	next.allowed = r.current.allowed
	next.addRoles()
	if err := r.apply(r.current, next); err != nil {
		r.doubt(r.current)
		return err
	}
	forget(r.serviceIDs, r.current.services, next.services)
	forget(r.backendIDs, r.current.backends, next.backends)
	forget(r.hopIDs, r.current.hops, next.hops)
	r.current = next
	return nil
}

func forget[K comparable, R any](from *ids[K], old, next map[K]R) {
	for key := range old {
		if _, ok := next[key]; !ok {
			from.forget(key)
		}
	}
}

// ServiceID returns the id under which the maps count a service, 0: none.
func (r *Reconciler) ServiceID(key lb.ServiceKey) uint32 { return r.current.services[key].id }

// BackendID returns the id under which the maps count a backend, 0: none.
func (r *Reconciler) BackendID(key BackendKey) uint32 { return r.current.backends[key].id }

// Names returns the services and backends of all ids, also of those that are
// only kept for their connections.
func (r *Reconciler) Names() (services map[uint32]lb.ServiceKey, backends map[uint32]BackendKey) {
	services, backends = map[uint32]lb.ServiceKey{}, map[uint32]BackendKey{}
	for key, row := range r.current.services {
		services[row.id] = key
	}
	for key, row := range r.current.backends {
		backends[row.id] = key
	}
	return services, backends
}

// VIPs returns the addresses of all services, also of those that are only
// kept for their connections.
func (r *Reconciler) VIPs() []netip.Addr {
	var all []netip.Addr
	for a, role := range r.current.roles {
		if role.vip {
			all = append(all, a)
		}
	}
	return all
}

// Addresses returns every backend address whose next hop is wanted.
func (r *Reconciler) Addresses() []netip.Addr {
	all := make([]netip.Addr, 0, len(r.current.hops))
	for a := range r.current.hops {
		all = append(all, a)
	}
	return all
}
