// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/weirlb/weir/lb"
	"github.com/weirlb/weir/reconcile"
)

func state(services ...lb.Service) *lb.State {
	return &lb.State{Interfaces: []lb.Interface{{Name: "eth0", Attach: lb.AttachAuto}}, Services: services}
}

func web(change func(*lb.Service)) lb.Service {
	s := lb.Service{Name: "web", Address: netip.MustParseAddr("203.0.113.10"), Ports: lb.PortRange{First: 80, Last: 80},
		Protocol: lb.TCP, Algorithm: lb.RoundRobin}
	for i := range byte(3) {
		s.Backends = append(s.Backends, lb.Backend{Address: netip.AddrFrom4([4]byte{10, 1, 1, 21 + i}), Port: 8080, Weight: 1})
	}
	change(&s)
	return s
}

func desired(s *lb.State) *reconcile.Desired {
	d := &reconcile.Desired{State: s, Health: map[reconcile.BackendKey]lb.Health{}}
	for i := range s.Services {
		for _, b := range s.Services[i].Backends {
			d.Health[reconcile.BackendKey{Service: s.Services[i].Key(), Backend: b.AddrPort()}] = lb.Up
		}
	}
	return d
}

// TestDifference: each backend of web has 10 connections open.
func TestDifference(t *testing.T) {
	same := func(*lb.Service) {}
	for name, c := range map[string]struct {
		next *lb.State
		want string
	}{
		"nothing": {state(web(same)), `{"settings":[],"services":[]}`},
		"settings": {&lb.State{Interfaces: []lb.Interface{{Name: "eth1", Attach: lb.AttachXDP}}, Services: []lb.Service{web(same)},
			Table: lb.Table{Connections: 7}, Metrics: lb.Metrics{Listen: netip.MustParseAddrPort("127.0.0.1:9419")}},
			`{"settings":[{"field":"interfaces","old":"eth0:auto","new":"eth1:xdp"},{"field":"table.connections","old":"","new":"7"},` +
				`{"field":"metrics.listen","old":"","new":"127.0.0.1:9419"}],"services":[]}`},
		"a service goes": {state(),
			service("removed", `[]`, `[{"backend":"10.1.1.21:8080","change":"removed","fields":[],"connections":{"kept":0,"drained":10}},`+
				`{"backend":"10.1.1.22:8080","change":"removed","fields":[],"connections":{"kept":0,"drained":10}},`+
				`{"backend":"10.1.1.23:8080","change":"removed","fields":[],"connections":{"kept":0,"drained":10}}]`, 3, 0, 3, 0, 30)},
		"a backend comes": {state(web(func(s *lb.Service) {
			s.Backends = append(s.Backends, lb.Backend{Address: netip.MustParseAddr("10.1.1.24"), Port: 8080, Weight: 1})
		})), service("changed", `[]`, `[{"backend":"10.1.1.24:8080","change":"added","fields":[],"connections":{"kept":0,"drained":0}}]`, 3, 4, 1, 30, 0)},
		"a backend goes": {state(web(func(s *lb.Service) { s.Backends = s.Backends[1:] })), service("changed", `[]`,
			`[{"backend":"10.1.1.21:8080","change":"removed","fields":[],"connections":{"kept":0,"drained":10}}]`, 3, 2, 3, 20, 10)},
		"a weight": {state(web(func(s *lb.Service) { s.Backends[2].Weight = 2 })), service("changed", `[]`,
			`[{"backend":"10.1.1.23:8080","change":"changed","fields":[{"field":"weight","old":"1","new":"2"}],"connections":{"kept":10,"drained":0}}]`, 3, 4, 4, 30, 0)},
		"weight 0": {state(web(func(s *lb.Service) { s.Backends[2].Weight = 0 })), service("changed", `[]`,
			`[{"backend":"10.1.1.23:8080","change":"changed","fields":[{"field":"weight","old":"1","new":"0"}],"connections":{"kept":0,"drained":10}}]`, 3, 2, 1, 20, 10)},
		"a drain": {state(web(func(s *lb.Service) { s.Backends[2].Drain = true })), service("changed", `[]`,
			`[{"backend":"10.1.1.23:8080","change":"changed","fields":[{"field":"state","old":"","new":"drain"}],"connections":{"kept":0,"drained":10}}]`, 3, 2, 1, 20, 10)},
		"a port": {state(web(func(s *lb.Service) { s.Backends[2].Port = 9090 })), service("changed", `[]`,
			`[{"backend":"10.1.1.23:8080","change":"changed","fields":[{"field":"port","old":"8080","new":"9090"}],"connections":{"kept":0,"drained":10}}]`, 3, 3, 1, 20, 10)},
		"allow": {state(web(func(s *lb.Service) { s.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })),
			service("changed", `[{"field":"allow","old":"","new":"10.0.0.0/8"}]`, `[]`, 3, 3, 0, 30, 0)},
	} {
		open := func(reconcile.BackendKey) uint64 { return 10 }
		got, err := json.Marshal(comparison{desired(state(web(same))), desired(c.next), open}.plan())
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v, got\n%s, want\n%s", name, err, got, c.want)
		}
	}
	added := comparison{desired(state()), desired(state(web(same))), func(reconcile.BackendKey) uint64 { return 0 }}.plan().Services
	if len(added) != 1 || added[0].Change != "added" || len(added[0].Backends) != 3 || added[0].Slots.Moved != 3 || added[0].Connections.Drained != 0 {
		t.Errorf("added: %+v", added)
	}
}

// service is a plan that changes web alone.
func service(change, fields, backends string, old, next, moved, kept, drained int) string {
	return fmt.Sprintf(`{"settings":[],"services":[{"service":"web","address":"203.0.113.10","port":"80","protocol":"tcp","change":%q,`+
		`"fields":%s,"backends":%s,"slots":{"old":%d,"new":%d,"moved":%d},"connections":{"kept":%d,"drained":%d}}]}`,
		change, fields, backends, old, next, moved, kept, drained)
}

// TestEveryField: no setting of a service can change without a line in the plan.
func TestEveryField(t *testing.T) {
	apart := map[string]bool{"Address": true, "Ports": true, "Protocol": true, "Backends": true}
	var walk func(path string, at func(*lb.Service) reflect.Value)
	walk = func(path string, at func(*lb.Service) reflect.Value) {
		kind := at(&lb.Service{}).Type()
		if kind.Kind() == reflect.Struct {
			for i := range kind.NumField() {
				if name := kind.Field(i).Name; path != "" || !apart[name] {
					walk(path+"."+name, func(s *lb.Service) reflect.Value { return at(s).Field(i) })
				}
			}
			return
		}
		var old, next lb.Service
		switch field := at(&next); kind.Kind() {
		case reflect.String:
			field.SetString("another")
		case reflect.Bool:
			field.SetBool(true)
		case reflect.Int, reflect.Int64:
			field.SetInt(int64(time.Second))
		case reflect.Uint16:
			field.SetUint(1)
		case reflect.Slice:
			field.Set(reflect.MakeSlice(kind, 1, 1))
		default:
			t.Fatalf("%s: a %s is new to this test", path, kind)
		}
		if changes := fieldChanges(serviceFields, &old, &next); len(changes) != 1 {
			t.Errorf("%s: changes %v", path, changes)
		}
	}
	walk("", func(s *lb.Service) reflect.Value { return reflect.ValueOf(s).Elem() })
}
