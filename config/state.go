// SPDX-License-Identifier: Apache-2.0

package config

import (
	"math"
	"net/netip"
	"time"

	"github.com/weirlb/weir/lb"
	"gopkg.in/yaml.v3"
)

// defaultNoBackend is drop, where the contract says reset, for as long as the
// packet path cannot answer with a reset: an absent key then says what really
// happens, and an explicit reset is refused rather than ignored.
const defaultNoBackend = lb.NoBackendDrop

func (d *decoder) state(root *yaml.Node) *lb.State {
	s := &lb.State{}
	o, ok := d.object(root, "", []string{"interfaces", "services", "metrics", "table"}, []string{"cloudstack", "networks"})
	if !ok {
		return s
	}
	o.require("interfaces")
	o.list("interfaces", func(n *yaml.Node, path string) {
		in := lb.Interface{Attach: lb.AttachAuto}
		if o, ok := d.object(n, path, []string{"name", "attach"}, nil); ok {
			o.require("name")
			in.Name = value(o, "name", "", text)
			in.Attach = value(o, "attach", in.Attach, choice([]lb.Attach{
				lb.AttachAuto, lb.AttachXDP, lb.AttachXDPGeneric, lb.AttachTC}, nil))
		}
		s.Interfaces = append(s.Interfaces, in)
	})
	o.list("services", func(n *yaml.Node, path string) { s.Services = append(s.Services, d.service(n, path)) })
	if m, ok := o.child("metrics", "listen"); ok {
		m.require("listen")
		s.Metrics.Listen = value(m, "listen", netip.AddrPort{}, listen)
	}
	if t, ok := o.child("table", "connections"); ok {
		t.require("connections")
		s.Table.Connections = value(t, "connections", 0, number(1, lb.MaxConnections))
	}
	return s
}

// child is the mapping under a key; not ok when absent or bad.
func (o object) child(key string, known ...string) (object, bool) {
	n := o.vals[key]
	if n == nil {
		return object{}, false
	}
	return o.d.object(n, o.at(key), known, nil)
}

var (
	serviceKeys = []string{"name", "address", "port", "protocol", "algorithm", "mode", "allow", "affinity", "timeouts",
		"when_no_backend", "when_backend_down", "health_check", "backends"}
	serviceLater = []string{"max_connections", "source_limit", "slow_start", "snat", "tls", "redirect_https", "stickiness"}

	protocols  = choice([]lb.Protocol{lb.TCP, lb.UDP}, []lb.Protocol{lb.HTTP, lb.HTTPS, lb.TCPProxy})
	algorithms = choice([]lb.Algorithm{lb.RoundRobin, lb.LeastConn, lb.Source, lb.Maglev}, []lb.Algorithm{lb.Latency})
	modes      = choice([]lb.Mode{lb.NAT}, []lb.Mode{lb.FullNAT, lb.DSR, lb.IPIP, lb.GRE, lb.GUE, lb.VXLAN})
	noBackend  = choice([]lb.NoBackend{lb.NoBackendDrop}, []lb.NoBackend{lb.NoBackendReset, lb.NoBackendForward})
	whenDown   = choice([]lb.BackendDown{lb.BackendDownKeep}, []lb.BackendDown{lb.BackendDownReset})
)

func (d *decoder) service(n *yaml.Node, path string) lb.Service {
	s := lb.Service{Algorithm: lb.RoundRobin, Mode: lb.NAT, WhenNoBackend: defaultNoBackend, WhenBackendDown: lb.BackendDownKeep}
	o, ok := d.object(n, path, serviceKeys, serviceLater)
	if !ok {
		return s
	}
	o.require("name", "address", "port", "protocol", "allow", "backends")
	s.Name = value(o, "name", "", text)
	s.Address = value(o, "address", netip.Addr{}, address)
	s.Ports = value(o, "port", lb.PortRange{}, ports)
	s.Protocol = value(o, "protocol", lb.TCP, protocols)
	s.Algorithm = value(o, "algorithm", s.Algorithm, algorithms)
	s.Mode = value(o, "mode", s.Mode, modes)
	s.WhenNoBackend = value(o, "when_no_backend", s.WhenNoBackend, noBackend)
	s.WhenBackendDown = value(o, "when_backend_down", s.WhenBackendDown, whenDown)
	o.list("allow", func(n *yaml.Node, path string) {
		if p, ok := item(d, n, path, prefix); ok {
			s.Allow = append(s.Allow, p)
		}
	})
	if a, ok := o.child("affinity", "timeout"); ok {
		a.require("timeout")
		s.AffinityTimeout = value(a, "timeout", 0, duration)
	}
	s.Timeouts = lb.Timeouts{Idle: time.Hour, HalfOpen: 30 * time.Second, Closing: 30 * time.Second}
	if s.Protocol == lb.UDP {
		s.Timeouts.Idle = 30 * time.Second
	}
	if t, ok := o.child("timeouts", "idle", "half_open", "closing"); ok {
		s.Timeouts.Idle = value(t, "idle", s.Timeouts.Idle, duration)
		s.Timeouts.HalfOpen = value(t, "half_open", s.Timeouts.HalfOpen, duration)
		s.Timeouts.Closing = value(t, "closing", s.Timeouts.Closing, duration)
	}
	s.HealthCheck = d.healthCheck(o, s.Protocol)
	o.list("backends", func(n *yaml.Node, path string) { s.Backends = append(s.Backends, d.backend(n, path, s.Ports)) })
	return s
}

// backend's port defaults to the service's; for a range it stays 0, the port
// that the client asked for.
func (d *decoder) backend(n *yaml.Node, path string, service lb.PortRange) lb.Backend {
	b := lb.Backend{Weight: 1}
	if service.First == service.Last {
		b.Port = service.First
	}
	o, ok := d.object(n, path, []string{"address", "port", "weight", "state"}, nil)
	if !ok {
		return b
	}
	o.require("address")
	b.Address = value(o, "address", netip.Addr{}, address)
	b.Port = uint16(value(o, "port", uint64(b.Port), number(1, math.MaxUint16)))
	b.Weight = uint16(value(o, "weight", 1, number(0, math.MaxUint16)))
	b.Drain = value(o, "state", "", choice([]string{"drain"}, nil)) == "drain"
	return b
}
