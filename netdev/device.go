// SPDX-License-Identifier: Apache-2.0

package netdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Device is a Link and what its driver can and does.
type Device struct {
	Link
	Driver   string
	Features map[string]bool // offloads that are on, by the kernel's names: "rx-gro"
	Queues   int             // that it can have; 0: unknown
	XDP      XDP
	// GuestOffloads are on and only the hypervisor can turn them off (virtio).
	GuestOffloads bool
}

// XDP is what a driver can do natively.
type XDP struct {
	Known    bool // the kernel tells, from 6.3 on
	Receive  bool // run programs
	Transmit bool // send frames redirected to it; a veth: while its other end runs NAPI
}

// Device asks the driver of a link. What a driver does not tell is left empty.
func (r *Router) Device(l Link) (Device, error) {
	d := Device{Link: l}
	tool, err := ethtool.NewEthtool()
	if err != nil {
		return d, fmt.Errorf("ask drivers: %w", err)
	}
	defer tool.Close()
	if d.Features, err = tool.Features(l.Name); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return d, fmt.Errorf("offloads of %s: %w", l.Name, err)
	}
	if channels, err := tool.GetChannels(l.Name); err == nil {
		d.Queues = int(channels.MaxCombined)
	}
	if info, err := tool.DriverInfo(l.Name); err == nil {
		d.Driver = info.Driver
		d.GuestOffloads = info.Driver == "virtio_net" && guestOffloads(info.BusInfo)
	}
	d.XDP = xdp(l.Index)
	return d, nil
}

// xdp asks the kernel's netdev family (uapi/linux/netdev.h), which is from 6.3.
func xdp(ifindex int) XDP {
	const (
		devGet, ifindexAttr, featuresAttr = 1, 1, 3
		basic, redirect, transmit         = 1, 2, 4
	)
	family, err := netlink.GenlFamilyGet("netdev")
	if err != nil {
		return XDP{}
	}
	request := nl.NewNetlinkRequest(int(family.ID), 0)
	// nl.Genlmsg leaves its reserved bytes to chance, which the kernel refuses.
	request.AddRawData([]byte{devGet, 1, 0, 0})
	request.AddRawData(nl.NewRtAttr(ifindexAttr, nl.Uint32Attr(uint32(ifindex))).Serialize())
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil || len(answers) != 1 {
		return XDP{}
	}
	attributes, err := nl.ParseRouteAttr(answers[0][nl.SizeofGenlmsg:])
	if err != nil {
		return XDP{}
	}
	for _, a := range attributes {
		if a.Attr.Type == featuresAttr && len(a.Value) == 8 {
			bits := nl.NativeEndian().Uint64(a.Value)
			return XDP{Known: true, Receive: bits&(basic|redirect) == basic|redirect, Transmit: bits&transmit != 0}
		}
	}
	return XDP{}
}

// guestOffloads tells whether a virtio NIC was given offloads that XDP cannot
// have, and no way to turn them off. The bits are virtio's (1.2, §5.1.3).
func guestOffloads(bus string) bool {
	const guestChecksum, canTurnOff, tso4, udp = 1, 2, 7, 10
	found, _ := filepath.Glob(filepath.Join("/sys/bus/pci/devices", bus, "virtio*", "features"))
	if len(found) == 0 {
		return false
	}
	text, err := os.ReadFile(found[0]) // one character a bit, the first is bit 0
	bits := strings.TrimSpace(string(text))
	if err != nil || len(bits) <= udp || bits[canTurnOff] == '1' {
		return false
	}
	return bits[guestChecksum] == '1' || strings.Contains(bits[tso4:udp+1], "1")
}
