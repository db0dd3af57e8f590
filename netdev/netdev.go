// SPDX-License-Identifier: Apache-2.0

// Package netdev is the netlink view of the router: routes, neighbours and
// VIPs in the caller's network namespace. It keeps no state; only a
// watch has a goroutine. Changing anything needs CAP_NET_ADMIN.
package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Router asks and changes the network namespace in which it was opened.
type Router struct {
	netlink *netlink.Handle // one socket for all requests
}

// Open opens a Router of the caller's network namespace.
func Open() (*Router, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	return &Router{handle}, nil
}

// Close lets go of it.
func (r *Router) Close() { r.netlink.Close() }

// Hop is where packets to an address go next.
type Hop struct {
	Ifindex int
	NextHop netip.Addr // the address itself when it is on the link
}

// RouteTo asks the kernel's routing table for the way to an address.
func (r *Router) RouteTo(a netip.Addr) (Hop, error) {
	routes, err := r.netlink.RouteGet(a.AsSlice())
	if err != nil {
		return Hop{}, fmt.Errorf("route to %s: %w", a, err)
	}
	if len(routes) == 0 {
		return Hop{}, fmt.Errorf("route to %s: none", a)
	}
	hop := Hop{Ifindex: routes[0].LinkIndex, NextHop: a}
	if gateway, ok := netip.AddrFromSlice(routes[0].Gw); ok {
		hop.NextHop = gateway.Unmap()
	}
	return hop, nil
}

// usable are the neighbour states with a MAC that may be sent to (stale ones
// too: the last known MAC serves until the kernel learns better).
const usable = netlink.NUD_PERMANENT | netlink.NUD_NOARP | netlink.NUD_REACHABLE | netlink.NUD_STALE |
	netlink.NUD_DELAY | netlink.NUD_PROBE

// ManageNeighbour has the kernel (5.16 and later) resolve an address now and
// keep it resolved without traffic. Asking again is no error.
func (r *Router) ManageNeighbour(ifindex int, a netip.Addr) error {
	err := r.netlink.NeighSet(&netlink.Neigh{
		LinkIndex: ifindex, Family: familyOf(a), IP: a.AsSlice(),
		Flags: netlink.NTF_USE, FlagsExt: netlink.NTF_EXT_MANAGED,
	})
	if err != nil {
		return fmt.Errorf("keep neighbour %s of interface %d resolved: %w", a, ifindex, err)
	}
	return nil
}

// AddVIP puts a VIP on an interface as /32 or /128, without duplicate address
// detection, which would keep IPv6 silent for a second. The caller knows, from
// Addresses, that the router has it nowhere yet: IPv4 can be had twice.
func (r *Router) AddVIP(ifindex int, vip netip.Addr) error {
	err := r.netlink.AddrAdd(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}, vipAddress(vip))
	if err != nil {
		return fmt.Errorf("add VIP %s to interface %d: %w", vip, ifindex, err)
	}
	return nil
}

// RemoveVIP takes a VIP off; one that is not there is no error.
func (r *Router) RemoveVIP(ifindex int, vip netip.Addr) error {
	err := r.netlink.AddrDel(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}, vipAddress(vip))
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("remove VIP %s from interface %d: %w", vip, ifindex, err)
	}
	return nil
}

func vipAddress(vip netip.Addr) *netlink.Addr {
	address := &netlink.Addr{IPNet: &net.IPNet{IP: vip.AsSlice(), Mask: net.CIDRMask(vip.BitLen(), vip.BitLen())}}
	if vip.Is6() {
		address.Flags = unix.IFA_F_NODAD
	}
	return address
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// LinkAddress is an address on a link.
type LinkAddress struct {
	Ifindex int
	Address netip.Addr
}

// Neighbours lists the kernel's neighbours: the MAC of each, nil of one that
// is known by name only.
func (r *Router) Neighbours() (map[LinkAddress]net.HardwareAddr, error) {
	all := map[LinkAddress]net.HardwareAddr{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		found, err := complete(func() ([]netlink.Neigh, error) { return r.netlink.NeighList(0, family) })
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range found {
			a, ok := netip.AddrFromSlice(n.IP)
			if !ok {
				continue
			}
			key := LinkAddress{n.LinkIndex, a.Unmap()}
			all[key] = nil
			if n.State&usable != 0 {
				all[key] = n.HardwareAddr
			}
		}
	}
	return all, nil
}
