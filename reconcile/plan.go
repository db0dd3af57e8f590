// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/maps"
)

// Tables is what a plan writes to; *maps.Tables is one.
type Tables interface {
	PutAdjacency(index uint32, a maps.Adjacency) error
	PutBackend(id, service uint32, b lb.Backend, adjacency uint32) error
	SetRole(a netip.Addr, vip, backend bool) error
	Allow(service uint32, p netip.Prefix) error
	Disallow(service uint32, p netip.Prefix) error
	PutTable(t maps.Table) error
	PutService(id uint32, s *lb.Service, t maps.Table) error
	Publish(key lb.ServiceKey, id uint32) error
	Unpublish(key lb.ServiceKey) error
	DeleteService(id uint32) error
	DeleteBackend(id uint32) error
}

// step is one write; its place in the plan keeps every packet between two
// steps on ids that are filled in.
type step struct {
	what  string // for errors and tests: "service 3: 203.0.113.10:80/tcp"
	write func(Tables) error
}

// plan lists the writes that lead from one model to the next: what is pointed
// to comes before what points to it, removals run the other way round.
func plan(old, next model) []step {
	allow, disallow := allowSteps(old, next), disallowSteps(old, next)
	if len(old.allowed)+len(allow) > int(maps.MaxAllow) {
		// Both do not fit: for a moment who comes by a new prefix stays out.
		allow, disallow = append(disallow, allow...), nil
	}
	return slices.Concat(
		hopSteps(old, next), backendSteps(old, next), roleSteps(old, next, false),
		allow, serviceSteps(old, next),
		disallow, deleteSteps(old, next), roleSteps(old, next, true),
	)
}

func hopSteps(old, next model) (steps []step) {
	for a, row := range next.hops {
		if was, ok := old.hops[a]; ok && !was.doubt && sameHop(was.hop, row.hop) {
			continue
		}
		steps = append(steps, step{fmt.Sprintf("next hop %d of %s", row.index, a),
			func(t Tables) error { return t.PutAdjacency(row.index, row.hop) }})
	}
	return steps
}

func sameHop(a, b maps.Adjacency) bool {
	return a.Ifindex == b.Ifindex && a.MTU == b.MTU && a.NextHop == b.NextHop &&
		slices.Equal(a.Source, b.Source) && slices.Equal(a.Destination, b.Destination)
}

func backendSteps(old, next model) (steps []step) {
	for key, row := range next.backends {
		was := old.backends[key]
		if !was.doubt && was.id == row.id && was.hop == row.hop && was.backend.Weight == row.backend.Weight && was.service == row.service {
			continue
		}
		steps = append(steps, step{fmt.Sprintf("backend %d: %s", row.id, key),
			func(t Tables) error { return t.PutBackend(row.id, row.service, row.backend, row.hop) }})
	}
	return steps
}

// roleSteps adds roles before anything needs them, and takes them away last.
func roleSteps(old, next model, away bool) (steps []step) {
	for a, r := range next.roles {
		if was := old.roles[a]; was != r {
			// Between, an address has the roles of both models.
			if !away {
				r = role{vip: r.vip || was.vip, backend: r.backend || was.backend}
			}
			steps = append(steps, step{fmt.Sprintf("role of %s: %+v", a, r),
				func(t Tables) error { return t.SetRole(a, r.vip, r.backend) }})
		}
	}
	if !away {
		return steps
	}
	for a := range old.roles {
		if _, ok := next.roles[a]; !ok {
			steps = append(steps, step{fmt.Sprintf("no role of %s", a),
				func(t Tables) error { return t.SetRole(a, false, false) }})
		}
	}
	return steps
}

func allowSteps(old, next model) (steps []step) {
	for row := range next.allowed {
		if !old.allowed[row] {
			steps = append(steps, step{fmt.Sprintf("service %d allows %s", row.service, row.prefix),
				func(t Tables) error { return t.Allow(row.service, row.prefix) }})
		}
	}
	return steps
}

func disallowSteps(old, next model) (steps []step) {
	for row := range old.allowed {
		if !next.allowed[row] {
			steps = append(steps, step{fmt.Sprintf("service %d no longer allows %s", row.service, row.prefix),
				func(t Tables) error { return t.Disallow(row.service, row.prefix) }})
		}
	}
	return steps
}

func serviceSteps(old, next model) (steps []step) {
	for key, row := range next.services {
		was := old.services[key]
		if was.published && !row.published {
			steps = append(steps, step{fmt.Sprintf("withdraw service %d: %s", row.id, key),
				func(t Tables) error { return t.Unpublish(key) }})
		}
		sameTable := was.id == row.id && was.table.First == row.table.First && slices.Equal(was.table.IDs, row.table.IDs)
		if !sameTable {
			steps = append(steps, step{fmt.Sprintf("table of service %d: %d slots", row.id, len(row.table.IDs)),
				func(t Tables) error { return t.PutTable(row.table) }})
		}
		if !sameTable || was.doubt || was.service != row.service {
			steps = append(steps, step{fmt.Sprintf("service %d: %s", row.id, key),
				func(t Tables) error { return t.PutService(row.id, row.service.service(), row.table) }})
		}
		if row.published && (!was.published || was.doubt || was.id != row.id) {
			steps = append(steps, step{fmt.Sprintf("publish service %d: %s", row.id, key),
				func(t Tables) error { return t.Publish(key, row.id) }})
		}
	}
	return steps
}

func deleteSteps(old, next model) (steps []step) {
	for key, row := range old.services {
		if _, ok := next.services[key]; !ok {
			steps = append(steps, step{fmt.Sprintf("delete service %d: %s", row.id, key),
				func(t Tables) error { return t.DeleteService(row.id) }})
		}
	}
	for key, row := range old.backends {
		if _, ok := next.backends[key]; !ok {
			steps = append(steps, step{fmt.Sprintf("delete backend %d: %s", row.id, key),
				func(t Tables) error { return t.DeleteBackend(row.id) }})
		}
	}
	return steps
}
