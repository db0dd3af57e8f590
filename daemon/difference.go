// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weirlb/weir/api"
	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/reconcile"
)

// comparison of two desired states.
type comparison struct {
	old, next *reconcile.Desired
	active    func(reconcile.BackendKey) uint64 // connections that a backend has open
}

// plan is what leads from the one to the other.
func (c comparison) plan() *api.Plan {
	old, next := c.old.State, c.next.State
	p := &api.Plan{Settings: fieldChanges(settingFields, old, next), Services: []api.ServiceChange{}}
	before := map[lb.ServiceKey]*lb.Service{}
	for i := range old.Services {
		before[old.Services[i].Key()] = &old.Services[i]
	}
	for i := range next.Services {
		s := &next.Services[i]
		was := before[s.Key()]
		delete(before, s.Key())
		if was == nil {
			p.Services = append(p.Services, c.service(api.Added, &lb.Service{}, s))
		} else if change := c.service(api.Changed, was, s); len(change.Fields)+len(change.Backends) > 0 {
			p.Services = append(p.Services, change)
		}
	}
	for i := range old.Services {
		if s := &old.Services[i]; before[s.Key()] != nil {
			p.Services = append(p.Services, c.service(api.Removed, s, &lb.Service{}))
		}
	}
	return p
}

func (c comparison) service(kind string, was, is *lb.Service) api.ServiceChange {
	named := is
	if kind == api.Removed {
		named = was
	}
	key := named.Key()
	active := func(b netip.AddrPort) uint64 { return c.active(reconcile.BackendKey{Service: key, Backend: b}) }
	change := api.ServiceChange{
		Service: named.Name, Address: key.Address.String(), Port: key.Ports.String(), Protocol: string(key.Protocol),
		Change: kind, Fields: []api.FieldChange{}, Backends: backendChanges(was, is, active),
		Slots: slotChange(c.old.Slots(was), c.next.Slots(is)),
	}
	if kind == api.Changed {
		change.Fields = fieldChanges(serviceFields, was, is)
	}
	for _, b := range was.Backends {
		change.Connections.Kept += active(b.AddrPort())
	}
	for _, b := range change.Backends {
		change.Connections.Drained += b.Connections.Drained
		change.Connections.Kept -= b.Connections.Drained
	}
	return change
}

func slotChange(old, next []netip.AddrPort) api.SlotChange {
	same := 0
	for i := range min(len(old), len(next)) {
		if old[i] == next[i] {
			same++
		}
	}
	return api.SlotChange{Old: len(old), New: len(next), Moved: max(len(old), len(next)) - same}
}

// backendChanges compares by address and port. What came and went at one
// address is one backend with another port, whose connections stay behind.
func backendChanges(was, is *lb.Service, active func(netip.AddrPort) uint64) []api.BackendChange {
	changes := []api.BackendChange{}
	arrived := slices.DeleteFunc(slices.Clone(is.Backends), func(b lb.Backend) bool { return indexOf(was.Backends, b.AddrPort()) >= 0 })
	for _, b := range was.Backends {
		c := api.BackendChange{Backend: b.AddrPort().String(), Change: api.Changed, Fields: []api.FieldChange{}}
		after := b
		if at := indexOf(is.Backends, b.AddrPort()); at >= 0 {
			after = is.Backends[at]
		} else if at := slices.IndexFunc(arrived, func(a lb.Backend) bool { return a.Address == b.Address }); at >= 0 {
			after = arrived[at]
			arrived = slices.Delete(arrived, at, at+1)
		} else {
			c.Change = api.Removed
		}
		if c.Fields = fieldChanges(backendFields, &b, &after); len(c.Fields) == 0 && c.Change != api.Removed {
			continue
		}
		if open := active(b.AddrPort()); c.Change == api.Removed || after.Port != b.Port || after.Drain || after.Weight == 0 {
			c.Connections.Drained = open
		} else {
			c.Connections.Kept = open
		}
		changes = append(changes, c)
	}
	for _, b := range arrived {
		changes = append(changes, api.BackendChange{Backend: b.AddrPort().String(), Change: api.Added, Fields: []api.FieldChange{}})
	}
	return changes
}

