// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Link is a network interface as it was when asked.
type Link struct {
	Name  string
	Index int
	MTU   int // bytes, without the Ethernet header
	MAC   net.HardwareAddr
	Up    bool   // set up, and with a carrier
	Kind  string // "veth", "vlan", "bond", …; "device" for hardware
	// Other end of a veth, or what a VLAN stands on; 0 where there is none or
	// it is in another network namespace.
	Parent int
}

// Links lists the interfaces of the caller's network namespace.
func (r *Router) Links() ([]Link, error) {
	found, err := complete(r.netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	links := make([]Link, 0, len(found))
	for _, l := range found {
		a := l.Attrs()
		const up = unix.IFF_UP | unix.IFF_RUNNING
		parent := a.ParentIndex
		if a.NetNsID >= 0 {
			parent = 0
		}
		links = append(links, Link{a.Name, a.Index, a.MTU, a.HardwareAddr, a.RawFlags&up == up, l.Type(), parent})
	}
	return links, nil
}

// Addresses lists the router's own addresses with the interface of each.
func (r *Router) Addresses() (map[netip.Addr]int, error) {
	holders, err := r.Holders()
	all := make(map[netip.Addr]int, len(holders))
	for a, links := range holders {
		all[a] = links[len(links)-1]
	}
	return all, err
}

// Holders lists the router's own addresses with every interface that has it:
// nothing keeps an IPv4 address from being on two.
func (r *Router) Holders() (map[netip.Addr][]int, error) {
	all := map[netip.Addr][]int{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		found, err := complete(func() ([]netlink.Addr, error) { return r.netlink.AddrList(nil, family) })
		if err != nil {
			return nil, fmt.Errorf("list addresses: %w", err)
		}
		for _, held := range found {
			if a, ok := netip.AddrFromSlice(held.IP); ok {
				all[a.Unmap()] = append(all[a.Unmap()], held.LinkIndex)
			}
		}
	}
	return all, nil
}

// complete asks again when a change interrupted the kernel's listing, which is
// then neither the old state nor the new one.
func complete[T any](list func() ([]T, error)) (all []T, err error) {
	for range 5 {
		if all, err = list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return all, err
}
