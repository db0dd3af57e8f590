// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func service(name, vip string, port uint16, p Protocol) Service {
	return Service{
		Name: name, Address: netip.MustParseAddr(vip), Ports: PortRange{port, port}, Protocol: p,
		Algorithm: RoundRobin, Mode: NAT, Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		Timeouts:      Timeouts{time.Hour, time.Second, time.Second},
		WhenNoBackend: NoBackendDrop, WhenBackendDown: BackendDownKeep,
		HealthCheck: HealthCheck{Type: CheckTCP, Interval: time.Second, Timeout: time.Second, Rise: 1, Fall: 1,
			Initial: Unknown},
		Backends: []Backend{{Address: netip.MustParseAddr("10.0.0.1"), Port: 80, Weight: 1}},
	}
}

func valid() *State {
	return &State{
		Interfaces: []Interface{{"eth0", AttachAuto}, {"eth1", AttachTC}},
		Services:   []Service{service("a", "192.0.2.1", 80, TCP), service("b", "192.0.2.1", 80, UDP)},
	}
}

func TestValidateAccepts(t *testing.T) {
	for name, change := range map[string]func(s *State){
		"TCP and UDP on one port":   func(*State) {},
		"no service":                func(s *State) { s.Services = nil },
		"exact port within a range": func(s *State) { s.Services[1].Protocol, s.Services[1].Ports = TCP, PortRange{1, 99} },
		"exact port within any":     func(s *State) { s.Services[1].Protocol, s.Services[1].Ports = TCP, AnyPort },
		"allow of the other family": func(s *State) { s.Services[0].Allow[0] = netip.MustParsePrefix("2001:db8::/32") },
		"no check":                  func(s *State) { s.Services[0].HealthCheck = HealthCheck{Type: CheckNone} },
		"one backend, two services": func(s *State) { s.Services[1].Backends = s.Services[0].Backends },
		"weight 0":                  func(s *State) { s.Services[0].Backends[0].Weight = 0 },
	} {
		s := valid()
		change(s)
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func many[T any](one T, n int) (all []T) {
	for range n + 1 {
		all = append(all, one)
	}
	return all
}

func TestValidateRefuses(t *testing.T) {
	ip := netip.MustParseAddr
	for _, c := range []struct {
		path   string
		change func(s *State, a *Service)
	}{
		{"interfaces", func(s *State, _ *Service) { s.Interfaces = nil }},
		{"interfaces[1].name", func(s *State, _ *Service) { s.Interfaces[1].Name = "eth0" }},
		{"interfaces[0].name", func(s *State, _ *Service) { s.Interfaces[0].Name = "a/b" }},
		{"interfaces[0].name", func(s *State, _ *Service) { s.Interfaces[0].Name = "sixteen-letters-" }},
		{"interfaces[0].attach", func(s *State, _ *Service) { s.Interfaces[0].Attach = "x" }},
		{"table.connections", func(s *State, _ *Service) { s.Table.Connections = MaxConnections + 1 }},
		{"services[1].port", func(s *State, _ *Service) { s.Services[1].Protocol = TCP }},
		{"services[1].port", func(s *State, a *Service) {
			a.Ports, s.Services[1].Ports, s.Services[1].Protocol = PortRange{10, 20}, PortRange{20, 30}, TCP
		}},
		{"services[1].port", func(s *State, a *Service) {
			a.Ports, s.Services[1].Ports, s.Services[1].Protocol = AnyPort, AnyPort, TCP
		}},
		{"services[1].name", func(s *State, _ *Service) { s.Services[1].Name = "a" }},
		{"services[0].name", func(_ *State, a *Service) { a.Name = "" }},
		{"services[0].name", func(_ *State, a *Service) { a.Name = "a b" }},
		{"services[0].name", func(_ *State, a *Service) { a.Name = strings.Repeat("a", 65) }},
		{"services[0].address", func(_ *State, a *Service) { a.Address = ip("::ffff:1.2.3.4"); a.Backends = nil }},
		{"services[0].address", func(_ *State, a *Service) { a.Address = ip("fe80::1%eth0"); a.Backends = nil }},
		{"services[0].address", func(_ *State, a *Service) { a.Address = ip("224.0.0.1") }},
		{"services[0].address", func(_ *State, a *Service) { a.Address = netip.Addr{} }},
		{"services[0].port", func(_ *State, a *Service) { a.Ports = PortRange{} }},
		{"services[0].port", func(_ *State, a *Service) { a.Ports = PortRange{9, 8} }},
		{"services[0].protocol", func(_ *State, a *Service) { a.Protocol = "sctp" }},
		{"services[0].algorithm", func(_ *State, a *Service) { a.Algorithm = "" }},
		{"services[0].mode", func(_ *State, a *Service) { a.Mode = "" }},
		{"services[0].when_no_backend", func(_ *State, a *Service) { a.WhenNoBackend = "" }},
		{"services[0].when_backend_down", func(_ *State, a *Service) { a.WhenBackendDown = "" }},
		{"services[0].allow", func(_ *State, a *Service) { a.Allow = nil }},
		{"services[0].allow[0]", func(_ *State, a *Service) { a.Allow[0] = netip.MustParsePrefix("10.0.0.1/8") }},
		{"services[0].allow[0]", func(_ *State, a *Service) { a.Allow[0] = netip.Prefix{} }},
		{"services[0].timeouts.idle", func(_ *State, a *Service) { a.Timeouts.Idle = 0 }},
		{"services[0].timeouts.half_open", func(_ *State, a *Service) { a.Timeouts.HalfOpen = -1 }},
		{"services[0].timeouts.closing", func(_ *State, a *Service) { a.Timeouts.Closing = 0 }},
		{"services[0].timeouts.closing", func(_ *State, a *Service) { a.Timeouts.Closing = MaxTimeout + 1 }},
		{"services[0].affinity.timeout", func(_ *State, a *Service) { a.AffinityTimeout = -time.Second }},
		{"services", func(_ *State, a *Service) { a.Allow = many(a.Allow[0], MaxAllow) }},
		{"services", func(s *State, a *Service) {
			for i := range MaxBackends {
				b := a.Backends[0]
				b.Address = netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
				a.Backends = append(a.Backends, b)
			}
		}},
		{"services", func(s *State, a *Service) {
			for i := range MaxServices {
				s.Services = append(s.Services, service(fmt.Sprint("s", i), "192.0.2.2", uint16(i+1), TCP))
			}
		}},
		{"services[0].backends[0].address", func(_ *State, a *Service) { a.Backends[0].Address = ip("192.0.2.1") }},
		{"services[0].backends[0].address", func(_ *State, a *Service) { a.Address = ip("2001:db8::1") }},
		{"services[0].backends[0].address", func(_ *State, a *Service) { a.Backends[0].Address = ip("0.0.0.0") }},
		{"services[0].backends[0].port", func(_ *State, a *Service) { a.Backends[0].Port = 0 }},
		{"services[0].backends[1].address", func(_ *State, a *Service) { a.Backends = append(a.Backends, a.Backends[0]) }},
		{"services[0].health_check.type", func(_ *State, a *Service) { a.HealthCheck.Type = "" }},
		{"services[0].health_check.timeout", func(_ *State, a *Service) { a.HealthCheck.Timeout = 2 * time.Second }},
		{"services[0].health_check.timeout", func(_ *State, a *Service) { a.HealthCheck.Timeout = 0 }},
		{"services[0].health_check.interval", func(_ *State, a *Service) { a.HealthCheck.Interval = 99 * time.Millisecond }},
		{"services[0].health_check.interval", func(_ *State, a *Service) { a.HealthCheck.Interval = 61 * time.Minute }},
		{"services[0].health_check.rise", func(_ *State, a *Service) { a.HealthCheck.Rise = 0 }},
		{"services[0].health_check.fall", func(_ *State, a *Service) { a.HealthCheck.Fall = 0 }},
		{"services[0].health_check.initial", func(_ *State, a *Service) { a.HealthCheck.Initial = Down }},
		{"services[0].health_check.expect", func(_ *State, a *Service) { a.HealthCheck.Expect = []StatusRange{{1, 2}} }},
		{"services[0].health_check.port", func(_ *State, a *Service) { a.Ports = AnyPort; a.Backends[0].Port = 0 }},
	} {
		s := valid()
		c.change(s, &s.Services[0])
		errs := FieldErrors(s.Validate())
		if len(errs) != 1 || errs[0].Path != c.path {
			t.Errorf("want one error at %s, got %v", c.path, errs)
		}
	}
}