func indexOf(all []lb.Backend, b netip.AddrPort) int {
	return slices.IndexFunc(all, func(o lb.Backend) bool { return o.AddrPort() == b })
}

// field is a key of the configuration and its value as the file spells it.
type field[T any] struct {
	name string
	of   func(*T) any
}

func fieldChanges[T any](fields []field[T], old, next *T) []api.FieldChange {
	changes := []api.FieldChange{}
	for _, f := range fields {
		if was, is := spell(f.of(old)), spell(f.of(next)); was != is {
			changes = append(changes, api.FieldChange{Field: f.name, Old: was, New: is})
		}
	}
	return changes
}

// spell is a value in one line.
func spell(value any) string {
	if words, ok := value.([]string); ok {
		return strings.Join(words, " ")
	}
	return fmt.Sprint(value)
}

// unless0 spells a value that may be left out as "" when it is.
func unless0[T comparable](value T) any {
	if value == *new(T) {
		return ""
	}
	return value
}

// spellAll spells a list whose order means nothing.
func spellAll[T any](all []T, of func(T) string) []string {
	var words []string
	for _, one := range all {
		words = append(words, of(one))
	}
	slices.SortFunc(words, cmp.Compare[string])
	return words
}

var settingFields = []field[lb.State]{
	{"interfaces", func(s *lb.State) any {
		return spellAll(s.Interfaces, func(i lb.Interface) string { return i.Name + ":" + string(i.Attach) })
	}},
	{"table.connections", func(s *lb.State) any { return unless0(s.Table.Connections) }},
	{"metrics.listen", func(s *lb.State) any { return unless0(s.Metrics.Listen) }},
}

// serviceFields is everything of a service but what identifies it and its
// backends.
var serviceFields = []field[lb.Service]{
	{"name", func(s *lb.Service) any { return s.Name }},
	{"algorithm", func(s *lb.Service) any { return s.Algorithm }},
	{"mode", func(s *lb.Service) any { return s.Mode }},
	{"allow", func(s *lb.Service) any { return spellAll(s.Allow, netip.Prefix.String) }},
	{"affinity.timeout", func(s *lb.Service) any { return unless0(s.AffinityTimeout) }},
	{"timeouts.idle", func(s *lb.Service) any { return s.Timeouts.Idle }},
	{"timeouts.half_open", func(s *lb.Service) any { return s.Timeouts.HalfOpen }},
	{"timeouts.closing", func(s *lb.Service) any { return s.Timeouts.Closing }},
	{"when_no_backend", func(s *lb.Service) any { return s.WhenNoBackend }},
	{"when_backend_down", func(s *lb.Service) any { return s.WhenBackendDown }},
	{"health_check.type", func(s *lb.Service) any { return s.HealthCheck.Type }},
	{"health_check.port", func(s *lb.Service) any { return unless0(s.HealthCheck.Port) }},
	{"health_check.path", func(s *lb.Service) any { return s.HealthCheck.Path }},
	{"health_check.host", func(s *lb.Service) any { return s.HealthCheck.Host }},
	{"health_check.sni", func(s *lb.Service) any { return s.HealthCheck.SNI }},
	{"health_check.verify", func(s *lb.Service) any { return s.HealthCheck.Verify }},
	{"health_check.expect", func(s *lb.Service) any {
		return spellAll(s.HealthCheck.Expect, func(r lb.StatusRange) string { return fmt.Sprintf("%d-%d", r.First, r.Last) })
	}},
	{"health_check.interval", func(s *lb.Service) any { return s.HealthCheck.Interval }},
	{"health_check.timeout", func(s *lb.Service) any { return s.HealthCheck.Timeout }},
	{"health_check.rise", func(s *lb.Service) any { return s.HealthCheck.Rise }},
	{"health_check.fall", func(s *lb.Service) any { return s.HealthCheck.Fall }},
	{"health_check.initial", func(s *lb.Service) any { return s.HealthCheck.Initial }},
}

var backendFields = []field[lb.Backend]{
	{"port", func(b *lb.Backend) any { return unless0(b.Port) }},
	{"weight", func(b *lb.Backend) any { return b.Weight }},
	{"state", func(b *lb.Backend) any {
		if b.Drain {
			return "drain"
		}
		return ""
	}},
}
