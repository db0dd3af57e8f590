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
}

// Links lists the interfaces of the caller's network namespace.
func Links() ([]Link, error) {
	found, err := complete(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	links := make([]Link, 0, len(found))
	for _, l := range found {
		a := l.Attrs()
		const up = unix.IFF_UP | unix.IFF_RUNNING
		links = append(links, Link{a.Name, a.Index, a.MTU, a.HardwareAddr, a.RawFlags&up == up, l.Type()})
	}
	return links, nil
}

// VIPLink returns the interface a VIP belongs on: the one that has it already,
// else the one its route (connected or not) leaves by. A VIP without a route
// is an error.
func VIPLink(vip netip.Addr) (ifindex int, err error) {
	vip = vip.Unmap()
	// The routing table would answer lo for an address of the router itself.
	if ifindex, has, err := holder(vip); err != nil || has {
		return ifindex, err
	}
	hop, err := RouteTo(vip)
	return hop.Ifindex, err
}

// holder is the interface that has an address already.
func holder(a netip.Addr) (ifindex int, has bool, err error) {
	addresses, err := complete(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, familyOf(a)) })
	if err != nil {
		return 0, false, fmt.Errorf("list addresses: %w", err)
	}
	for _, held := range addresses {
		if found, ok := netip.AddrFromSlice(held.IP); ok && found.Unmap() == a {
			return held.LinkIndex, true, nil
		}
	}
	return 0, false, nil
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
