// SPDX-License-Identifier: Apache-2.0

package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// oneOf refuses a value outside its enumeration.
func oneOf[T ~string](v *validator, path string, got T, want ...T) {
	if !slices.Contains(want, got) {
		v.fail(path, fmt.Sprintf("use one of %v", want), "%q is not known", string(got))
	}
}

func (v *validator) service(s *Service, path string) {
	v.address(path+".address", s.Address)
	if s.Ports != AnyPort && (s.Ports.First == 0 || s.Ports.First > s.Ports.Last) {
		v.fail(path+".port", `write a port, a range "8000-8100" or "any"`, "%s is not in 1..65535", s.Ports)
	}
	oneOf(v, path+".protocol", s.Protocol, TCP, UDP, HTTP, HTTPS, TCPProxy)
	oneOf(v, path+".algorithm", s.Algorithm, RoundRobin, LeastConn, Source, Maglev, Latency)
	oneOf(v, path+".mode", s.Mode, NAT, FullNAT, DSR, IPIP, GRE, GUE, VXLAN)
	oneOf(v, path+".when_no_backend", s.WhenNoBackend, NoBackendReset, NoBackendDrop, NoBackendForward)
	oneOf(v, path+".when_backend_down", s.WhenBackendDown, BackendDownKeep, BackendDownReset)
	v.allow(path+".allow", s.Allow)
	if s.AffinityTimeout != 0 {
		v.timeout(path+".affinity.timeout", s.AffinityTimeout)
	}
	v.timeout(path+".timeouts.idle", s.Timeouts.Idle)
	v.timeout(path+".timeouts.half_open", s.Timeouts.HalfOpen)
	v.timeout(path+".timeouts.closing", s.Timeouts.Closing)
	v.healthCheck(s, path+".health_check")
}

func (v *validator) timeout(path string, d time.Duration) {
	if d < MinTimeout || d > MaxTimeout {
		v.fail(path, "write a duration such as 30m", "%s is not in %s..%s", d, MinTimeout, MaxTimeout)
	}
}

func (v *validator) positive(path string, d time.Duration) {
	if d <= 0 {
		v.fail(path, "write a duration such as 30s", "%s is not positive", d)
	}
}

// address refuses what cannot be one host's address. IPv4-mapped addresses
// would be a second spelling of an IPv4 one; zones mean nothing in a packet.
func (v *validator) address(path string, a netip.Addr) bool {
	problem, hint := AddressProblem(a)
	if problem != "" {
		v.fail(path, hint, "%s %s", a, problem)
	}
	return problem == ""
}

// AddressProblem says why an address cannot be a VIP's or a backend's, and
// how to mend it; both are empty when it can.
func AddressProblem(a netip.Addr) (problem, hint string) {
	switch {
	case !a.IsValid():
		return "is not an IP address", "write an IPv4 or IPv6 address"
	case a.Zone() != "":
		return "has a zone", "write the address without what follows %"
	case a.Is4In6():
		return "is an IPv4-mapped IPv6 address", "write " + a.Unmap().String()
	case a.IsUnspecified(), a.IsMulticast(), a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is not the address of one host", "write a unicast address"
	}
	return "", ""
}

func (v *validator) allow(path string, allow []netip.Prefix) {
	if len(allow) == 0 {
		v.fail(path, "name who may connect; 0.0.0.0/0 and ::/0 are everyone", "is empty: nobody could connect")
	}
	for i, p := range allow {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case !p.IsValid():
			v.fail(at, "write it as in 198.51.100.0/24", "is not a prefix")
		case p.Addr().Is4In6():
			v.fail(at, "write the IPv4 prefix", "%s is an IPv4-mapped IPv6 prefix", p)
		case p != p.Masked():
			v.fail(at, "write "+p.Masked().String(), "%s has bits set after its length", p)
		}
	}
}

func (v *validator) backends(s *Service, vips map[netip.Addr]int, path string) {
	seen := map[netip.AddrPort]int{}
	for i, b := range s.Backends {
		at := fmt.Sprintf("%s.backends[%d]", path, i)
		if !v.address(at+".address", b.Address) {
			continue
		}
		if of, ok := vips[b.Address]; ok {
			v.fail(at+".address", "write the address of the server itself",
				"%s is the address of services[%d]: packets would go in circles", b.Address, of)
		}
		if s.Mode == NAT && s.Address.IsValid() && b.Address.Is4() != s.Address.Is4() {
			v.fail(at+".address", "use a backend of the same family", "%s cannot serve %s in mode nat",
				b.Address, s.Address)
		}
		if b.Port == 0 && s.Ports.class() == 0 && s.Ports.First != 0 {
			v.fail(at+".port", "write the port that the backend listens on", "0 is not in 1..65535")
		}
		if first, dup := seen[b.AddrPort()]; dup {
			v.fail(at+".address", "remove one of the two; weight gives a backend more",
				"%s is already %s.backends[%d]", b.AddrPort(), path, first)
			continue
		}
		seen[b.AddrPort()] = i
	}
}

func (v *validator) healthCheck(s *Service, path string) {
	c := &s.HealthCheck
	oneOf(v, path+".type", c.Type, CheckNone, CheckTCP, CheckHTTP, CheckHTTPS, CheckICMP, CheckUDP)
	if c.Type == CheckNone {
		return
	}
	if c.Interval < MinInterval || c.Interval > MaxInterval {
		v.fail(path+".interval", "5s suits most", "%s is not in %s..%s", c.Interval, MinInterval, MaxInterval)
	} else if c.Timeout > c.Interval {
		v.fail(path+".timeout", "shorten the timeout or lengthen the interval",
			"%s is longer than the interval, %s", c.Timeout, c.Interval)
	}
	v.positive(path+".timeout", c.Timeout)
	if c.Rise < 1 {
		v.fail(path+".rise", "2 suits most", "%d is less than 1", c.Rise)
	}
	if c.Fall < 1 {
		v.fail(path+".fall", "3 suits most", "%d is less than 1", c.Fall)
	}
	oneOf(v, path+".initial", c.Initial, Unknown, Up)
	for i, r := range c.Expect {
		if r.First < 100 || r.Last > 599 || r.First > r.Last {
			v.fail(path+".expect", `write it as in "200-399"`, "range %d, %d-%d, is not in 100..599", i+1, r.First, r.Last)
		}
	}
	noPort := slices.ContainsFunc(s.Backends, func(b Backend) bool { return b.Port == 0 })
	if c.Port == 0 && c.Type != CheckICMP && noPort && s.Ports.class() != 0 {
		v.fail(path+".port", "give health_check a port, or use type icmp or none",
			"a service of many ports does not say which one to probe")
	}
}
