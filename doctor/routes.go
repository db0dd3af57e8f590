// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"

	"github.com/weirlb/weir/lb"
)

func routes(f *Facts) (all []Check) {
	var found []Check
	seen := map[netip.Addr]bool{}
	for i := range f.State.Services {
		s := &f.State.Services[i]
		if !seen[s.Address] {
			seen[s.Address] = true
			found = append(found, vip(f, s.Address)...)
		}
		found = append(found, listeners(f, s)...)
	}
	all = orOK(found, "vip", "all VIPs", "are on, or have a route to, an interface of weir's, and nothing else listens there")
	found = nil
	eachBackend(f.State, func(_ *lb.Service, b lb.Backend) {
		if !seen[b.Address] {
			seen[b.Address] = true
			found = append(found, backend(f, b.Address)...)
		}
	})
	return append(all, orOK(found, "backend", "all backends", "are on a link of weir's: their replies return through it")...)
}

// vip must be where its clients arrive.
func vip(f *Facts, a netip.Addr) (found []Check) {
	holders := f.Holders[a]
	route := f.Routes[a]
	if len(holders) == 0 && route.Err != nil {
		return []Check{noRoute(f, "vip", a, fmt.Sprintf("ip route add %s dev INTERFACE, the clients' side", netip.PrefixFrom(a, a.BitLen())))}
	}
	at := route.Ifindex
	if len(holders) > 0 {
		at = holders[0]
	}
	name := f.name(at)
	if len(holders) > 1 {
		found = append(found, Check{"vip", a.String(), Warn, fmt.Sprintf("is on %d interfaces, the second is %s", len(holders), f.name(holders[1])),
			fmt.Sprintf("ip addr del %s dev %s", netip.PrefixFrom(a, a.BitLen()), f.name(holders[1]))})
	}
	if !f.managed(name) {
		found = append(found, Check{"vip", a.String(), Warn, "is on " + name + ", which is not among weir's interfaces: clients arriving there are not balanced",
			"add it to interfaces: {name: " + name + "}"})
	}
	return found
}

// noRoute: where IPv6 is disabled, an interface has no routes of it.
func noRoute(f *Facts, check string, a netip.Addr, mend string) Check {
	c := Check{check, a.String(), Fail, "has no route: " + f.Routes[a].Err.Error(), mend}
	for _, i := range f.State.Interfaces {
		if path := "net/ipv6/conf/" + i.Name + "/disable_ipv6"; a.Is6() && f.Sysctls[path] != 0 {
			c.What = "has no route, and IPv6 is disabled on " + i.Name
			c.Mend = "sysctl -w " + path + "=0, then " + mend
		}
	}
	return c
}

// listeners on a VIP get only what weir passes, which surprises people.
func listeners(f *Facts, s *lb.Service) []Check {
	for _, l := range f.Listeners {
		a := l.At.Addr()
		here := a == s.Address || a.IsUnspecified() && (a.Is6() || s.Address.Is4())
		if here && l.Protocol == s.Protocol && s.Ports.First <= l.At.Port() && l.At.Port() <= s.Ports.Last {
			return []Check{{"listener", s.Name, Warn, fmt.Sprintf("a process listens on %s (%s): of this service it gets the router's own connections alone", l.At, l.Protocol),
				"stop it, or have it listen on another address; see: ss -lntup"}}
		}
	}
	return nil
}

// backend must be reached, and answer, through weir's interfaces.
func backend(f *Facts, a netip.Addr) []Check {
	route := f.Routes[a]
	if len(f.Holders[a]) > 0 {
		return []Check{{"backend", a.String(), Fail, "is this router's own address: weir balances to other machines", "take it out of the file"}}
	}
	if route.Err != nil {
		return []Check{noRoute(f, "backend", a, "give the router an address in its subnet, or a route")}
	}
	name := f.name(route.Ifindex)
	if !f.managed(name) {
		return []Check{{"backend", a.String(), Fail, "is reached through " + name + ", which is not among weir's interfaces: its replies would not come back",
			"add it to interfaces: {name: " + name + "}"}}
	}
	if route.NextHop != a {
		return []Check{{"backend", a.String(), Warn, fmt.Sprintf("is behind the gateway %s: its replies to clients must return through this router", route.NextHop),
			"see that its default route leads here"}}
	}
	return nil
}
