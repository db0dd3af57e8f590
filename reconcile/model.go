// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"net/netip"
	"time"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
	"github.com/weirlb/weir/scheduler"
)

// BackendKey identifies a backend: the same server in two services is two.
type BackendKey struct {
	Service lb.ServiceKey
	Backend netip.AddrPort
}

// String returns "203.0.113.10:80/tcp 10.1.1.21:8080".
func (k BackendKey) String() string { return k.Service.String() + " " + k.Backend.String() }

// Desired is everything the maps are to say.
type Desired struct {
	State  *lb.State
	Health map[BackendKey]lb.Health      // absent: Unknown
	Drains map[BackendKey]bool           // beside those of State
	Hops   map[netip.Addr]maps.Adjacency // next hop of each backend that has a route
}

// usable tells whether a backend takes new connections.
func (d *Desired) usable(key BackendKey, b lb.Backend) bool {
	return b.Weight > 0 && !b.Drain && !d.Drains[key] && d.Health[key] == lb.Up
}

// model is what the maps say, in the domain's words; ids are stable for as
// long as a connection may name them.
type model struct {
	services map[lb.ServiceKey]serviceRow
	backends map[BackendKey]backendRow
	hops     map[netip.Addr]hopRow
	allowed  map[allowRow]bool // false: there, perhaps
	roles    map[netip.Addr]role
}

type serviceRow struct {
	id        uint32
	service   settings
	table     maps.Table
	published bool // false: kept for the connections it has
	doubt     bool // what the maps say may be something else
}

// settings is the comparable part of a service that the maps hold.
type settings struct {
	key       lb.ServiceKey
	algorithm lb.Algorithm
	timeouts  lb.Timeouts
	affinity  time.Duration
}

func (s settings) service() *lb.Service {
	return &lb.Service{Address: s.key.Address, Ports: s.key.Ports, Protocol: s.key.Protocol, Algorithm: s.algorithm,
		Timeouts: s.timeouts, AffinityTimeout: s.affinity}
}

type backendRow struct {
	id, service, hop uint32
	backend          lb.Backend
	desired          bool // false: kept for the connections it has
	doubt            bool
}

type hopRow struct {
	index uint32
	hop   maps.Adjacency
	doubt bool
}

type allowRow struct {
	service uint32
	prefix  netip.Prefix
}

type role struct{ vip, backend, doubt bool }

func newModel() model {
	return model{
		map[lb.ServiceKey]serviceRow{}, map[BackendKey]backendRow{}, map[netip.Addr]hopRow{},
		map[allowRow]bool{}, map[netip.Addr]role{},
	}
}

// next is the model that the desired state asks for, with the ids that the
// current one has. What is no longer desired stays, unpublished and without
// new connections, until a sweep finds it unused.
func (r *Reconciler) next(d *Desired) (model, error) {
	n := newModel()
	for i := range d.State.Services {
		if err := r.addService(n, d, &d.State.Services[i]); err != nil {
			return n, err
		}
	}
	for key, row := range r.current.services {
		if _, ok := n.services[key]; !ok {
			row.published, row.table, row.doubt = false, maps.Table{}, false
			n.services[key] = row
		}
	}
	for key, row := range r.current.backends {
		if _, ok := n.backends[key]; !ok {
			row.desired, row.backend.Weight, row.doubt = false, 0, false
			if err := r.addHop(n, d, key.Backend.Addr(), &row); err != nil {
				return n, err
			}
			n.backends[key] = row
		}
	}
	n.addRoles()
	return n, nil
}

func (r *Reconciler) addService(n model, d *Desired, s *lb.Service) (err error) {
	key := s.Key()
	row := serviceRow{service: settings{key, s.Algorithm, s.Timeouts, s.AffinityTimeout}, published: true}
	if row.id, err = r.serviceIDs.of(key); err != nil {
		return err
	}
	pool := make([]scheduler.Backend, 0, len(s.Backends))
	for _, b := range s.Backends {
		backendKey := BackendKey{key, b.AddrPort()}
		backend := backendRow{service: row.id, backend: b, desired: true}
		if backend.id, err = r.backendIDs.of(backendKey); err != nil {
			return err
		}
		if err := r.addHop(n, d, b.Address, &backend); err != nil {
			return err
		}
		member := scheduler.Backend{ID: backend.id, Key: b.AddrPort().String()}
		if !d.usable(backendKey, b) {
			backend.backend.Weight = 0
		}
		member.Weight = backend.backend.Weight
		n.backends[backendKey] = backend
		pool = append(pool, member)
	}
	row.table.IDs = slotsOf(s.Algorithm, pool)
	n.services[key] = row
	for _, prefix := range s.Allow {
		// In the map IPv4 is a part of IPv6, and ::/0 would cover it.
		if prefix.Addr().Is4() == s.Address.Is4() {
			n.allowed[allowRow{row.id, prefix}] = true
		}
	}
	return nil
}

func slotsOf(a lb.Algorithm, pool []scheduler.Backend) []uint32 {
	switch a {
	case lb.Maglev, lb.Source:
		return scheduler.Maglev(pool)
	case lb.LeastConn:
		return scheduler.LeastConn(pool)
	case lb.RoundRobin, lb.Latency: // the configuration refuses latency
	}
	return scheduler.RoundRobin(pool)
}

// addHop gives a backend its adjacency. The last known way is kept while the
// backend has none, and the last known MAC: connections may outlive a flapping route.
func (r *Reconciler) addHop(n model, d *Desired, a netip.Addr, row *backendRow) (err error) {
	hop, ok := n.hops[a]
	if !ok {
		hop = r.current.hops[a]
		hop.doubt = false
		if known, ok := d.Hops[a]; ok {
			if was := hop.hop; known.Destination == nil && known.Ifindex == was.Ifindex && known.NextHop == was.NextHop {
				known.Destination = was.Destination
			}
			hop.hop = known
		}
		if hop.index, err = r.hopIDs.of(a); err != nil {
			return err
		}
		n.hops[a] = hop
	}
	row.hop = hop.index
	return nil
}

func (m model) addRoles() {
	for key := range m.services {
		known := m.roles[key.Address]
		known.vip = true
		m.roles[key.Address] = known
	}
	for key := range m.backends {
		known := m.roles[key.Backend.Addr()]
		known.backend = true
		m.roles[key.Backend.Addr()] = known
	}
}
